"""Reads the scripts and style sheets that the tab and the report share.

The tab's server serves them as files, whose modules import each other by relative addresses. In
report.html there is no server: an import map has every module as a data: URL under a bare name.
"""

import base64
import functools
import hashlib
import json
import pathlib
import re
import string
import urllib.parse

FOLDER = pathlib.Path(__file__).parent / "static"
ENTRY = "page.js"  # the module that report.html runs
_OF_SERVER = ("index.js", "api.js")  # TensorBoard's entry, and requests to its server
# Characters that stand for themselves in the address of a module, inside JSON inside a script.
_PLAIN = "".join(set(string.punctuation) - set('%#<"\\')) + " "
_IMPORT = re.compile(r'(\bfrom |\bimport |\bimport\()"\./([a-z_]+\.js)"')


@functools.cache
def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def modules() -> dict[str, str]:
    """Returns the modules of a page without a server by their bare names, entry included."""
    names = {path.name for path in FOLDER.glob("*.js")} - {*_OF_SERVER, "held.js"}
    sources = {bare(name): _rewritten(name) for name in sorted(names)}
    return sources | {bare("api.js"): _rewritten("held.js")}


def bare(name: str) -> str:
    return f"tfreuse/{name}"


def _rewritten(name: str) -> str:
    return _IMPORT.sub(lambda m: f'{m[1]}"{bare(m[2])}"', read(name))


@functools.cache
def scripts() -> tuple[str, str]:
    """Returns the page's import map, and the module that it runs."""
    sources = modules()
    entry = sources.pop(bare(ENTRY))
    imports = {name: _address(text) for name, text in sources.items()}
    return json.dumps({"imports": imports}), entry


def _address(source: str) -> str:
    """Returns a module as a data: URL, without the comments and spaces that lines begin with.

    Escaped, it is shorter than in base64.
    """
    code = re.sub(r"^ +", "", source, flags=re.MULTILINE)
    code = re.sub(r"^(//.*|/\*\*(.|\n)*?\*/)\n", "", code, flags=re.MULTILINE)
    return f"data:text/javascript,{urllib.parse.quote(code, safe=_PLAIN)}"


@functools.cache
def style() -> str:
    return "\n".join(map(read, ("style.css", "figures.css", "page.css")))


def size() -> int:
    """Returns the bytes that scripts and style take in a page."""
    return sum(len(text.encode()) for text in (*scripts(), style()))


def policy() -> str:
    """Returns the content security policy: own scripts and images, no request elsewhere."""
    allowed = " ".join(map(_digest, scripts()))
    return (
        f"default-src 'none'; script-src {allowed} data:; style-src {_digest(style())}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
