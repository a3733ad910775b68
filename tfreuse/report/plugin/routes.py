"""Serves the plugin's page to TensorBoard, and read-only answers in JSON."""

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
from tfreuse.report.plugin import discovery
from tfreuse.report.plugin.live import LiveStudy
from tfreuse.report.views import (
    advice,
    cells,
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
_SEARCH_EVERY = 5.0  # seconds until the log directory is searched for studies again
_ALLOWED = ("GET", "HEAD")


class Refused(InputError):
    """A request that is refused.

    Attributes:
        status: HTTP status code.
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
        self._studies: dict[pathlib.Path, LiveStudy] = {}
        self._searched = -_SEARCH_EVERY
        self._lock = threading.Lock()

    def is_active(self) -> bool:
        return bool(self._discovered() or advice.cards(self._roots()))

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(
            es_module_path="/index.js", tab_name="Reusability"
        )

    def get_plugin_apps(self) -> dict[str, Callable]:
        """Returns one route per file of the page and one per kind of request, no wildcards."""
        files = {
            f"/{path.name}": _file(path)
            for path in sorted(bundle.FOLDER.iterdir())
            if path.suffix in _TYPES
        }
        answers: dict[str, Callable[[Mapping[str, str]], Any]] = {
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
            answers[f"/{name}"] = functools.partial(self._panel, name)
        answers |= {path: self._early(path, answer) for path, answer in answers.items()}
        routes = {path: _route(answer) for path, answer in answers.items()}
        picture = self._early("/picture", self._picture)
        return files | routes | {"/picture": _route(picture, "image/png")}

    def _early(self, path: str, answer: Callable) -> Callable:
        """Answers from the study's report until the study itself has been read."""

        def early(query: Mapping[str, str]) -> Any:
            if query.get("study") in self._discovered():
                name, study = self._requested(query)
                if study.latest() is None:
                    keyed = {**query, "study": study.path.resolve().name}
                    content = study.reported(
                        embedded.key(path.removeprefix("/"), keyed)
                    )
                    if content is not None:
                        return _as_answered(path, content, name)
            return answer(query)

        return early

    def _discovered(self) -> dict[str, pathlib.Path]:
        with self._lock:
            if time.monotonic() - self._searched >= _SEARCH_EVERY:
                paths: dict[str, pathlib.Path] = {}
                for logdir in self._logdirs:
                    for name, path in discovery.find(logdir).items():
                        if path not in paths.values():
                            paths[_unused(name, paths)] = path
                self._paths, self._searched = paths, time.monotonic()
            return self._paths

    def _list(self, query: Mapping[str, str]) -> Any:
        return {"studies": [{"name": name} for name in self._discovered()]}

    def _study(self, query: Mapping[str, str]) -> Any:
        name, study = self._requested(query)
        snapshot = study.latest()
        if snapshot is None:
            state = "failed" if study.failure else "reading"
            status = {"state": state, "name": name, "failure": study.failure}
            return status | {"share": study.share}
        return overview.study(
            name, snapshot, study.failure, study.rate(), study.last_record()
        )

    def _heat(self, query: Mapping[str, str]) -> Any:
        snapshot, part = self._part(query)
        kind = _chosen(query, "kind", specs.SITES)
        return maps.heat(snapshot, part, kind, *_view(query))

    def _cell(self, query: Mapping[str, str]) -> Any:
        snapshot, part = self._part(query)
        kind = _chosen(query, "kind", specs.SITES)
        site, group = query.get("site", ""), query.get("group", "")
        try:
            details = cells.cell(snapshot, part, kind, site, group)
        except InputError as error:
            raise Refused(404, str(error)) from error
        has_pictures = kind == "all" and pictures.has(snapshot, part, group)
        return details | {"pictures": has_pictures}

    def _picture(self, query: Mapping[str, str]) -> bytes:
        snapshot, part = self._part(query)
        try:
            return pictures.strip(snapshot, part, query.get("group", ""))
        except InputError as error:
            raise Refused(404, str(error)) from error

    def _network(self, query: Mapping[str, str]) -> Any:
        return maps.network(*self._part(query), *_view(query))

    def _spread(self, query: Mapping[str, str]) -> Any:
        snapshot, part = self._part(query)
        cell = tuple(query.get(name, "") for name in ("kind", "site", "group"))

        def compute() -> dict[str, Any]:
            with distributions.Networks(snapshot.source.path) as networks:
                return distributions.view(snapshot, part, *cell, networks)

        try:
            return snapshot.keep(("spread", part, *cell), compute)
        except InputError as error:
            raise Refused(404, str(error)) from error

    def _curves(self, query: Mapping[str, str]) -> Any:
        return labels.curves(self._snapshot(query))

    def _advice(self, query: Mapping[str, str]) -> Any:
        beside = [self._requested(query)[1].path] if "study" in query else []
        return {"cards": advice.cards([*beside, *self._roots()])}

    def _roots(self) -> list[pathlib.Path]:
        return [pathlib.Path(path).expanduser().resolve() for path in self._logdirs]

    def _panel(self, name: str, query: Mapping[str, str]) -> Any:
        snapshot, part = self._part(query)
        return panels.panel(snapshot, part, name)

    def _requested(self, query: Mapping[str, str]) -> tuple[str, LiveStudy]:
        """Returns the requested study; its name is looked up, never turned into a path."""
        paths, name = self._discovered(), query.get("study", "")
        if name not in paths:
            near = ", ".join(nearest(name, paths)) or "none"
            raise Refused(404, f"no study {printable(name)!r} here; there are: {near}.")
        with self._lock:
            path = paths[name]
            if path not in self._studies:
                self._studies[path] = LiveStudy(path, warm)
            return name, self._studies[path]

    def _snapshot(self, query: Mapping[str, str]) -> Snapshot:
        _, study = self._requested(query)
        snapshot = study.latest()
        if snapshot is None:
            raise Refused(503, "the study is being read; ask again.")
        return snapshot

    def _part(self, query: Mapping[str, str]) -> tuple[Snapshot, Part]:
        snapshot = self._snapshot(query)
        part = Part(*(query.get(field, "") for field in Part._fields))
        if part not in snapshot.source.parts:
            raise Refused(404, f"the study has no part {printable(part)!r}.")
        return snapshot, part


def _as_answered(path: str, content: Any, name: str) -> Any:
    """Converts an answer embedded in a report to that of the route."""
    if path == "/picture":
        return base64.b64decode(str(content).partition(",")[2])
    return {**content, "name": name} if path == "/study" else content


def warm(snapshot: Snapshot, part: Part) -> None:
    """Computes the answers that a browser requests first of a part."""
    overview.lasting(snapshot)
    for kind in ("all", "stage", "layer"):
        maps.heat(snapshot, part, kind, "retention", "none", -1)
    for name in panels.NAMES:
        panels.panel(snapshot, part, name)


def _view(query: Mapping[str, str]) -> tuple[str, str, int]:
    """Returns quantity, repair and seed (-1: the mean over all)."""
    quantity = _chosen(query, "quantity", maps.QUANTITIES)
    repair = _chosen(query, "repair", specs.REPAIRS)
    seed = query.get("seed", "-1")
    if not seed.removeprefix("-").isdecimal() or len(seed) > 9:
        raise Refused(400, f"seed takes a whole number; got {printable(seed)!r}.")
    return quantity, repair, max(-1, int(seed))


def _chosen(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name, choices[0])
    if value not in choices:
        options = ", ".join(map(printable, choices))
        raise Refused(400, f"{name} takes one of {options}; got {printable(value)!r}.")
    return value


def _route(
    answer: Callable[[Mapping[str, str]], Any], kind: str = "application/json"
) -> Callable:
    """Builds a route that answers in JSON or bytes, or with an error in one line of text."""

    @wrappers.Request.application
    def respond(request: wrappers.Request) -> wrappers.Response:
        try:
            if request.method not in _ALLOWED:
                raise Refused(405, "this route can only be read.")
            if any(len(value) > LONGEST for value in request.args.values()):
                raise Refused(400, f"a parameter is over {LONGEST} characters long.")
            body = answer(request.args)
            if not isinstance(body, bytes):
                body = to_text(body)
        except Refused as error:
            return Respond(request, str(error), "text/plain", code=error.status)
        except ValueError as error:  # records that a table cannot be computed from
            message = f"the records do not allow this table: {printable(error, 300)}"
            return Respond(request, message, "text/plain", code=422)
        return Respond(request, body, kind)

    return respond


def _file(path: pathlib.Path) -> Callable:
    """Builds a route that serves one file of the page."""

    @wrappers.Request.application
    def respond(request: wrappers.Request) -> wrappers.Response:
        return Respond(request, path.read_bytes(), _TYPES[path.suffix])

    return respond


def _logdirs(context: base_plugin.TBContext) -> list[str]:
    """Returns the local directories that TensorBoard was started on."""
    directories = [context.logdir] if context.logdir else []
    logdir_spec = getattr(context.flags, "logdir_spec", "") or ""
    for entry in logdir_spec.split(",") if not directories else ():
        name, colon, path = entry.partition(":")
        directories.append(path if colon and "/" not in name else entry)
    return [path for path in directories if path and "://" not in path]


def _unused(name: str, studies: Mapping[str, Any]) -> str:
    """Appends a number if another log directory has a study of that name."""
    number, candidate = 1, name
    while candidate in studies:
        number += 1
        candidate = f"{name} ({number})"
    return candidate
