"""Images before and after a transplant: input, truth, outputs, and their errors.

All pixels of a part are one picture, the sheet: a column for input, truth, output before, and for
each group; four lines an image. A report's page has it once, and cuts the pictures of a cell from
it.
"""

import base64
import io

import numpy as np

from tfreuse.analysis.tables import Row
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import svg

IMAGES = 4  # shown
LARGEST = 132  # pixels: of the longer side of a picture in the sheet
GAP = 1  # pixel between two pictures of the sheet
SIDE, LEFT, TOP = 92, 96, 22  # px: a picture, the names of lines, those of columns
COLUMNS = ("input", "truth", "before")
LINES = ("as transplanted", "error", "recalibrated", "error")
STATES = ("after", "recalibrated")


def strip(arrays: Arrays, rows: list[Row]) -> list[svg.Drawing]:
    """Draws a block an image: input, truth, output before, and outputs after, a column a group.

    Below each output is its error: black is none, white the largest.
    """
    groups = [str(name) for name in arrays["groups"]]
    pixels = sheet(arrays)
    lines = 4 * images(arrays)
    step = SIDE * pixels.shape[0] / lines / (pixels.shape[1] / (3 + len(groups)))
    wide, high = SIDE * (3 + len(groups)), step * lines
    title = "input, truth, outputs and errors"
    drawing = svg.Drawing(LEFT + wide, TOP + high, "strip", title)
    for column, name in enumerate((*COLUMNS, *groups)):
        x, strong = LEFT + SIDE * (column + 0.5), "strong" if column > 2 else None
        drawing.text(x, TOP - 8, svg.fitted(name, SIDE), "middle", class_=strong)
    for line in range(lines):
        y = TOP + step * (line + 0.5) + 4
        drawing.text(LEFT - 8, y, LINES[line % 4], "end")
    drawing.image(LEFT, TOP, wide, high, address(pixels), class_="pixels")
    for row in rows:
        if row["group"] and row["image"] < images(arrays):
            column = 3 + groups.index(row["group"])
            line = 4 * row["image"] + 2 * STATES.index(row["output"]) + 2
            x, y = LEFT + SIDE * column + 3, TOP + step * line - 5
            share = f"{row['mean_error']:.0%}"
            drawing.rect(x, y - 10, 6 * len(share) + 5, 12, class_="veil")
            drawing.text(x + 2, y, share, size=9, fill="#fff")
    return [drawing]


def images(arrays: Arrays) -> int:
    """Returns how many images are shown."""
    return min(IMAGES, len(arrays["input"]))


def sheet(arrays: Arrays, largest: int = LARGEST) -> np.ndarray:
    """Returns all pictures in one, uint8 [lines (H + GAP), columns (W + GAP), 3] on black.

    Pictures with a side of more than `largest` pixels lose lines and columns.
    """
    high, wide = arrays["input"].shape[1:3]
    every = -(-max(high, wide) // largest)
    empty = np.zeros((high, wide, 3), np.uint8)
    lines = []
    for i in range(images(arrays)):
        first = [arrays[name][i] for name in COLUMNS]
        errors = [empty, empty, _grey(arrays["before_error"][i])]
        for state, before in zip(STATES, (first, [empty] * 3), strict=True):
            lines.append(before + [outputs[i] for outputs in arrays[state]])
            of_groups = [_grey(error[i]) for error in arrays[f"{state}_error"]]
            lines.append((errors if before is first else before) + of_groups)
    joined = [
        [
            np.pad(picture[::every, ::every, :3], ((0, GAP), (0, GAP), (0, 0)))
            for picture in line
        ]
        for line in lines
    ]
    return np.concatenate([np.concatenate(line, axis=1) for line in joined])


def of_group(
    pixels: np.ndarray, group: int, size: tuple[int, int], times: int = 1
) -> np.ndarray:
    """Cuts a group's pictures from the sheet: two lines an image, outputs and their errors.

    Args:
        pixels: the sheet.
        group: number of the group.
        size: of a picture, (H, W).
        times: each pixel is drawn so many times, each way.
    """
    high, wide = (side + GAP for side in size)
    lines = []
    for top in range(0, len(pixels), 4 * high):
        first = pixels[top : top + 2 * high, : 3 * wide]
        start_x = (3 + group) * wide
        after, again = (
            pixels[start : start + 2 * high, start_x : start_x + wide]
            for start in (top, top + 2 * high)
        )
        lines.append(np.concatenate([first, after, again], axis=1))
    return np.concatenate(lines).repeat(times, 0).repeat(times, 1)


def _grey(error: np.ndarray) -> np.ndarray:
    """Returns the errors of a picture [H, W] as a picture [H, W, 3]."""
    return np.stack([error] * 3, -1)


def address(pixels: np.ndarray) -> str:
    """Returns pixels [H, W, 3] as a data: URL, without loss."""
    from PIL import Image  # a report without pictures needs none of it

    data = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(data, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def strip_rows(arrays: Arrays) -> list[Row]:
    """Returns the mean error of every output of every image, as a share of the largest."""
    rows = [
        {"image": number, "group": "", "output": "before", "mean_error": _mean(error)}
        for number, error in enumerate(arrays["before_error"])
    ]
    for index, group in enumerate(arrays["groups"]):
        for state in STATES:
            rows += [
                {"image": number, "group": str(group), "output": state,
                 "mean_error": _mean(error)}
                for number, error in enumerate(arrays[f"{state}_error"][index])
            ]  # fmt: skip
    return rows


def _mean(error: np.ndarray) -> float:
    return float(error.mean() / 255)
