"""Imports point down only; few modules load TensorFlow, and one package absl.flags."""

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
    {"runners", "analysis", "checkpoints"},
    {"report", "transplant"},
    {"kerascv", "runtime"},
    {"models", "data"},
    {"training"},
    {"export", "few_labels"},
    {"prediction"},
    {"advisor", "study"},
    {"cli"},
]
# All others answer at once: importing them loads neither TensorFlow nor Keras.
MAY_LOAD_TENSORFLOW = {
    *("export", "kerascv", "models", "training"),
    *("data/augmentation", "data/catalogue", "data/contact_sheet", "data/shapes"),
    "advisor/trials",
    *("few_labels/cost", "few_labels/fitting", "few_labels/freezing"),
    *(
        "study/channels",
        "study/cost",
        "study/donors",
        "study/finish",
        "study/gallery",
        "study/imports",
    ),
    "study/labels",
    *(
        "study/measuring",
        "study/notebook",
        "study/reading",
        "study/recipient",
        "study/repairs",
        "study/retrials",
    ),
    *("study/treatments", "study/workspace"),
    *("transplant/assigning", "transplant/derived"),
    *("transplant/live", "transplant/live_graph"),
    *("transplant/live_inspection", "transplant/loading"),
    "transplant/optimizer_state",
}
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


def test_a_reader_sees_at_most_24_entries_at_the_top():
    entries = {owner(path) for path in modules()}
    assert len(entries) <= 24, sorted(entries)


def test_every_floor_and_exception_names_a_module():
    owners = {owner(path) for path in modules()}
    assert set(FLOOR_OF) == owners
    for name in MAY_LOAD_TENSORFLOW:
        assert name in owners or (ROOT / f"{name}.py").exists(), name


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


def test_no_other_module_loads_tensorflow_or_keras():
    names = []
    for path in modules():
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        if not {module, owner(path)} & MAY_LOAD_TENSORFLOW:
            names.append(
                f"tfreuse.{module.removesuffix('/__init__')}".replace("/", ".")
            )
    loads(names, {"tensorflow", "keras"})


def test_the_commands_load_nothing_slow_before_they_know_what_is_asked():
    names = [f"tfreuse.cli.{path.stem}" for path in (ROOT / "cli").glob("[a-z]*.py")]
    loads(names, {"tensorflow", "keras", "matplotlib", "scipy", "tensorboard"})
