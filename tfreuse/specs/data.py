"""Which images and masks."""

import dataclasses
import re

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, check_pattern, option


@dataclasses.dataclass(frozen=True)
class DataSpec(Spec):
    """Which images and masks, at which size."""

    dataset: str = option("shapes", "shapes (built in), folder, or tfds:NAME")
    data_dir: str = option("", "folder data set's root, or where TFDS keeps its data")
    image_size: tuple[int, int] = option(
        (64, 64), "height,width in pixels after resizing and cropping"
    )
    channels: int = option(
        3, "3 for RGB, 1 for grey-scale; folder: else the bands of TIFF files", low=1
    )
    num_classes: int = option(
        0, "number of classes; 0 reads it from the data set", low=0
    )
    ignore_label: int = option(
        -1, "label of pixels that count for nothing; -1: none", low=-1
    )
    train_examples: int = option(
        0, "use the first so many training images; 0: all", low=0
    )
    test_examples: int = option(0, "use the first so many test images; 0: all", low=0)
    image_key: str = option("image", "tfds: what the data set calls its images")
    mask_key: str = option(
        "segmentation_mask", "tfds: what the data set calls its masks"
    )
    label_offset: int = option(
        0, "tfds: added to every stored label but the ignored one, e.g. -1"
    )
    splits: tuple[str, ...] = option(
        (),
        "tfds: what stands for train, val and test, in TFDS's words, e.g. "
        "train=train[:80%],val=train[80%:],test=test",
    )
    palette: tuple[str, ...] = option(
        (),
        "folder: colours of masks that are pictures, RRGGBB of label 0, 1, ..., or "
        "RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255",
    )
    group_by: str = option(
        "",
        "regular expression whose match at the start of a file's name tells its subject or "
        "sequence, e.g. '[^_]+': what is chosen or divided keeps them together; none: each "
        "image for itself",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(
                f"--image_size takes height,width in pixels, e.g. 64,64; got {self.image_size}."
            )
        check_pattern("group_by", self.group_by)
        labels_of(self.palette)
        wrong = [w for w in self.splits if not re.fullmatch("(train|val|test)=.+", w)]
        if wrong:
            raise InputError(
                f"--splits takes train=..., val=... and test=...; got {wrong[0]!r}."
            )
        if self.channels not in (1, 3) and self.dataset != "folder":
            raise InputError(
                "--channels takes 1 (grey-scale) or 3 (RGB), and another number only of "
                f"--dataset=folder with TIFF files; got {self.channels}."
            )


def labels_of(palette: tuple[str, ...]) -> dict[int, int]:
    """The label of each colour, 0xRRGGBB, of `DataSpec.palette`.

    Raises:
        InputError: a word is no colour, or a colour is named twice.
    """
    found: dict[int, int] = {}
    for number, word in enumerate(palette):
        match = re.fullmatch(r"#?([0-9a-fA-F]{6})(?:=(\d{1,5}))?", word)
        if match is None:
            raise InputError(
                f"--palette takes RRGGBB or RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255; "
                f"got {word!r}."
            )
        colour = int(match[1], 16)
        if colour in found:
            raise InputError(f"--palette names the colour {match[1]} twice.")
        found[colour] = int(match[2]) if match[2] else number
    return found
