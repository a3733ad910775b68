"""Scenes of discs, squares, triangles and crosses: images and exact masks, drawn with NumPy.

The class of an object is its shape alone: colour, texture, size, angle and place are drawn
from the same distributions for every class, and the four shapes have equal areas. So a network
that segments these scenes has learned shape, and one that reconstructs them has learned all
the rest. Objects are lighter than their ground: with either sign of contrast a small network
needs three times as many steps. Scene `index` of a split is the same whatever else is drawn.

Lengths are fractions of the image's side, colours are fractions of white.
"""

import math

import numpy as np

CLASS_NAMES = ("background", "disc", "square", "triangle", "cross")
SPLITS = {"train": 4096, "val": 512, "test": 512}  # scenes in each
SIDE = 64  # pixels of an image
SEED = 0

# How hard the scenes are to segment.
OBJECTS = (1, 3)  # fewest and most objects in a scene
TURN = math.pi  # largest turn of an object either way, in radians
RADIUS = (0.16, 0.34)  # the objects' areas are 2.0 to 2.1 times its square
GROUND = (0.05, 0.5)  # range of the ground's red, green and blue
FIGURE = (0.5, 0.95)  # range of the objects'
CONTRAST = 0.4  # least distance in RGB of an object from the ground and other objects
TEXTURE = 0.22  # largest distance in RGB of a texture's two colours
CYCLES = (2.0, 5.0)  # periods of stripes and checks across the image
LIGHTING = 0.25  # largest relative fall of brightness across the image
NOISE = 0.02  # standard deviation of the sensor's noise

_FINE = 2 * SIDE  # images are drawn at twice the size and averaged
_BLOBS = 7  # smooth noise: random values a side, interpolated between
_KINDS = ("gradient", "stripes", "checks", "smooth noise")
_CANDIDATES = 24  # random colours, of which the first with enough contrast is taken


def _centres(count: int) -> np.ndarray:
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def _interpolation(count: int, knots: int) -> np.ndarray:
    """Returns weights [count, knots] of a smooth-step interpolation between knots."""
    position = _centres(count) * (knots - 1)
    knot = np.minimum(position.astype(int), knots - 2)
    share = position - knot
    share = share * share * (3 - 2 * share)
    weights = np.zeros((count, knots), np.float32)
    weights[np.arange(count), knot] = 1 - share
    weights[np.arange(count), knot + 1] = share
    return weights


_FINE_CENTRES = _centres(_FINE)
_PIXEL_CENTRES = _centres(SIDE)
_SMOOTH = _interpolation(_FINE, _BLOBS)


def draw(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws scene `index` of `split`: image uint8 [64, 64, 3] and mask uint8 [64, 64].

    The order of draws is part of the data set: in another order, scenes would differ. A pixel's
    label is the class of the topmost object that covers the pixel's centre.
    """
    rng = np.random.default_rng((SEED, list(SPLITS).index(split), index))
    count = rng.integers(OBJECTS[0], OBJECTS[1] + 1)
    colours = _colours(rng, count + 1)
    canvas = np.empty((3, _FINE, _FINE), np.float32)
    canvas[...] = _texture(rng, colours[0], slice(None), slice(None))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    radii = rng.uniform(*RADIUS, count)
    for colour, radius, centre in zip(colours[1:], radii, _object_centres(rng, radii)):
        label, angle = rng.integers(1, len(CLASS_NAMES)), rng.uniform(-TURN, TURN)
        pose = (*centre, radius, angle)
        rows, columns = (_window(c, radius, _FINE) for c in centre)
        covered = covers(label, *pose, _FINE_CENTRES[rows], _FINE_CENTRES[columns])
        texture = _texture(rng, colour, rows, columns)
        np.copyto(canvas[:, rows, columns], texture, where=covered)
        rows, columns = (_window(c, radius, SIDE) for c in centre)
        covered = covers(label, *pose, _PIXEL_CENTRES[rows], _PIXEL_CENTRES[columns])
        mask[rows, columns][covered] = label
    return _photograph(rng, canvas), mask


def covers(
    label: int,
    row: float,
    column: float,
    radius: float,
    angle: float,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Returns which points of the grid `rows` x `columns` the object covers: bool [R, C].

    Args:
        label: the object's class, an index of CLASS_NAMES.
        row, column: its centre.
        radius: its size; a square of half-side 0.71 radius, a disc of equal area, and so on.
        angle: its turn, in radians.
        rows, columns: float [R] and [C], the points' coordinates.
    """
    dy, dx = (rows - row) / radius, (columns - column) / radius
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    x = (cosine * dx)[None, :] + (sine * dy)[:, None]
    y = (cosine * dy)[:, None] - (sine * dx)[None, :]
    match CLASS_NAMES[label]:
        case "disc":
            return x * x + y * y < 0.8**2  # area 2.01
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) < 0.71  # area 2.02
        case "triangle":  # equilateral, 1.25 from the centre to a corner: area 2.03
            return np.maximum(-y, (np.sqrt(3) * np.abs(x) + y) / 2) < 0.625
        case "cross":  # two bars of 1.9 x 0.66: area 2.07
            x, y = np.abs(x), np.abs(y)
            return (np.minimum(x, y) < 0.33) & (np.maximum(x, y) < 0.95)
    raise ValueError(f"No object has label {label}; objects are 1 to 4.")


def _window(centre: float, radius: float, count: int) -> slice:
    """Returns the rows (or columns), out of `count`, that an object can reach."""
    low, high = count * (centre - 1.25 * radius), count * (centre + 1.25 * radius)
    return slice(max(math.floor(low), 0), math.ceil(high))


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draws colours [count, 3], each CONTRAST away from earlier colours if a candidate is."""
    candidates = rng.uniform(*FIGURE, (count, _CANDIDATES, 3)).astype(np.float32)
    candidates[0, 0] = rng.uniform(*GROUND, 3)
    chosen = candidates[:, 0].copy()
    for i in range(1, count):
        gaps = _distances(candidates[i], chosen[:i]).min(axis=1)
        # The first candidate that is far enough, or else the farthest.
        chosen[i] = candidates[i, np.minimum(gaps, CONTRAST).argmax()]
    return chosen


def _object_centres(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray:
    """Draws centres [objects, 2]: of four candidates, the one with the least overlap."""
    candidates = rng.uniform(0.15, 0.85, (len(radii), 4, 2))
    chosen = candidates[:, 0].copy()
    for i in range(1, len(radii)):
        slack = (_distances(candidates[i], chosen[:i]) - radii[:i]).min(axis=1)
        chosen[i] = candidates[i, slack.argmax()]
    return chosen


def _distances(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Computes Euclidean distances [points, references]."""
    return np.sqrt(((points[:, None] - references) ** 2).sum(axis=-1))


def _texture(
    rng: np.random.Generator, colour: np.ndarray, rows: slice, columns: slice
) -> np.ndarray:
    """Draws a texture around `colour` on a window of the canvas: float32 [3, R, C]."""
    kind = _KINDS[rng.integers(len(_KINDS))]
    angle, phase, cycles = rng.uniform((0, 0, CYCLES[0]), (2 * np.pi, 1, CYCLES[1]))
    contrast = rng.uniform(0.3, 1.0) * TEXTURE
    direction = rng.standard_normal(3)
    step = (contrast / np.linalg.norm(direction) * direction).astype(np.float32)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    x, y = _FINE_CENTRES[columns] - 0.5, _FINE_CENTRES[rows] - 0.5
    along = (cosine * x)[None, :] + (sine * y)[:, None]
    turns = np.float32(2 * np.pi)
    if kind == "gradient":
        field = np.clip(along, -0.5, 0.5)
    elif kind == "stripes":
        field = np.sin(turns * (np.float32(cycles) * along + np.float32(phase))) / 2
    elif kind == "checks":
        across = (cosine * y)[:, None] - (sine * x)[None, :]
        size = np.float32(2 * cycles)
        squares = np.floor(size * along + np.float32(phase)) + np.floor(size * across)
        field = squares % 2 - np.float32(0.5)
    else:
        knots = rng.uniform(-0.5, 0.5, (_BLOBS, _BLOBS)).astype(np.float32)
        field = _SMOOTH[rows] @ knots @ _SMOOTH[columns].T
    return colour[:, None, None] + step[:, None, None] * field


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Averages to pixels, lights from one side, adds noise: [3, 2H, 2W] -> uint8 [H, W, 3]."""
    image = canvas[:, 0::2] + canvas[:, 1::2]
    image = (image[:, :, 0::2] + image[:, :, 1::2]) / 4
    angle, fall = rng.uniform((0, 0), (2 * np.pi, LIGHTING))
    x = _PIXEL_CENTRES - np.float32(0.5)
    slope = np.cos(angle) * x[None, :] + np.sin(angle) * x[:, None]
    image *= (1 + fall * slope - fall / 2).astype(np.float32)
    image += np.float32(NOISE) * rng.standard_normal(image.shape, dtype=np.float32)
    pixels = np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
