"""Opens the test split once, after everything is decided, and logs it.

    seal.open_once(out_dir, plan_name, measure)  # writes out_dir/unsealed.json

The log is written before the first test image is read, and a logged metric is never replaced:
choosing after a look at the test split would make its metric optimistic.
"""

import datetime
import pathlib
from collections.abc import Callable
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError

NAME = "unsealed.json"


def refuse_if_open(out_dir: pathlib.Path) -> None:
    """Checks that the test split was not opened before.

    Raises:
        InputError: it was; the message gives the metric.
    """
    path = out_dir / NAME
    if not path.exists():
        return
    log = files.read_json(path)
    if "result" in log:
        evaluation = log["result"]
        raise InputError(
            f"the test split was opened on {log['opened'][0]}: mean IoU "
            f"{evaluation['mean_iou']:.3f}, n = {evaluation['images']} images ({path}). It is "
            "opened once; a new question needs new test images and another --out_dir."
        )


def open_once(
    out_dir: pathlib.Path, plan: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Logs the opening, measures, and logs the metric.

    Args:
        out_dir: of the advice.
        plan: name of the plan that is measured.
        measure: reads the test split; returns {"mean_iou", "images", ...}.

    Raises:
        InputError: the split was opened before.
    """
    refuse_if_open(out_dir)
    path = out_dir / NAME
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    # a log without a result: an earlier run was killed while it measured
    earlier = files.read_json(path)["opened"] if path.exists() else []
    log = {"plan": plan, "opened": [*earlier, now]}
    files.write_json(path, log)
    log["result"] = measure()
    files.write_json(path, log)
    return log["result"]
