"""Reads a pickle as data: imports nothing and calls nothing that the pickle names.

    tree, size = read(stream, {"collections OrderedDict": dict}, persistent)

A pickle is a program for a stack machine that may call any function of any module. Here the
machine knows its data opcodes, and of functions only a table of constructors, which are ours.
Opcodes are those of `pickletools` (PEP 3154, PEP 574); their sizes are compared with the length
of the stream before memory is taken, and the memo is a dictionary, so that a pickle costs no
more memory than a multiple of its own size.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

from tfreuse.errors import InputError, printable

_MARK = object()
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME", "STOP"}


class UnknownNameError(InputError):
    """The pickle names a class or function outside the table; `name` is "module attribute"."""

    def __init__(self, name: str):
        super().__init__(f"it names {printable(name)}")
        self.name = name


class _Global(str):
    """A name "module attribute" of the table, which `REDUCE` may call."""

    __slots__ = ()


def read(
    stream: io.BufferedIOBase,
    constructors: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle; the stream is then at the byte after it.

    Args:
        stream: bytes, bounded in length by the caller.
        constructors: "module attribute" -> function of ours that is called in its place.
        persistent: makes the object of a persistent identifier.

    Raises:
        UnknownNameError: a name is not in `constructors`.
        InputError: not a pickle, damaged, or with opcodes that no weight file needs.
    """
    machine = _Machine(constructors, persistent)
    steps = machine.steps()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name not in steps:
                raise InputError(
                    f"its pickle has the opcode {opcode.name}, unusual for weights"
                )
            steps[opcode.name](argument)
        (value,) = machine.stack
    except InputError:
        raise
    except (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(OverflowError, RecursionError, struct.error),
    ) as error:
        raise InputError(f"its pickle is damaged ({printable(error, 80)})") from error
    return value


class _Machine:
    """The stack, and the memo of objects that occur again."""

    def __init__(self, constructors, persistent):
        self.constructors = constructors
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def steps(self) -> dict[str, Callable[[Any], None]]:
        """Returns the effect of each opcode on its argument, by its name."""
        push = self.stack.append

        def constant(make):
            return lambda _: push(make())

        def tuple_of(count):
            return lambda _: push(tuple(self.take(count)))

        return {
            **{name: push for name in _LITERALS},
            **{name: constant(make) for name, make in _CONSTANTS.items()},
            **{name: tuple_of(count) for name, count in _TUPLES.items()},
            **{name: lambda _: None for name in _IGNORED},
            **{
                name.removeprefix("op_").upper(): getattr(self, name)
                for name in dir(self)
                if name.startswith("op_")
            },
        }

    def take(self, count: int) -> list[Any]:
        """Pops the last `count` objects, in order."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def take_to_mark(self) -> list[Any]:
        """Pops all objects above the last mark, and the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise IndexError("no mark")

    def op_mark(self, _):
        self.stack.append(_MARK)

    def op_pop(self, _):
        self.take(1)

    def op_pop_mark(self, _):
        self.take_to_mark()

    def op_dup(self, _):
        self.stack.append(self.stack[-1])

    def op_put(self, index):
        self.memo[index] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, index):
        self.stack.append(self.memo[index])

    op_binget = op_long_binget = op_get

    def op_tuple(self, _):
        self.stack.append(tuple(self.take_to_mark()))

    def op_list(self, _):
        self.stack.append(self.take_to_mark())

    def op_dict(self, _):
        values = self.take_to_mark()
        self.stack.append({})
        self.update(values)

    def op_append(self, _):
        (value,) = self.take(1)
        self.extend([value])

    def op_appends(self, _):
        self.extend(self.take_to_mark())

    # Sets are read as lists: their elements may not be hashable here.
    op_additems = op_appends

    def extend(self, values):
        if not isinstance(self.stack[-1], list):
            raise TypeError("elements for an object that is no list")
        self.stack[-1].extend(values)

    def op_setitem(self, _):
        key, value = self.take(2)
        self.update([key, value])

    def op_setitems(self, _):
        self.update(self.take_to_mark())

    def update(self, values):
        if not isinstance(self.stack[-1], dict):
            raise TypeError("entries for an object that is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # integers of over 60 bits can be chosen so that all have one hash
            if not isinstance(key, str) and not (
                isinstance(key, int) and key.bit_length() <= 60
            ):
                raise TypeError(f"a key of type {type(key).__name__}")
            self.stack[-1][key] = value

    def op_global(self, name):
        if name not in self.constructors:
            raise UnknownNameError(name)
        self.stack.append(_Global(name))

    def op_stack_global(self, _):
        module, attribute = self.take(2)
        self.op_global(f"{module} {attribute}")

    def op_reduce(self, _):
        name, arguments = self.take(2)
        if not isinstance(name, _Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of an object that is no name")
        self.stack.append(self.constructors[name](*arguments))

    op_newobj = op_reduce

    def op_build(self, _):
        # Attributes of an object, such as the versions of modules, are not needed.
        self.take(1)

    def op_binpersid(self, _):
        if self.persistent is None:
            raise TypeError("a reference outside the pickle")
        (identifier,) = self.take(1)
        self.stack.append(self.persistent(identifier))
