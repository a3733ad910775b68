"""The built-in data set `shapes` as a TFDS builder: no download, drawn in seconds.

Importing this module registers it, so that `tfds.load("shapes")` works too.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from tfreuse.data import scenes
from tfreuse.errors import InputError, printable, reason


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Scenes of discs, squares, triangles and crosses, with exact masks (see scenes.py)."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First scenes."}

    def _info(self) -> tfds.core.DatasetInfo:
        side = scenes.SIDE
        return tfds.core.DatasetInfo(
            builder=self,
            description=scenes.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(side, side, 3), encoding_format="png"
                    ),
                    "segmentation_mask": tfds.features.Image(
                        shape=(side, side, 1), encoding_format="png", use_colormap=True
                    ),
                }
            ),
            supervised_keys=("image", "segmentation_mask"),
            disable_shuffling=True,  # scene i of a split stays its example i
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in scenes.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(scenes.SPLITS[split]):
            image, mask = scenes.draw(split, index)
            yield (
                index,
                {"image": _png(image), "segmentation_mask": _png(mask[..., None])},
            )


def prepare(data_dir: str, **options: Any) -> Shapes:
    """Returns the builder; draws the scenes first if `data_dir` does not contain them.

    TFDS draws into a folder with a random name and renames it at the end: a kill leaves no
    folder that looks complete, and the slower of two processes uses the data of the faster.

    Args:
        data_dir: folder of TFDS's data sets; "": TFDS's default.
        **options: of `tfds.download.DownloadConfig`; tests use them to limit the scenes.

    Raises:
        InputError: `data_dir` can't be written, or its copy of shapes is damaged.
    """
    try:
        builder = Shapes(data_dir=data_dir or None)
        if not on_disk(builder):
            logging.info("Drawing the scenes of shapes in %s.", builder.data_dir)
            _generate(builder, **options)
            builder = Shapes(data_dir=data_dir or None)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The scenes of --dataset=shapes need a folder that can be written; got "
            f"{reason(error)}. Choose one with --data_dir=DIR."
        ) from error
    return builder


def on_disk(builder: tfds.core.DatasetBuilder) -> bool:
    """Returns whether the data set is complete. Raises InputError if only a part exists."""
    if not builder.data_path.exists():  # is_prepared() would log a warning about that
        return False
    if not builder.is_prepared():
        raise InputError(
            f"TFDS's folder {printable(builder.data_dir)} should hold a complete data set; a "
            "part of it is missing. Remove the folder and start again."
        )
    return True


def _generate(builder: Shapes, **options: Any) -> None:
    config = tfds.download.DownloadConfig(try_download_gcs=False, **options)
    tfds.disable_progress_bar()  # it takes seconds, and `prepare` logs a line
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # "Downloading ... 0 bytes"
            builder.download_and_prepare(download_config=config)
    except (OSError, tf.errors.OpError):
        # Another process may have renamed its finished folder to ours first.
        if not on_disk(Shapes(data_dir=builder.data_dir_root)):
            raise
    finally:
        tfds.enable_progress_bar()


def _png(pixels: np.ndarray) -> bytes:
    """Encodes `pixels`, uint8 [H, W, C], as a PNG file.

    Images are noisy and hardly compress; without compression drawing 70 MB is a second faster.
    """
    compression = 0 if pixels.shape[-1] == 3 else 1
    return tf.io.encode_png(pixels, compression=compression).numpy()
