"""A name of the package in a text names something that exists.

Texts are README, docs, the newest section of CHANGELOG, docstrings and comments. Names are
followed through the sources by `ast`: nothing is imported, and a former name does not resolve.
"""

import ast
import builtins
import functools
import io
import pathlib
import re
import tokenize

import pytest

import tfreuse

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "tfreuse"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SOURCES = sorted(
    path
    for folder in ("tfreuse", "benchmarks", "tools", "tests", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
DOTTED = re.compile(r"(?<![\w/.])tfreuse(?:\.[A-Za-z_]\w*)+")
QUOTED = re.compile(r"`+([A-Za-z_][\w.]*)(?:\([^`]*\))?`+")
PATH = re.compile(
    r"(?<![\w/])(?:tfreuse|benchmarks|tools|tests|flags|docs)/[\w/]+\.\w+"
)
READERS = {"predict"}  # functions that a synopsis leaves to its reader
FILE = re.compile(r".*\.(jsonl?|html|md|bin|csv|png|svg|flags|keras|h5|npz|undo)")


@functools.cache
def module(name: str) -> pathlib.Path | None:
    """Returns the file of a dotted module name of this repository, or None."""
    path = ROOT.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


@functools.cache
def scope(file: pathlib.Path) -> dict[str, ast.AST]:
    """Returns the statements that bind a module's top-level names, by name."""
    return bound(ast.parse(file.read_text()).body)


def bound(body: list[ast.stmt]) -> dict[str, ast.AST]:
    names: dict[str, ast.AST] = {}
    for node in body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names[node.name] = node
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name: node for alias in node.names}
            case ast.Assign() | ast.AnnAssign():
                targets = (
                    node.targets if isinstance(node, ast.Assign) else [node.target]
                )
                leaves = [leaf for target in targets for leaf in ast.walk(target)]
                names |= {
                    leaf.id: node for leaf in leaves if isinstance(leaf, ast.Name)
                }
            case ast.If() | ast.Try() | ast.With():
                names |= bound(node.body)
    return names


def members(node: ast.ClassDef, file: pathlib.Path) -> set[str]:
    """Returns a class's attributes, with those that its methods set and its bases have."""
    names = set(bound(node.body))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            names.add(inner.attr)
    for base in node.bases:
        parent = scope(file).get(getattr(base, "id", ""))
        if isinstance(parent, ast.ClassDef):
            names |= members(parent, file)
        elif parent is not None or isinstance(base, ast.Attribute):
            names.add("*")  # of another module or library
    return names


def exists(name: str) -> bool:
    """Returns whether a dotted name is a module, a name in one, or a member of a class there."""
    parts = name.split(".")
    if parts[0] == "tfreuse" and parts[1:2] and parts[1] in tfreuse._FUNCTIONS:
        parts[1:1] = tfreuse._FUNCTIONS[parts[1]].split(".")
    prefix = next(
        (n for n in range(len(parts), 0, -1) if module(".".join(parts[:n]))), 0
    )
    if not prefix:
        return False
    if prefix == len(parts):
        return True
    file = module(".".join(parts[:prefix]))
    return holds(file, parts[prefix:])


def holds(file: pathlib.Path, parts: list[str]) -> bool:
    node = scope(file).get(parts[0])
    if node is None:
        return False
    if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "tfreuse":
        original = next(
            alias.name for alias in node.names if parts[0] in (alias.asname, alias.name)
        )
        return exists(".".join([node.module, original, *parts[1:]]))
    if len(parts) == 1 or not isinstance(node, ast.ClassDef):
        return True  # attributes of values and of other libraries are not followed
    return bool({parts[1], "*"} & members(node, file))


def test_the_resolver_tells_names_that_exist_from_those_that_do_not():
    for name in (
        "tfreuse.plan.make",
        "tfreuse.recalibrate",
        "tfreuse.plan.Plan.table",
        "tfreuse.models.unet",
        "tfreuse.records.Record.retention",
        "tfreuse.specs.StudySpec.margin",
        "benchmarks.main.run",
    ):
        assert exists(name), name
    for name in (
        "tfreuse.plan.mke",
        "tfreuse.plan.Plan.tble",
        "tfreuse.verdicts",
        "tfreuse.records.Record.retained",
        "numpy.asarray",
    ):
        assert not exists(name), name


def former_names() -> set[str]:
    """Returns the module names of earlier versions that still import, with a warning."""
    renamed = scope(PACKAGE / "__init__.py")["_RENAMED"]
    return set(ast.literal_eval(renamed.value))


def prose(file: pathlib.Path) -> list[tuple[int, str]]:
    """Returns (line, text) of a page, or of the docstrings and comments of a source."""
    text = file.read_text()
    lines = list(enumerate(text.splitlines(), 1))
    if file.name == "CHANGELOG.md":  # earlier sections keep the names of their time
        starts = [number for number, line in lines if line.startswith("## ")]
        return lines[: starts[1] - 1] if len(starts) > 1 else lines
    if file.suffix == ".md":
        return lines
    texts = []
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            first = node.body[0]
            texts += enumerate(first.value.value.splitlines(), first.lineno)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            texts.append((token.start[0], token.string))
    return texts


def packages(file: pathlib.Path) -> list[str]:
    """Returns the packages that a name in a text of `file` may be relative to, nearest first."""
    if PACKAGE not in file.parents:
        return ["tfreuse"]
    parts = file.relative_to(ROOT).parts[:-1]
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def unresolved(file: pathlib.Path, line: str) -> list[str]:
    """Returns the names and paths of a line of text that belong to nothing that exists."""
    wrong = [path for path in PATH.findall(line) if not (ROOT / path).exists()]
    for name in {*DOTTED.findall(line), *QUOTED.findall(line)}:
        name = name.rstrip(".")
        first = name.split(".")[0]
        if "." not in name or FILE.fullmatch(name) or first in parameters(file):
            continue
        if first in ("tfreuse", "benchmarks"):
            full = [name]
        else:
            within = [p for p in packages(file) if module(f"{p}.{first}")]
            full = [f"{package}.{name}" for package in within]
        former = name.removeprefix("tfreuse.").split(".")[0] in former_names()
        if former and file.name == "CHANGELOG.md":
            continue  # it says what the former names became
        if (full or former and PACKAGE in file.parents) and not any(map(exists, full)):
            wrong.append(name)
    return wrong


@functools.cache
def parameters(file: pathlib.Path) -> set[str]:
    """Returns the parameters of a source's functions: `record.key` is of one, not a module's."""
    if file.suffix != ".py":
        return set()
    tree = ast.parse(file.read_text())
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def synopsis(file: pathlib.Path) -> list[ast.AST]:
    """Returns the lines of code in a module's docstring that can be read each by itself."""
    lines = (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[1:]
    nodes = []
    for line in filter(None, map(str.strip, lines)):
        for code in (line, f"{line} pass"):
            try:
                nodes.append(ast.parse(code))
                break
            except SyntaxError:
                continue
    return nodes


def missing_in_synopsis(file: pathlib.Path) -> list[str]:
    """Returns the functions that a module's synopsis calls and that nothing binds."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    module_parts = [part for part in parts if part != "__init__"]
    nodes = [node for tree in synopsis(file) for node in ast.walk(tree)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    local = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    local |= {
        name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for name in bound([node])
    }
    local |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    wrong = []
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id=name):
                callable_names = {*scope(file), *dir(builtins), *local, *READERS}
                if name not in callable_names:
                    wrong.append(name)
            case ast.Attribute(value=ast.Name(id=first), attr=name) if (
                first not in local
            ):
                within = [p for p in packages(file) if module(f"{p}.{first}")]
                if module_parts[-1] == first:
                    within.append(".".join(module_parts[:-1]))
                paths = [".".join(filter(None, (p, first, name))) for p in within]
                if paths and not any(map(exists, paths)):
                    wrong.append(f"{first}.{name}")
    return wrong


@pytest.mark.parametrize(
    "file", [*PAGES, *SOURCES], ids=lambda f: str(f.relative_to(ROOT))
)
def test_names_and_paths_in_texts_exist(file):
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {name}"
        for number, line in prose(file)
        for name in unresolved(file, line)
    ]
    if PACKAGE in file.parents:
        wrong += [f"synopsis of {file}: {name}" for name in missing_in_synopsis(file)]
    assert not wrong, "\n".join(wrong)
