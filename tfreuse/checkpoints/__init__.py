"""Reads and writes model files as named arrays, without TensorFlow or Keras.

    with checkpoints.open("donor.keras") as donor:
        donor.variables                 # the variables that plan.make takes
        donor.read(donor.variables[0])  # reads the bytes of this array only
        checkpoints.write("recipient.keras", "out.keras", {"conv/0": (donor, variable)}, {})
    checkpoints.undo("out.keras")       # out.keras is recipient.keras again, byte for byte

Formats: `.keras` (a zip file or a folder), `.weights.h5`, sharded `.weights.json`, legacy `.h5`,
`.npz`, safetensors, PyTorch's `.pt`, `.pth` and `.bin` (without PyTorch), their `.index.json` of
shards, ONNX, TensorFlow checkpoints and SavedModels (only the last two import TensorFlow, on opening).
A folder stands for its only weights file, `hf://ORG/NAME` for a model in the Hub's cache,
`pretrained:NAME` for weights in an installed package.

Files are untrusted input. Nothing in a file is executed, a file cannot make the reader open
other files, and memory is bounded by the arrays that the caller reads.
"""

import os
import pathlib
from collections.abc import Mapping

from tfreuse.checkpoints import (
    archive,
    folder,
    hdf5,
    hub,
    keras_file,
    legacy_h5,
    npz,
    packaged,
    pytorch,
    safetensors,
    source,
    tf_checkpoint,
    weights_h5,
)
from tfreuse.checkpoints.checkpoint import (
    CRC32,
    UNVERIFIED,
    Checkpoint,
    OtherArray,
)
from tfreuse.checkpoints.pytorch import states
from tfreuse.checkpoints.writable import (
    RECIPIENT,
    Provenance,
    Value,
    WriteReport,
    check_recipient,
)
from tfreuse.errors import InputError, printable

FORMATS = (
    ".keras or its folder, .weights.h5, .weights.json, .h5, .npz, .safetensors, PyTorch's "
    ".pt, .pth, .bin or .index.json, .onnx, a TensorFlow checkpoint or a SavedModel's folder"
)

_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_NOT_TEXT = {*range(9), *range(14, 32), 127}  # control characters

__all__ = [
    "CRC32",
    "UNVERIFIED",
    "Checkpoint",
    "OtherArray",
    "Value",
    "WriteReport",
    "check_recipient",
    "open",
    "undo",
    "write",
]


def open(path: str | os.PathLike) -> Checkpoint:
    """Opens a model file and checks its structure; reads no values.

    Args:
        path: a file; a folder with one weights file; hf://ORG/NAME, which is read from the
            Hub's cache (see `hub`), never from the network; or pretrained:NAME, weights of an
            installed package (see `packaged`).

    Raises:
        InputError: there is no such file, its format is not supported, or it is damaged.
    """
    if hub.is_address(path):
        cached = hub.locate(path)
        checkpoint = _open(cached.path, printable(cached.address))
        checkpoint.origin = cached.origin(checkpoint.path)
        return checkpoint
    if packaged.is_name(path):
        checkpoint = _open(packaged.locate(path), printable(path))
        checkpoint.origin = str(path)
        return checkpoint
    return _open(path, printable(path))


def _open(path: str | os.PathLike, where: str) -> Checkpoint:
    """Opens a path, which is called `where` in an error about a folder."""
    prefix = tf_checkpoint.prefix(path)
    if prefix is not None:
        return tf_checkpoint.read(prefix)
    if keras_file.is_folder(path):
        return keras_file.read_folder(path)
    if os.path.isdir(path):
        name, remark = folder.choose(os.listdir(path), where)
        checkpoint = open(pathlib.Path(path, name))
        checkpoint.remark = "; ".join(filter(None, (remark, checkpoint.remark)))
        return checkpoint
    file = source.open_file(path)
    try:
        return _read(file)
    except BaseException:
        os.close(file.descriptor)
        raise


def write(
    recipient: Checkpoint | str | os.PathLike,
    out_path: str | os.PathLike,
    values: Mapping[str, Value],
    provenance: Provenance,
    *,
    crc: bool = True,
    undo: str = RECIPIENT,
) -> WriteReport:
    """Writes a copy of the recipient with some arrays replaced; all of it or nothing.

    Also writes `out_path`.undo, by which `undo` turns the output into the recipient.

    Args:
        recipient: a `.keras`, `.weights.h5`, legacy `.h5` or safetensors file, open or as a path.
        out_path: output file with the recipient's suffix, not an input; replaced if it exists.
        values: recipient's variable path -> array, or (donor file, donor variable). Shape and
            dtype must equal the recipient's: the caller casts and slices.
        provenance: JSON-able mapping, stored in the output and read as
            `Checkpoint.provenance`, there with that of the recipient as "earlier"; or a function that makes it from two mappings of
            variable path -> CRC-32, of the written and of the displaced bytes.
        crc: whether to read all files once and check them against their own checksums;
            otherwise only the bytes that change are read.
        undo: where `undo` takes the replaced values from. "recipient": from the recipient,
            which must stay as it is; "copy": from `out_path`.undo, which is as large as
            they are.

    Raises:
        InputError: a value does not fit, is not finite or is a negative variance; a file is
            damaged; the output is an input or cannot be written. An existing output is then
            unchanged.
    """
    if not isinstance(recipient, Checkpoint):
        with open(recipient) as opened:
            return write(opened, out_path, values, provenance, crc=crc, undo=undo)
    from tfreuse.checkpoints import writing  # as restoring, not for a plan

    return writing.write(recipient, out_path, values, provenance, crc=crc, undo=undo)


def undo(
    path: str | os.PathLike,
    *,
    recipient: str | os.PathLike | None = None,
    dry_run: bool = False,
) -> str:
    """Turns an output of `write` back into its recipient; see `restoring.undo`."""
    from tfreuse.checkpoints import restoring

    return restoring.undo(path, recipient=recipient, dry_run=dry_run)


def _read(file: source.Source) -> Checkpoint:
    """Reads a file by its signature: names of files may be anything."""
    start = file.read(0, min(9, file.size))
    if start.startswith(archive.LOCAL_SIGNATURE):
        try:
            directory = archive.read(file)
        except archive.PackedMemberError as error:
            pytorch.refuse_program(file, [error.name])
            raise
        pytorch.refuse_program(file, directory.members)
        if pytorch.is_pytorch(directory):
            weights = pytorch.read_zip(file, directory)
            return states.checkpoint("pytorch", file, weights)
        archive.refuse_streamed(file, directory)
        reader = npz if npz.is_npz(directory) else keras_file
        return reader.read(file, directory)
    if start.startswith(hdf5.SIGNATURE):
        root = hdf5.read(
            file, ("name", *legacy_h5.ATTRIBUTES), legacy_h5.ROOT_ATTRIBUTES
        )
        reader = legacy_h5 if legacy_h5.is_legacy(root) else weights_h5
        return reader.read(file, root)
    if pytorch.LEGACY_SIGNATURE.startswith(start) and len(start) == 9:
        return states.checkpoint("pytorch", file, pytorch.read_legacy(file))
    if file.path.name.endswith(".json"):
        from tfreuse.checkpoints import sharded

        return sharded.read(file)
    if file.path.name.endswith(".onnx"):  # the format has no signature
        from tfreuse.checkpoints import onnx

        return onnx.read(file)
    if safetensors.is_safetensors(start, file.size):
        return safetensors.read(file)
    raise InputError(
        f"{printable(file.path)} {_unsupported(file)}; expected the content of one of "
        f"{FORMATS}."
    )


def _unsupported(file: source.Source) -> str:
    """Returns the kind of a file by its content, not its name, as the end of "NAME ..."."""
    start = file.read(0, min(512, file.size))
    if not start:
        return "is empty (0 bytes)"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file (git lfs pull gets it)"
    if start.startswith(_PICKLES):
        return "is a pickle that torch.save did not write; pickles are not run"
    text = start.decode("utf-8", "ignore").encode()
    whole = text and len(text) > len(start) - 4  # the last character may be cut
    if whole and not set(start) & _NOT_TEXT:
        return "is a text file, whatever its name says"
    return "is not a supported model file by its content, whatever its name says"
