"""The base of all specs: each field with its default, unit and help, checked when made."""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Self

from tfreuse import files
from tfreuse.errors import InputError, printable

_LARGEST = 3.4e38  # below the largest finite float32


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    only: str = "",
    also: str = "",
    before: Any = dataclasses.MISSING,
) -> Any:
    """Returns a dataclass field with its default, help, choices and lower bound.

    Args:
        default: the value where none is given.
        help: the help of the flag: meaning, unit, and the meaning of special values.
        choices: all values allowed, of each item for a tuple; empty: any.
        low: the least value allowed.
        also: regular expression of values that are allowed besides `choices`.
        before: for a field added when runs existed, its value in them. At this value it is absent
            from JSON, so that their digests stay.
        only: name of the one architecture that has the option; empty: all have it.
    """
    if only:
        help = f"{only}: {help}"
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "low": low,
            "only": only,
            "also": also,
            "before": before,
        },
    )


def later(spec: type, name: str) -> Any:
    """Returns a field like another spec's, in a spec of which runs existed without it."""
    (field,) = (field for field in dataclasses.fields(spec) if field.name == name)
    metadata = dict(field.metadata)
    if metadata["before"] is dataclasses.MISSING:
        metadata["before"] = field.default
    return dataclasses.field(default=field.default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Spec:
    """Base of the specs: checks choices and bounds when made, converts to and from plain JSON."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values by field, without those that hold in runs older than the field."""
        before = self._before()
        return {
            name: value
            for name, value in self.settings.items()
            if value != before.get(name, dataclasses.MISSING)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the spec of the values that `to_json` returned, in this version or a former.

        Raises:
            InputError: a value does not fit its field, or there is no such field.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise InputError(
                f"{cls.__name__} has no fields {unknown}; it has {sorted(names)}."
            )
        complete = cls.completed(values).items()
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in complete})

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values of all fields by their names."""
        fields = dataclasses.fields(self)
        return {field.name: _plain(getattr(self, field.name)) for field in fields}

    @classmethod
    def completed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `to_json`'s values with those of the fields that an older run lacks."""
        return cls._before() | dict(values)

    @classmethod
    def superseded(cls) -> dict[str, Any]:
        """Returns the fields whose default is another than in runs older than them, with that."""
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        before = cls._before().items()
        return {k: value for k, value in before if value != _plain(defaults[k])}

    @classmethod
    def _before(cls) -> dict[str, Any]:
        return {
            field.name: _plain(before)
            for field in dataclasses.fields(cls)
            if (before := field.metadata["before"]) is not dataclasses.MISSING
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the spec: the identity of the experiment."""
        return files.digest(self.to_json())


def check_pattern(name: str, pattern: str) -> None:
    """Raises InputError unless the flag's value is a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--{name} takes a regular expression such as '[^_]+'; got "
            f"{pattern!r} ({error})."
        ) from None


def changes(
    flag: str, words: Sequence[str], fields: Sequence[dataclasses.Field]
) -> dict[str, Any]:
    """Parses OPTION=VALUE words, as after the name in --architectures.

    Args:
        flag: the flag that they belong to, for errors.
        words: e.g. "width=16"; values of a tuple are joined by +.
        fields: the options allowed.

    Returns:
        Values by the names of their fields.

    Raises:
        InputError: no such option, an option twice, or a value of another type.
    """
    by_name = {field.name: field for field in fields}
    values = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in by_name or not text:
            raise InputError(
                f"--{flag}: expected OPTION=VALUE with one of {', '.join(by_name)}; got "
                f"{printable(word)!r}."
            )
        if name in values:
            raise InputError(f"--{flag} gives {name} twice: {' '.join(words)}.")
        values[name] = _parsed(flag, text, by_name[name])
    return values


def _parsed(flag: str, text: str, field: dataclasses.Field) -> Any:
    kind = type(field.default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return tuple(text.split("+")) if kind is tuple else kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
        raise InputError(
            f"--{flag}: {field.name} takes {expected}; got {printable(text)!r}."
        ) from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises InputError unless `value` fits the field's type, choices and bound."""
    annotation = (
        field.type if isinstance(field.type, type | types.GenericAlias) else Any
    )
    kind = typing.get_origin(annotation) or annotation
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        kind = int
    if kind is not Any and (
        # True is an int in Python, but no number here
        not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)
    ):
        raise InputError(f"--{field.name} takes a {kind.__name__}; got {value!r}.")
    choices, low, also = (field.metadata[name] for name in ("choices", "low", "also"))
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item not in choices and not re.fullmatch(also or "(?!)", item):
            raise InputError(
                f"--{field.name} takes one of {', '.join(choices)}; got {item!r}."
            )
        if low is not None and item < low:
            raise InputError(f"--{field.name} takes at least {low}; got {item}.")
        if isinstance(item, float) and not abs(item) <= _LARGEST:  # NaN neither
            raise InputError(
                f"--{field.name} takes a number that float32 can hold; got {item}."
            )
