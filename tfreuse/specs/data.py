"""Settings of the data set: images, masks and their size."""

import dataclasses
import math
import re

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, check_pattern, option


@dataclasses.dataclass(frozen=True)
class ReadingSpec(Spec):
    """Settings by which an image file becomes 8 bits a channel, in training and prediction."""

    intensity_range: str = option(
        "",
        "min,max: values of the images that become 0 and 255, e.g. 0,4095; percentile: the 1st "
        "and 99th percentile of each image. Needed for grey-scale images of more than 8 bits",
    )
    background: str = option(
        "",
        "RRGGBB: colour on which partly transparent images are laid, e.g. 000000 for black",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.limits  # raises InputError
        if not re.fullmatch("#?([0-9a-fA-F]{6})?", self.background):
            raise InputError(
                f"--background takes RRGGBB, e.g. 000000; got {self.background!r}."
            )

    @property
    def limits(self) -> tuple[float, float] | None:
        """The values that become 0 and 255; None where the range is empty or "percentile".

        Raises:
            InputError: the range is something else.
        """
        if self.intensity_range in ("", "percentile"):
            return None
        try:
            low, high = (float(word) for word in self.intensity_range.split(","))
        except ValueError:
            low = high = math.nan
        if not (low < high and math.isfinite(high - low)):
            raise InputError(
                "--intensity_range takes min,max such as 0,4095 with min below max, or "
                f"percentile; got {self.intensity_range!r}."
            )
        return low, high

    @property
    def ground(self) -> tuple[int, ...]:
        """Red, green and blue of the background, 0 to 255; () if there is none."""
        return tuple(bytes.fromhex(self.background.removeprefix("#")))

    @property
    def reading(self) -> "ReadingSpec":
        """These settings alone, without those of a data set."""
        return ReadingSpec(self.intensity_range, self.background)


@dataclasses.dataclass(frozen=True)
class DataSpec(ReadingSpec):
    """A data set of images with masks, and the size at which they are read."""

    dataset: str = option(
        "shapes",
        "shapes: drawn by this package; folder: images and masks in --data_dir; tfds:NAME: a "
        "data set of TensorFlow Datasets",
    )
    data_dir: str = option(
        "", "root of a folder data set, or directory in which TFDS keeps its data"
    )
    image_size: tuple[int, int] = option(
        (64, 64), "height,width in pixels, after resizing and cropping"
    )
    channels: int = option(
        3,
        "channels of the images: 3 for RGB, 1 for grey-scale; folder: another number for TIFF "
        "files with so many bands",
        low=1,
    )
    num_classes: int = option(0, "number of classes; 0: read from the data set", low=0)
    ignore_label: int = option(
        -1, "label of pixels without influence on loss and metrics; -1: none", low=-1
    )
    train_examples: int = option(
        0, "number of training images to use, the first ones; 0: all", low=0
    )
    test_examples: int = option(
        0, "number of test images to use, the first ones; 0: all", low=0
    )
    image_key: str = option("image", "tfds: feature of the data set with the images")
    mask_key: str = option(
        "segmentation_mask", "tfds: feature of the data set with the masks"
    )
    label_offset: int = option(
        0,
        "tfds: number added to every stored label except the ignored one; -1 for labels that "
        "begin at 1",
    )
    splits: tuple[str, ...] = option(
        (),
        "tfds: splits to use as train, val and test, in TFDS's notation, e.g. "
        "train=train[:80%],val=train[80%:],test=test",
    )
    palette: tuple[str, ...] = option(
        (),
        "folder: colours of masks stored as RGB images: RRGGBB of label 0, 1, ..., or "
        "RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255",
    )
    mask_threshold: int = option(
        0,
        "masks become label 1 at this grey value or above and label 0 below it, e.g. 128 for "
        "black and white masks, also with soft edges; 0: masks hold labels",
        low=0,
    )
    mask_orientation: str = option(
        "auto",
        "folder: masks of photos that their EXIF mark turns were drawn on the pixels as stored, "
        "on the upright photo, or (auto) on that which has the mask's size, else upright",
        choices=("auto", "stored", "upright"),
    )
    group_by: str = option(
        "",
        "regular expression, matched at the start of a file's name, whose match is the "
        "image's subject or sequence, e.g. '[^_]+'; images of a subject stay together wherever "
        "images are split or chosen. Empty: every image by itself",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(
                f"--image_size takes height,width in pixels, e.g. 64,64; got {self.image_size}."
            )
        check_pattern("group_by", self.group_by)
        labels_of(self.palette)
        if self.palette and self.mask_threshold:
            raise InputError(
                "--palette and --mask_threshold both say how masks become labels; give one."
            )
        wrong = [w for w in self.splits if not re.fullmatch("(train|val|test)=.+", w)]
        if wrong:
            raise InputError(
                f"--splits takes train=..., val=... and test=...; got {wrong[0]!r}."
            )
        if self.channels not in (1, 3) and self.dataset not in ("folder", "arrays"):
            raise InputError(
                "--channels takes 1 (grey-scale) or 3 (RGB), and another number only of "
                f"--dataset=folder with TIFF files; got {self.channels}."
            )


def labels_of(palette: tuple[str, ...]) -> dict[int, int]:
    """Returns the label of each colour, 0xRRGGBB, of `DataSpec.palette`.

    Raises:
        InputError: a word is no colour, or a colour is named twice.
    """
    labels: dict[int, int] = {}
    for number, word in enumerate(palette):
        match = re.fullmatch(r"#?([0-9a-fA-F]{6})(?:=(\d{1,5}))?", word)
        if match is None:
            raise InputError(
                f"--palette takes RRGGBB or RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255; "
                f"got {word!r}."
            )
        colour = int(match[1], 16)
        if colour in labels:
            raise InputError(f"--palette names the colour {match[1]} twice.")
        labels[colour] = int(match[2]) if match[2] else number
    return labels
