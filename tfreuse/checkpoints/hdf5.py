"""The arrays of an HDF5 file, found without following a link out of it.

h5py reads the structure, through a window on one open file; payloads are read by offset.
Refused, wherever they stand: soft and external links, external storage, virtual data sets,
objects that are reachable twice (cycles), and more objects or depth than a model has.
"""

import dataclasses
from collections.abc import Iterator

import h5py
import numpy as np

from tfreuse.checkpoints import arrays
from tfreuse.checkpoints.arrays import Stored
from tfreuse.checkpoints.source import (
    MAX_DEPTH,
    MAX_HEADER,
    MAX_OBJECTS,
    Source,
    SourceFile,
)
from tfreuse.errors import InputError, printable

_LIBRARY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclasses.dataclass
class Group:
    """A group of an HDF5 file: groups and arrays by name, and the text attributes asked for."""

    path: str
    groups: dict[str, "Group"]
    arrays: dict[str, Stored]
    attributes: dict[str, str | list[str]]

    def walk(self) -> Iterator["Group"]:
        """This group and all below it, parents first."""
        yield self
        for group in self.groups.values():
            yield from group.walk()


def read(
    source: Source,
    attributes: tuple[str, ...] = ("name",),
    root_attributes: tuple[str, ...] = (),
) -> Group:
    """The structure of an HDF5 file; no payload is read.

    Args:
        source: the file, or the part of a file that is one.
        attributes: text attributes of groups that are read. A name is read together with
            its numbered continuations (name0, name1, ...), which hold long lists.
        root_attributes: those that only the root has.

    Raises:
        InputError: it is no HDF5 file, is cut off, or has a structure that no model needs.
    """
    try:
        with h5py.File(SourceFile(source), "r") as file:
            walk = _Walk(source, attributes)
            root = walk.group(file.id, "", 0)
            root.attributes |= walk.texts(file.id, root_attributes, "")
            return root
    except InputError:
        raise
    except _LIBRARY_ERRORS as error:
        raise InputError(
            f"{printable(source.path)} cannot be read as HDF5: {printable(error)}. "
            "It may be cut off; copy or save it again."
        ) from error


class _Walk:
    """One pass over a file, with the counts that bound it."""

    def __init__(self, source: Source, attributes: tuple[str, ...]):
        self.source = source
        self.attributes = attributes
        self.seen: set[int] = set()
        self.declared = 0

    def group(self, identifier, path: str, depth: int) -> Group:
        self._enter(h5py.h5o.get_info(identifier), path)
        self.declared += identifier.get_num_objs()
        if self.declared > MAX_OBJECTS or depth > MAX_DEPTH:
            raise self._refused(
                path, f"has over {MAX_OBJECTS:,} objects or {MAX_DEPTH} levels"
            )
        found = Group(path, {}, {}, self.texts(identifier, self.attributes, path))
        for name in self._hard_links(identifier, path):
            below = f"{path}/{_text(name)}"
            opened = h5py.h5o.open(identifier, name)
            if isinstance(opened, h5py.h5g.GroupID):
                found.groups[_text(name)] = self.group(opened, below, depth + 1)
            elif isinstance(opened, h5py.h5d.DatasetID):
                array = self._array(opened, below)
                if array is not None:
                    found.arrays[_text(name)] = array
        return found

    def _enter(self, info, path: str) -> None:
        if info.addr in self.seen:
            raise self._refused(path, "can be reached by two paths")
        self.seen.add(info.addr)

    def _hard_links(self, group, path: str) -> list[bytes]:
        names = []

        def note(name: bytes, info) -> None:
            if info.type != h5py.h5l.TYPE_HARD:
                raise self._refused(f"{path}/{_text(name)}", "is a link to elsewhere")
            names.append(name)

        group.links.iterate(note, info=True)
        return names

    def _array(self, dataset, path: str) -> Stored | None:
        """The array, or None if it holds no numbers."""
        self._enter(h5py.h5o.get_info(dataset), path)
        creation = dataset.get_create_plist()
        layout = creation.get_layout()
        if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
            raise self._refused(path, "takes its numbers from another file")
        declared = self._text_attribute(dataset, "dtype", path)
        dtype = arrays.number_type(dataset.dtype, declared)
        if dtype is None:
            return None
        if layout != h5py.h5d.CONTIGUOUS or creation.get_nfilters():
            why = f"{printable(path)} is stored in chunks or compressed"
            return Stored(dataset.shape, dtype, self.source, None, why)
        array = Stored(dataset.shape, dtype, self.source, dataset.get_offset())
        if array.offset is None and array.nbytes:
            raise self._refused(
                path, f"declares {array.nbytes:,} bytes that are not in the file"
            )
        if array.nbytes:
            self.source.check(array.offset, array.nbytes)
        return array

    def texts(
        self, group, names: tuple[str, ...], path: str
    ) -> dict[str, str | list[str]]:
        """The text attributes of these names that the group has."""
        found = {}
        for name in names:
            value = self._text_attribute(group, name, path)
            if value is None:  # a list too long for one attribute is cut into several
                parts = []
                while isinstance(
                    part := self._text_attribute(group, f"{name}{len(parts)}", path),
                    list,
                ):
                    parts.append(part)
                value = [text for part in parts for text in part] if parts else None
            if value is not None:
                found[name] = value
        return found

    def _text_attribute(self, identifier, name: str, path: str):
        """A text, a list of texts, or None if there is no such attribute of text."""
        if not h5py.h5a.exists(identifier, name.encode()):
            return None
        attribute = h5py.h5a.open(identifier, name.encode())
        count = 1
        for side in attribute.shape:
            count *= side
        if count == 0:
            return []
        kind = attribute.get_type()
        size = count * kind.get_size()
        if size > min(MAX_HEADER, self.source.size) or count > MAX_OBJECTS:
            raise self._refused(path, f"has an attribute of {size:,} bytes")
        if kind.get_class() != h5py.h5t.STRING:
            return None
        value = np.empty(attribute.shape, attribute.dtype)
        attribute.read(value)
        texts = [_text(text) for text in value.reshape(-1)]
        return texts if attribute.shape else texts[0]

    def _refused(self, path: str, what: str) -> InputError:
        return InputError(
            f"{printable(self.source.path)}: {printable(path or '/')} {what}; no model "
            "needs that, and it could read other files or never end. Save the model again."
        )


def _text(value: bytes | str) -> str:
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return str(value)
