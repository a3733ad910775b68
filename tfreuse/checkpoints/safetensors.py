"""Reads `.safetensors` files: a JSON header, then the arrays, without gaps.

Names are "layer/role" or "layer/position" as in `.npz`, or the same with a dot ("layer.role"); or
those of a PyTorch state dict ("layer1.0.conv1.weight"), see `tfreuse.checkpoints.pytorch.states`.
"""

from tfreuse.checkpoints import configs, named
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.pytorch import states
from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable
from tfreuse.plan.dtypes import numpy_type
from tfreuse.roles import NAMED

_TYPES = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def is_safetensors(start: bytes, size: int) -> bool:
    """Returns whether a file with these first 9 bytes and this size can be safetensors."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= length <= size - 8


def read(source: Source) -> Checkpoint:
    """Reads a safetensors file.

    Raises:
        InputError: the header is too large or damaged, or the arrays do not tile the file.
    """
    weights = read_weights(source)
    stored_by_name = weights.arrays
    if states.is_pytorch(stored_by_name):
        return states.checkpoint("safetensors", source, weights)
    arrays_of_layers = ((*_split(name), a) for name, a in stored_by_name.items())
    variables, unaddressed, notes = named.variables(arrays_of_layers)
    return Checkpoint(
        "safetensors", source, variables, unaddressed=unaddressed, notes=notes
    )


def header(source: Source) -> bytes:
    """Returns the header of a safetensors file, JSON; see `read`."""
    length = int.from_bytes(source.read(0, 8), "little")
    if length > MAX_HEADER:  # the format allows 100 MB; no network needs that
        raise InputError(f"{printable(source.path)} has a header of {length:,} bytes.")
    return source.read(8, length)


def read_weights(source: Source) -> states.Weights:
    """Returns the arrays of a safetensors file by name; see `read`."""
    where = printable(source.path)
    text = header(source)
    entries = configs.parse_object(text, where)
    entries.pop("__metadata__", None)
    if len(entries) > MAX_OBJECTS:
        raise InputError(f"{where} has over {MAX_OBJECTS:,} arrays.")
    data = source.window(8 + len(text), source.size - 8 - len(text))
    stored_by_name, spans = {}, []
    for name, entry in entries.items():
        stored = _array(data, entry)
        if stored is None:
            raise InputError(f"{where}: the entry of {printable(name)} is damaged.")
        spans.append((stored.offset, stored.nbytes))
        stored_by_name[name] = stored
    end = 0
    for start, size in sorted(spans):
        if start != end:
            raise InputError(
                f"{where} has gaps or overlaps between its arrays; it is damaged."
            )
        end = start + size
    if end != data.size:
        raise InputError(f"{where} is truncated, or has bytes that no array owns.")
    ordered = not states.is_sorted(stored_by_name)
    return states.Weights(stored_by_name, ordered=ordered)


def _array(data: Source, entry) -> StoredArray | None:
    """Parses an entry of the header; returns None if it violates the format."""
    if not isinstance(entry, dict):
        return None
    dtype = _TYPES.get(str(entry.get("dtype")))
    shape, span = entry.get("shape"), entry.get("data_offsets")
    if dtype is None or not _sizes(shape) or not _sizes(span) or len(span) != 2:
        return None
    stored = StoredArray(tuple(shape), numpy_type(dtype), data, span[0])
    return stored if stored.nbytes == span[1] - span[0] else None


def _sizes(value) -> bool:
    """Returns whether the JSON value is a short list of non-negative integers."""
    return (
        isinstance(value, list)
        and len(value) <= 32
        and all(type(number) is int and number >= 0 for number in value)
    )


def _split(name: str) -> tuple[str, str]:
    """Splits an array's name into (layer path, name in the layer)."""
    layer, _, last = name.rpartition("/")
    if layer:
        return layer, last
    layer, _, last = name.rpartition(".")
    is_array = (
        last.isdecimal() or named.clean(last) in NAMED or named.is_companion(last)
    )
    return (layer, last) if layer and is_array else (name, "value")
