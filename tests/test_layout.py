"""Imports point down only; the lowest floor knows neither TensorFlow nor absl.flags."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent / "tfreuse"

# A module may import from the floors below its own, and on its own floor only its own package.
FLOORS = [
    {"errors"},
    {"files"},
    {"roles", "specs"},
    {"plan", "records", "progress", "rundir"},
    {"runners", "analysis", "checkpoints", "alignment", "diff"},
    {"report", "moving"},
    {"kerascv", "runtime"},
    {"models", "data", "transplant"},
    {"loading", "training"},
    {"export", "few_labels"},
    {"prediction"},
    {"advisor", "study"},
    {"cli"},
]
LOWEST_WITHOUT_TENSORFLOW = 6  # floors below this one
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def owner(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: pathlib.Path, top_level_only: bool = False):
    """Dotted names that the file imports, functions included unless told otherwise."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down_only(path):
    assert owner(path) in FLOOR_OF, f"give {owner(path)} a floor"
    floor = FLOOR_OF[owner(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "tfreuse" or len(parts) < 2 or parts[1] == "__version__":
            continue
        target = parts[1]
        assert target == owner(path) or FLOOR_OF[target] < floor, (
            f"{path.name} imports {name}, which is not below it"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_are_known_to_the_command_line_layer_alone(path):
    if owner(path) != "cli":
        assert not {"absl.flags", "absl.app"} & set(imports(path))


def loads(modules, forbidden):
    code = (
        f"import sys, {', '.join(modules)}\n"
        f"loaded = {forbidden!r} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_lowest_floors_do_not_load_tensorflow_or_keras():
    names = [
        f"tfreuse.{name}"
        for floor in FLOORS[:LOWEST_WITHOUT_TENSORFLOW]
        for name in floor
        if (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir()
    ]
    loads([*names, "tfreuse.study", "tfreuse.runtime"], {"tensorflow", "keras"})


def test_the_commands_load_nothing_slow_before_they_know_what_is_asked():
    names = [f"tfreuse.cli.{path.stem}" for path in (ROOT / "cli").glob("[a-z]*.py")]
    loads(names, {"tensorflow", "keras", "matplotlib", "scipy", "tensorboard"})
