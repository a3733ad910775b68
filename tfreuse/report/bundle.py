"""The page that the tab and the report share, as files and as one text that needs no server.

Its modules name each other by relative addresses, which a server resolves. Inside one file an
import map does: every module is a data: URL under a bare name.
"""

import base64
import functools
import hashlib
import json
import pathlib
import re

FOLDER = pathlib.Path(__file__).parent / "static"
ENTRY = "page.js"  # what the report's page runs
_OF_SERVER = ("index.js", "api.js")  # how TensorBoard begins, and how a server is asked
_IMPORT = re.compile(r'(\bfrom |\bimport |\bimport\()"\./([a-z_]+\.js)"')


@functools.cache
def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def modules() -> dict[str, str]:
    """The modules of a page without a server by their bare names, entry included."""
    names = {path.name for path in FOLDER.glob("*.js")} - {*_OF_SERVER, "held.js"}
    found = {bare(name): _rewritten(name) for name in sorted(names)}
    return found | {bare("api.js"): _rewritten("held.js")}


def bare(name: str) -> str:
    return f"tfreuse/{name}"


def _rewritten(name: str) -> str:
    return _IMPORT.sub(lambda m: f'{m[1]}"{bare(m[2])}"', read(name))


@functools.cache
def scripts() -> tuple[str, str]:
    """The contents of the page's two scripts: its import map, and the module that it runs."""
    found = modules()
    entry = found.pop(bare(ENTRY))
    imports = {
        name: "data:text/javascript;base64," + base64.b64encode(text.encode()).decode()
        for name, text in found.items()
    }
    return json.dumps({"imports": imports}), entry


@functools.cache
def style() -> str:
    return "\n".join(map(read, ("style.css", "figures.css", "page.css")))


def size() -> int:
    """Bytes that scripts and style take in a page."""
    return sum(len(text.encode()) for text in (*scripts(), style()))


def policy() -> str:
    """What the page may do: run its own scripts, show its own pictures, and ask nobody."""
    allowed = " ".join(map(_digest, scripts()))
    return (
        f"default-src 'none'; script-src {allowed} data:; style-src {_digest(style())}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    made = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(made).decode()}'"
