"""`.keras` files: a zip of config.json, metadata.json and the weights as HDF5."""

from tfreuse.checkpoints import configs, hdf5, weights_h5
from tfreuse.checkpoints.archive import Archive
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"


def read(source: Source, directory: Archive) -> Checkpoint:
    """Reads a `.keras` file; classes and roles come from its configuration.

    Raises:
        InputError: damaged, incomplete, or with weights that do not fit its configuration.
    """
    where = printable(source.path)
    members = directory.members
    for name in (WEIGHTS, CONFIG, METADATA):
        if name not in members:
            raise InputError(
                f"{where} has no {name}; an interrupted save leaves such a file. "
                "Save the model again."
            )
    config = configs.parse(members[CONFIG].read(), where)
    metadata = configs.parse_object(members[METADATA].read(), where)
    root = hdf5.read(members[WEIGHTS].data)
    weights = weights_h5.parse(root, config, where)
    return Checkpoint(
        "keras",
        source,
        weights.variables,
        unaddressed=weights.unaddressed,
        edges=config.edges,
        notes=weights.notes,
        members=members.values(),
        provenance=metadata.get("tfreuse"),
    )
