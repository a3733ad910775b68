"""The base of all specs: one default, unit and help a field, checked when a spec is made."""

import dataclasses
import re
import types
import typing
from typing import Any, Self

from tfreuse import files
from tfreuse.errors import InputError


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    only: str = "",
) -> Any:
    """A dataclass field with its help, its choices and its lower bound beside its default.

    `only` names the one architecture that has the option.
    """
    if only:
        help = f"{only}: {help}"
    return dataclasses.field(
        default=default,
        metadata={"help": help, "choices": choices, "low": low, "only": only},
    )


@dataclasses.dataclass(frozen=True)
class Spec:
    """Base of the specs: checks choices and bounds when made, converts to and from plain JSON."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    def to_json(self) -> dict[str, Any]:
        return {
            field.name: list(value)
            if isinstance(value := getattr(self, field.name), tuple)
            else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        known = {field.name: field.type for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(
                f"{cls.__name__} has no fields {unknown}; it has {sorted(known)}."
            )
        return cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )

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


def parsed(text: str, field: dataclasses.Field) -> Any:
    """The option's value: a whole number, true or false, or the text itself."""
    try:
        if isinstance(field.default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(field.default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(field.default, bool) else "a whole number"
        raise InputError(
            f"--architectures: {field.name} takes {kind}; got {text!r}."
        ) from None


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises InputError unless `value` fits the field's type, choices and bound."""
    kind = field.type if isinstance(field.type, type | types.GenericAlias) else Any
    wanted = typing.get_origin(kind) or kind
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        wanted = int
    if wanted is not Any and (
        not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)
    ):
        raise InputError(f"--{field.name} takes a {wanted.__name__}; got {value!r}.")
    choices, low = field.metadata["choices"], field.metadata["low"]
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        if choices and one not in choices:
            raise InputError(
                f"--{field.name} takes one of {', '.join(choices)}; got {one!r}."
            )
        if low is not None and one < low:
            raise InputError(f"--{field.name} takes at least {low}; got {one}.")
