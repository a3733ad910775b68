"""A real browser for tests: where there is none, they are skipped."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
try:
    from playwright import sync_api
except ImportError:
    sync_api = None

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(sync_api is None, reason="pip install '.[browser]'"),
]
PATIENCE = 30_000  # milliseconds


@contextlib.contextmanager
def launched() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield found
        found.close()


@contextlib.contextmanager
def watched(
    browser: "sync_api.Browser", own: str
) -> Iterator[Callable[..., "sync_api.Page"]]:
    """Makes pages; fails on any error in them and any request to what does not begin as `own`."""
    contexts, troubles = [], []

    def made(width: int = 1280, scheme: str = "light", **more) -> "sync_api.Page":
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            accept_downloads=True,
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda one: troubles.append(one.text) if one.type == "error" else None,
        )
        page.on(
            "request",
            lambda one: (
                None
                if one.url.startswith((own, "data:", "blob:"))
                else troubles.append(one.url)
            ),
        )
        return page

    yield made
    for one in contexts:
        one.close()
    assert not troubles, troubles
