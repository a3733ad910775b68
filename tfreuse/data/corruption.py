"""Corrupts the input of an auto-encoder: noise, masked patches, or shuffled pixels.

    inputs, targets = corruption.inputs_and_targets(images, "mask", seed, numbers)

Each image's draw depends on the seed and the image's number alone, not on its batch, on
earlier draws, or on the device.

    noise      Gaussian noise is added (Vincent et al. 2010, JMLR 11:3371); target: the image
    mask       half of its square patches become grey (He et al. 2022, arXiv:2111.06377);
               target: the image, every pixel of it
    inpaint    as mask; the target's hidden patches alone count, in the loss (as there) and in
               metrics, which compare the image with its hidden patches filled in
    scramble   its pixels are shuffled, channels together; target: the shuffled image, which
               has the same colours but no shapes
"""

from __future__ import annotations  # tf.Tensor stands in signatures

import functools

from tfreuse import runtime

tf = runtime.Lazy("tensorflow")

# Standard deviation: 25 of 255, the usual level in papers on denoising.
NOISE = 0.1
# Share of hidden patches. With half of them visible the scene can still be recognised.
MASKED = 0.5
# Patches along the shorter side. Each has at least two pixels a side: smaller holes can be
# filled by blurring.
PATCHES = 8
# Colour of hidden patches. The image's own mean would reveal something of the hidden part.
GREY = 0.5
# Seed of evaluations: trainings have seeds from 0 up.
FIXED_SEED = -1


def corrupt(
    images: tf.Tensor,
    kind: str,
    seed: int = FIXED_SEED,
    numbers: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns corrupted copies of the images; a pure function.

    Args:
        images: float32 [B, H, W, C] in [0, 1], with static H, W and C.
        kind: one of specs.CORRUPTIONS.
        seed: of the draws.
        numbers: int64 [B], the images' numbers; None counts from 0.

    Returns:
        float32 [B, H, W, C]. Noise may leave [0, 1]: clipped noise would not have mean 0.
    """
    if kind == "none":
        return images
    images = tf.convert_to_tensor(images)
    if numbers is None:
        numbers = tf.range(tf.shape(images, tf.int64)[0])
    seeds = tf.fill(tf.shape(numbers), tf.constant(seed, tf.int64))
    return _traced()(images, tf.stack([seeds, numbers], axis=1), kind)


@functools.cache
def _traced():
    """Returns a graph: ten times as fast as eager execution on a whole split."""
    return tf.function(_corrupt_each)


def _corrupt_each(images: tf.Tensor, keys: tf.Tensor, kind: str) -> tf.Tensor:
    change = {
        "noise": _add_noise,
        "mask": _mask,
        "inpaint": _mask,
        "scramble": _scramble,
    }[kind]
    with tf.device("CPU:0"):  # a GPU is slower here and rounds differently
        return tf.map_fn(
            lambda pair: change(*pair), (images, keys), fn_output_signature=images.dtype
        )


def inputs_and_targets(
    images: tf.Tensor,
    kind: str,
    seed: int = FIXED_SEED,
    numbers: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns inputs and targets of an auto-encoder, both float32 [B, H, W, C].

    Takes the arguments of `corrupt`. A scrambled image is its own target.
    """
    inputs = corrupt(images, kind, seed, numbers)
    return inputs, inputs if kind == "scramble" else images


def hidden(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the pixels in which inputs differ from targets: bool [B, H, W].

    A hidden pixel that has the colour of the mask by itself has nothing to be learned.
    """
    return tf.reduce_any(inputs != targets, axis=-1)


def _add_noise(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    noise = tf.random.stateless_normal(image.shape, key, stddev=NOISE, alg="philox")
    return image + noise


def _mask(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Hides exactly MASKED of the patches; patches at the lower and right edge may be cut."""
    height, width, _ = image.shape
    side = max(2, min(height, width) // PATCHES)
    rows, columns = -(-height // side), -(-width // side)
    order = _shuffled(rows * columns, key)
    grid = tf.reshape(order < round(MASKED * rows * columns), [rows, columns])
    mask = tf.repeat(tf.repeat(grid, side, axis=0), side, axis=1)[:height, :width]
    return tf.where(mask[..., None], GREY, image)


def _scramble(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    height, width, channels = image.shape
    pixels = tf.reshape(image, [height * width, channels])
    return tf.reshape(tf.gather(pixels, _shuffled(height * width, key)), image.shape)


def _shuffled(count: int, key: tf.Tensor) -> tf.Tensor:
    """Returns a permutation of 0 .. count - 1 that the key determines: int32 [count]."""
    shuffle = tf.random.experimental.stateless_shuffle
    return shuffle(tf.range(count), seed=key, alg="philox")
