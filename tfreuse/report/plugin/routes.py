"""The plugin as TensorBoard takes it: its page's files, and read-only answers in JSON."""

import base64
import functools
import pathlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tensorboard.backend.http_util import Respond
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tfreuse import specs
from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError, nearest, printable
from tfreuse.report import bundle, embedded
from tfreuse.report.plugin import finding
from tfreuse.report.plugin.held import Study
from tfreuse.report.views import (
    advice,
    distributions,
    labels,
    maps,
    overview,
    panels,
    pictures,
)
from tfreuse.report.views.snapshot import Snapshot, to_text

LONGEST = 500  # characters of a parameter
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_LOOK_AGAIN = 5.0  # seconds until the log directory is searched for studies again
_ALLOWED = ("GET", "HEAD")


class Refused(InputError):
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Reusability(base_plugin.TBPlugin):
    """Studies below the log directory, as the tab "Reusability"."""

    plugin_name = "reusability"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._logdirs = _logdirs(context)
        self._paths: dict[str, pathlib.Path] = {}
        self._studies: dict[pathlib.Path, Study] = {}
        self._searched = -_LOOK_AGAIN
        self._lock = threading.Lock()

    def is_active(self) -> bool:
        return bool(self._found() or advice.cards(self._roots()))

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(
            es_module_path="/index.js", tab_name="Reusability"
        )

    def get_plugin_apps(self) -> dict[str, Callable]:
        """A route a file of the page, and a route a question; no wildcard among them."""
        files = {
            f"/{path.name}": _file(path)
            for path in sorted(bundle.FOLDER.iterdir())
            if path.suffix in _TYPES
        }
        asked: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "/studies": self._list,
            "/study": self._study,
            "/heat": self._heat,
            "/cell": self._cell,
            "/network": self._network,
            "/spread": self._spread,
            "/labels": self._curves,
            "/advice": self._advice,
        }
        for name in panels.NAMES:
            asked[f"/{name}"] = functools.partial(self._panel, name)
        asked |= {path: self._early(path, answer) for path, answer in asked.items()}
        routes = {path: _route(answer) for path, answer in asked.items()}
        picture = self._early("/picture", self._picture)
        return files | routes | {"/picture": _route(picture, "image/png")}

    def _early(self, path: str, answer: Callable) -> Callable:
        """Answers from the study's report, as long as the study itself is not read."""

        def early(asked: Mapping[str, str]) -> Any:
            if asked.get("study") in self._found():
                name, one = self._named(asked)
                if one.look() is None:
                    own = {**asked, "study": one.path.resolve().name}
                    told = one.reported(embedded.key(path.removeprefix("/"), own))
                    if told is not None:
                        return _as_answered(path, told, name)
            return answer(asked)

        return early

    def _found(self) -> dict[str, pathlib.Path]:
        with self._lock:
            if time.monotonic() - self._searched >= _LOOK_AGAIN:
                paths: dict[str, pathlib.Path] = {}
                for logdir in self._logdirs:
                    for name, path in finding.find(logdir).items():
                        if path not in paths.values():
                            paths[_free(name, paths)] = path
                self._paths, self._searched = paths, time.monotonic()
            return self._paths

    def _list(self, asked: Mapping[str, str]) -> Any:
        found = self._found()
        return {"studies": [{"name": name} for name in found]}

    def _study(self, asked: Mapping[str, str]) -> Any:
        name, one = self._named(asked)
        snapshot = one.look()
        if snapshot is None:
            state = "failed" if one.failure else "reading"
            told = {"state": state, "name": name, "failure": one.failure}
            return told | {"share": one.share}
        return overview.study(
            name, snapshot, one.failure, one.rate(), one.last_record()
        )

    def _heat(self, asked: Mapping[str, str]) -> Any:
        snapshot, part = self._part(asked)
        kind = _chosen(asked, "kind", specs.SITES)
        return maps.heat(snapshot, part, kind, *_view(asked))

    def _cell(self, asked: Mapping[str, str]) -> Any:
        snapshot, part = self._part(asked)
        kind = _chosen(asked, "kind", specs.SITES)
        site, group = asked.get("site", ""), asked.get("group", "")
        try:
            found = maps.cell(snapshot, part, kind, site, group)
        except InputError as error:
            raise Refused(404, str(error)) from error
        shown = kind == "all" and pictures.has(snapshot, part, group)
        return found | {"pictures": shown}

    def _picture(self, asked: Mapping[str, str]) -> bytes:
        snapshot, part = self._part(asked)
        try:
            return pictures.strip(snapshot, part, asked.get("group", ""))
        except InputError as error:
            raise Refused(404, str(error)) from error

    def _network(self, asked: Mapping[str, str]) -> Any:
        return maps.network(*self._part(asked))

    def _spread(self, asked: Mapping[str, str]) -> Any:
        snapshot, part = self._part(asked)
        place = tuple(asked.get(name, "") for name in ("kind", "site", "group"))

        def made() -> dict[str, Any]:
            with distributions.Networks(snapshot.source.path) as networks:
                return distributions.distributions(snapshot, part, *place, networks)

        try:
            return snapshot.keep(("spread", part, *place), made)
        except InputError as error:
            raise Refused(404, str(error)) from error

    def _curves(self, asked: Mapping[str, str]) -> Any:
        return labels.curves(self._snapshot(asked))

    def _advice(self, asked: Mapping[str, str]) -> Any:
        beside = [self._named(asked)[1].path] if "study" in asked else []
        return {"cards": advice.cards([*beside, *self._roots()])}

    def _roots(self) -> list[pathlib.Path]:
        return [pathlib.Path(path).expanduser().resolve() for path in self._logdirs]

    def _panel(self, which: str, asked: Mapping[str, str]) -> Any:
        snapshot, part = self._part(asked)
        return panels.panel(snapshot, part, which)

    def _named(self, asked: Mapping[str, str]) -> tuple[str, Study]:
        """The study that is asked for; names are looked up, never made into a path."""
        paths, name = self._found(), asked.get("study", "")
        if name not in paths:
            near = ", ".join(nearest(name, paths)) or "none"
            raise Refused(404, f"no study {printable(name)!r} here; there are: {near}.")
        with self._lock:
            path = paths[name]
            if path not in self._studies:
                self._studies[path] = Study(path, warm)
            return name, self._studies[path]

    def _snapshot(self, asked: Mapping[str, str]) -> Snapshot:
        _, one = self._named(asked)
        snapshot = one.look()
        if snapshot is None:
            raise Refused(503, "the study is being read; ask again.")
        return snapshot

    def _part(self, asked: Mapping[str, str]) -> tuple[Snapshot, Part]:
        snapshot = self._snapshot(asked)
        part = Part(*(asked.get(field, "") for field in Part._fields))
        if part not in snapshot.source.parts:
            raise Refused(404, f"the study has no part {printable(part)!r}.")
        return snapshot, part


def _as_answered(path: str, told: Any, name: str) -> Any:
    """What a report holds, as the route gives it."""
    if path == "/picture":
        return base64.b64decode(str(told).partition(",")[2])
    return {**told, "name": name} if path == "/study" else told


def warm(snapshot: Snapshot, part: Part) -> None:
    """Makes what a browser asks first of a part, before it asks."""
    overview.lasting(snapshot)
    for kind in ("all", "stage", "layer"):
        maps.heat(snapshot, part, kind, "retention", "none", -1)
    for name in panels.NAMES:
        panels.panel(snapshot, part, name)


def _view(asked: Mapping[str, str]) -> tuple[str, str, int]:
    """Quantity, repair and seed (-1: the mean over all)."""
    quantity = _chosen(asked, "quantity", maps.QUANTITIES)
    repair = _chosen(asked, "repair", specs.REPAIRS)
    seed = asked.get("seed", "-1")
    if not seed.removeprefix("-").isdecimal() or len(seed) > 9:
        raise Refused(400, f"seed takes a whole number; got {printable(seed)!r}.")
    return quantity, repair, max(-1, int(seed))


def _chosen(asked: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = asked.get(name, choices[0])
    if value not in choices:
        told = ", ".join(map(printable, choices))
        raise Refused(400, f"{name} takes one of {told}; got {printable(value)!r}.")
    return value


def _route(
    answer: Callable[[Mapping[str, str]], Any], kind: str = "application/json"
) -> Callable:
    """A route that answers in JSON or bytes, and in one line of text where it cannot."""

    @wrappers.Request.application
    def respond(request: wrappers.Request) -> wrappers.Response:
        try:
            if request.method not in _ALLOWED:
                raise Refused(405, "this route can only be read.")
            if any(len(value) > LONGEST for value in request.args.values()):
                raise Refused(400, f"a parameter is over {LONGEST} characters long.")
            told = answer(request.args)
            if not isinstance(told, bytes):
                told = to_text(told)
        except Refused as error:
            return Respond(request, str(error), "text/plain", code=error.status)
        except ValueError as error:  # records that a table can make nothing of
            told = f"the records do not allow this table: {printable(error, 300)}"
            return Respond(request, told, "text/plain", code=422)
        return Respond(request, told, kind)

    return respond


def _file(path: pathlib.Path) -> Callable:
    """A route that serves one file of the page."""

    @wrappers.Request.application
    def respond(request: wrappers.Request) -> wrappers.Response:
        return Respond(request, path.read_bytes(), _TYPES[path.suffix])

    return respond


def _logdirs(context: base_plugin.TBContext) -> list[str]:
    """The local directories that TensorBoard was started on."""
    told = [context.logdir] if context.logdir else []
    listed = getattr(context.flags, "logdir_spec", "") or ""
    for one in listed.split(",") if not told else ():
        name, colon, path = one.partition(":")
        told.append(path if colon and "/" not in name else one)
    return [path for path in told if path and "://" not in path]


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number where another log directory has a study of that name."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
