"""The test split: opened once, when all is decided, and logged.

    seal.open_once(out_dir, told, measure)   # writes out_dir/unsealed.json

The log is written before the first test image is read. A result that is there is never
replaced: who looks twice, chooses.
"""

import datetime
import pathlib
from collections.abc import Callable
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError

NAME = "unsealed.json"


def refuse_if_open(out_dir: pathlib.Path) -> None:
    """Raises InputError if the test split has been opened, and says what it gave."""
    path = out_dir / NAME
    if not path.exists():
        return
    held = files.read_json(path)
    if "result" in held:
        result = held["result"]
        raise InputError(
            f"the test split was opened on {held['opened'][0]}: mean IoU "
            f"{result['mean_iou']:.3f}, n = {result['images']} images ({path}). It is opened "
            "once; a new question needs new test images and another --out_dir."
        )


def open_once(
    out_dir: pathlib.Path, plan: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Logs the opening, measures, and logs the result.

    Args:
        out_dir: of the advice.
        plan: name of the plan that is measured.
        measure: reads the test split; gives {"mean_iou", "images", ...}.

    Raises:
        InputError: it was opened before.
    """
    refuse_if_open(out_dir)
    path = out_dir / NAME
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    before = (
        files.read_json(path)["opened"] if path.exists() else []
    )  # it was killed then
    log = {"plan": plan, "opened": [*before, now]}
    files.write_json(path, log)
    log["result"] = measure()
    files.write_json(path, log)
    return log["result"]
