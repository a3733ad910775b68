"""The files of the page that the tab and the report share: JavaScript modules and style sheets."""

import pathlib

FOLDER = pathlib.Path(__file__).parent / "static"
