"""What an auto-encoder's input loses: noise, masked patches, or the order of its pixels.

    inputs, targets = corruption.inputs_and_targets(images, "mask", seed, numbers)

Each image's draw depends on the seed and the image's number alone: not on its batch, on what
was drawn before, or on the device.

    noise      Gaussian noise is added (Vincent et al. 2010, JMLR 11:3371); target: the image
    mask       half of its square patches become grey (He et al. 2022, arXiv:2111.06377);
               target: the image, every pixel of it
    scramble   its pixels are shuffled, channels together; target: the shuffled image, which
               has the colours of the first and nothing of its shapes
"""

import tensorflow as tf

# Standard deviation: 25 of 255, the usual level where denoising is compared
NOISE = 0.1
# Share of the patches that are hidden; what is left still tells what the picture is of
MASKED = 0.5
# Patches along the shorter side; each has two pixels at least, or a blur would fill it in
PATCHES = 8
# Of hidden patches: the image's own mean would tell something of what they hide
GREY = 0.5
# Of evaluation: no training has a seed below 0
FIXED_SEED = -1


def corrupt(
    images: tf.Tensor,
    kind: str,
    seed: int = FIXED_SEED,
    numbers: tf.Tensor | None = None,
) -> tf.Tensor:
    """Corrupted copies of the images; a pure function.

    Args:
        images: float32 [B, H, W, C] in [0, 1]; H, W and C are known when it is traced.
        kind: one of specs.CORRUPTIONS.
        seed: of the draws.
        numbers: int64 [B], the images' numbers; None counts from 0.

    Returns:
        float32 [B, H, W, C]. Noise may leave [0, 1]: cut off, its mean would not be 0.
    """
    if kind == "none":
        return images
    images = tf.convert_to_tensor(images)
    if numbers is None:
        numbers = tf.range(tf.shape(images, tf.int64)[0])
    seeds = tf.fill(tf.shape(numbers), tf.constant(seed, tf.int64))
    return _each(images, tf.stack([seeds, numbers], axis=1), kind)


@tf.function  # ten times as fast as op by op, where a whole split is corrupted
def _each(images: tf.Tensor, keys: tf.Tensor, kind: str) -> tf.Tensor:
    change = {"noise": _add_noise, "mask": _mask, "scramble": _scramble}[kind]
    with tf.device("CPU:0"):  # a GPU would be slower at it, and round otherwise
        return tf.map_fn(
            lambda one: change(*one), (images, keys), fn_output_signature=images.dtype
        )


def inputs_and_targets(
    images: tf.Tensor,
    kind: str,
    seed: int = FIXED_SEED,
    numbers: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the auto-encoder gets and what it should give, both float32 [B, H, W, C].

    Arguments as for `corrupt`.
    """
    inputs = corrupt(images, kind, seed, numbers)
    return inputs, inputs if kind == "scramble" else images


def _add_noise(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    noise = tf.random.stateless_normal(image.shape, key, stddev=NOISE, alg="philox")
    return image + noise


def _mask(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Exactly MASKED of the patches; those at the lower and right edge may be cut off."""
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
    """0 .. count - 1 in an order of the key's: int32 [count]."""
    shuffle = tf.random.experimental.stateless_shuffle
    return shuffle(tf.range(count), seed=key, alg="philox")
