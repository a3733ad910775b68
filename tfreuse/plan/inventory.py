"""Lists the stages of a model from input to output, with roles, layers and parameters.

print(inventory.table(checkpoints.open("model.keras").variables))
"""

import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tfreuse.errors import printable
from tfreuse.plan.table import bytes_of
from tfreuse.plan.variables import Variable, stage
from tfreuse.roles import ROLES

_LEAST = 12  # characters of a stage's name
_SHORT = {"moving_mean": "mean", "moving_variance": "var.", "unknown": "other"}


def rows(variables: Iterable[Variable]) -> list[dict[str, Any]]:
    """Returns a row a stage: stage, layers, variables by role, parameters, bytes."""
    by_stage: dict[str, dict[str, Any]] = {}
    layers: dict[str, set[str]] = {}
    for variable in variables:
        name = stage(variable.layer)
        row = by_stage.setdefault(
            name,
            {"stage": name, "layers": 0, "roles": {}, "parameters": 0, "bytes": 0},
        )
        layers.setdefault(name, set()).add(variable.layer_path)
        role = variable.role or "unknown"
        row["roles"][role] = row["roles"].get(role, 0) + 1
        row["layers"] = len(layers[name])
        row["parameters"] += variable.size
        row["bytes"] += variable.bytes
    return list(by_stage.values())


def table(variables: Iterable[Variable]) -> str:
    """Formats the rows with totals and the unknown classes, as wide as the names need.

    In a terminal, names are cut where a line would not fit, to 12 characters at least.
    """
    variables = tuple(variables)
    columns = (*ROLES, "unknown")
    head = "".join(f" {_SHORT.get(role, role):>6}" for role in columns)
    by_stage = rows(variables)
    width = max((len(printable(row["stage"])) for row in by_stage), default=0)
    tail = f" {'layers':>6}{head} {'parameters':>11} {'size':>9}"
    if sys.stdout.isatty():
        width = min(width, shutil.get_terminal_size().columns - len(tail))
    width = max(width, _LEAST)
    lines = [f"{'stage':{width}}{tail}"]
    total: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    for row in by_stage:
        lines.append(
            _line(_cell(row["stage"], width), row["layers"], row["roles"], row)
        )
        total.update(row["roles"])
        numbers.update({k: row[k] for k in ("layers", "parameters", "bytes")})
    lines.append(_line(_cell("total", width), numbers["layers"], total, numbers))
    unknown = sorted({v.class_name or "?" for v in variables if v.role is None})
    if unknown:
        names = ", ".join(printable(name, 30) for name in unknown[:5])
        lines.append(f"without a role, moved with whole layers: {names}"[:100])
    return "\n".join(lines)


def _cell(name: str, width: int) -> str:
    return f"{printable(name, width):{width}}"


def _line(name: str, layers: int, roles: Any, numbers: Any) -> str:
    counts = "".join(f" {roles.get(role, 0) or '':>6}" for role in (*ROLES, "unknown"))
    return (
        f"{name} {layers:>6}{counts} {numbers['parameters']:>11,} "
        f"{bytes_of(numbers['bytes']):>9}"
    )
