"""The served functions and their signatures."""

import functools
import pathlib
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfreuse.export import decoding
from tfreuse.export.network import Network
from tfreuse.models import endings
from tfreuse.specs import ReadingSpec
from tfreuse.transplant import live

DEFAULT, FROM_BYTES, LOGITS = "serving_default", "from_bytes", "logits"
READING = ReadingSpec()  # opaque images of 8 bits a channel
OUTPUTS = {  # by task: the derived output, and the network's direct output
    "segmentation": ("mask", "probabilities"),
    "autoencoder": ("image", "reconstruction"),
}


def signatures(network: Network, reading: ReadingSpec = READING) -> list[str]:
    """Returns the names of the network's signatures.

    Without `from_bytes` where files need other decoders than TensorFlow's: those of other
    than 1 or 3 channels, and of values in a range of their own.
    """
    names = [DEFAULT]
    if network.channels in (1, 3) and not reading.intensity_range:
        names.append(FROM_BYTES)
    if network.has_logits:  # an auto-encoder's direct output is in DEFAULT
        names.append(LOGITS)
    return names


def write(
    network: Network,
    path: pathlib.Path,
    size: tuple[int | None, int | None, int | None] = (None, None, None),
    names: Sequence[str] = (),
    reading: ReadingSpec = READING,
) -> None:
    """Writes the SavedModel to the folder `path`.

    Args:
        network: the network.
        path: the folder.
        size: (B, H, W) of the images; see `image_spec`.
        names: the signatures; empty: all of `signatures`.
        reading: how `from_bytes` reads a file.
    """
    images = image_spec(network, *size)
    # One graph of the network for all signatures, instead of a copy in each. A function that is
    # not concrete would be traced again while it is saved.
    output = tf.function(
        functools.partial(_output, network), input_signature=[images], autograph=False
    ).get_concrete_function()
    serve = server(network, output)

    def serve_bytes(image_bytes):
        pixels = decoding.decode(image_bytes, network.channels, reading)[None]
        return serve(tf.ensure_shape(pixels, (1, *images.shape[1:])))

    def serve_logits(images):
        return {LOGITS: output(images)}

    inputs = {
        DEFAULT: (serve, images),
        FROM_BYTES: (serve_bytes, tf.TensorSpec(None, tf.string, "image_bytes")),
        LOGITS: (serve_logits, images),
    }
    archive = keras.export.ExportArchive()
    for _, layer in live.every_layer(network.model):
        if _has_table(layer):
            archive.track(layer)
    for collection in ("variables", "trainable_variables", "non_trainable_variables"):
        variables = getattr(network.model, collection)
        # TensorFlow's variables: Keras's would be written a second time beside them.
        archive.add_variable_collection(collection, [v.value for v in variables])
    for name in names or signatures(network, reading):
        function, spec = inputs[name]
        archive.add_endpoint(name, function, [spec])
    archive.write_out(path, verbose=False)


def _has_table(layer: keras.Layer) -> bool:
    """Returns whether a layer holds a lookup table, as IntegerLookup does.

    A SavedModel finds variables through its functions, but not tables. Tracking the whole model
    would write every layer as an object and double the time of an export.
    """
    resource = tf.saved_model.experimental.TrackableResource
    values = keras.tree.flatten([*vars(layer).values()])  # of lists and dicts too
    return any(isinstance(value, resource) for value in values)


def image_spec(
    network: Network,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> tf.TensorSpec:
    """Describes the images of a signature; None leaves a dimension free, if the network can."""
    size = network.size or (height, width)
    return tf.TensorSpec((batch, *size, network.channels), tf.uint8, "images")


def server(network: Network, run: Callable[[tf.Tensor], tf.Tensor] | None = None):
    """Returns the default signature's function of uint8 [B, H, W, C]; see `tfreuse.export`.

    Args:
        network: the network.
        run: computes the network's output, `_output` if None.
    """
    run = run or functools.partial(_output, network)
    derived, direct = OUTPUTS[network.task]

    def serve(images):
        output = run(images)
        if network.task == "segmentation":
            mask = tf.argmax(output, axis=-1, output_type=tf.int32)
            return {derived: mask, direct: probabilities(network, output)}
        pixels = tf.round(255.0 * tf.clip_by_value(output, 0.0, 1.0))
        return {derived: tf.cast(pixels, tf.uint8), direct: output}

    return serve


def probabilities(network: Network, output: tf.Tensor) -> tf.Tensor:
    """Maps outputs of `_output` to probabilities of the classes, [B, H, W, num_classes]."""
    if network.activation == endings.PROBABILITIES:
        return output
    if network.activation == "sigmoid" and network.model.output.shape[3] > 1:
        return tf.sigmoid(output)  # each class by itself
    return tf.nn.softmax(output)


def _output(network: Network, images: tf.Tensor) -> tf.Tensor:
    """Computes the network's output float32 [B, H, W, K] for images uint8 [B, H, W, C].

    Of a segmentation K is the number of classes: a single channel is that of label 1, and gets
    one of label 0 beside it.
    """
    height, width = tf.unstack(tf.shape(images)[1:3])
    padded = reflected(images, network.multiple)
    output = network.run(network.model, tf.cast(padded, tf.float32) / network.divisor)
    output = tf.cast(output[:, :height, :width], tf.float32)
    if output.shape[-1] == network.num_classes or network.task != "segmentation":
        return output
    if network.activation == endings.PROBABILITIES:
        return tf.concat([1.0 - output, output], axis=-1)
    # softmax([0, x]) is [1 - sigmoid(x), sigmoid(x)].
    return tf.concat([tf.zeros_like(output), output], axis=-1)


def reflected(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads [B, H, W, C] by reflection to sides that are multiples of `multiple`.

    Gathers by index, since tf.pad cannot add more pixels than a side has.
    """
    if multiple == 1:
        return images
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        # Rounds up without a negative number, which ONNX would round the other way.
        index = tf.range((side + multiple - 1) // multiple * multiple)
        period = tf.maximum(2 * (side - 1), 1)  # 0 1 2 3 2 1 | 0 1 2 ...
        index = index % period
        images = tf.gather(images, tf.minimum(index, period - index), axis=axis)
    return images
