"""A sweep gives what a plain evaluation gives, and computes only what a change reaches."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfreuse import models
from tfreuse.training import sweep

IMAGES = np.random.default_rng(0).random((6, 16, 16, 3), dtype=np.float32)


def unet(depth=2):
    return models.unet((16, 16), 3, num_classes=3, width=4, depth=depth)


def shallow():
    return unet(depth=1)


def pspnet():
    return models.pspnet((16, 16), 3, num_classes=3, width=4, encoder="small")


def nested():
    """A network in a network, used twice, so that its layers are shared."""
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(3, 3, padding="same", name="shared_conv"),
            keras.layers.BatchNormalization(name="shared_bn"),
            keras.layers.ReLU(),
        ],
        name="inner",
    )
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 1, name="first_conv")(images)
    joined = keras.layers.Concatenate()([inner(x), inner(inner(x))])
    return keras.Model(images, keras.layers.Conv2D(2, 1, name="last_conv")(joined))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Conv2D(4, 3, name="first")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.last = keras.layers.Conv2D(2, 1, name="last")

    def call(self, images, training=False):
        features = tf.nn.relu(self.norm(self.first(images), training=training))
        return self.last(features)


def subclassed():
    model = Subclassed()
    model(IMAGES)
    return model


def results(model, batches):
    """What a plain compiled function gives: the rival."""
    return [value.numpy() for value in map(tf.function(outputs(model)), *zip(*batches))]


def outputs(model):
    return lambda images: model(images, training=False)


def in_batches(size):
    return [
        (tf.constant(IMAGES[start : start + size]),)
        for start in range(0, len(IMAGES), size)
    ]


def changes(model):
    """One variable after another, in the order of the layers, and the new value."""
    generator = np.random.default_rng(1)
    for variable in model.weights:
        noise = generator.normal(scale=0.3, size=variable.shape)
        yield variable, (np.abs(variable.numpy() + noise)).astype(variable.dtype)


@pytest.mark.parametrize("build", [shallow, pspnet, nested, subclassed])
@pytest.mark.parametrize("size", [3, 4])  # 4 leaves a smaller last batch
def test_every_change_gives_what_a_plain_evaluation_gives_bit_for_bit(build, size):
    keras.utils.set_random_seed(0)
    model, batches = build(), in_batches(size)
    count = sweep.Sweep(outputs(model), batches)
    base = count()
    free = tf.TensorSpec([None if size == 4 else size, 16, 16, 3])
    plain = tf.function(outputs(model), input_signature=[free])
    assert not count.uncacheable
    # There and back, so that changes in front of the cached frontier occur too.
    some = [*changes(model)][:: 19 if build is pspnet else 1]  # 6 kinds, so all
    for variable, value in [*some, *reversed(some[::3])]:
        before = variable.numpy()
        variable.assign(value)
        for found, batch in zip(count(), batches, strict=True):
            if build is pspnet:  # additions of branches may be merged in another order
                scale = np.abs(found).max()
                np.testing.assert_allclose(found, plain(*batch), 0, 1e-6 * scale)
            else:
                np.testing.assert_array_equal(found, plain(*batch), variable.path)
        variable.assign(before)
    for found, first in zip(count(), base, strict=True):
        np.testing.assert_array_equal(found, first)


def convolutions(segment):
    return sum("Conv2D" in op.type for op in segment.graph.get_operations())


def last_segment(count):
    """The compiled segment from the last cut that was used to the results."""
    return count._segments[max(key for key in count._segments if key[1])]


def test_what_is_in_front_of_a_change_is_not_computed_again():
    """UNet of depth 2: 13 convolutions; a segment holds those from the changed layer on."""
    model = unet()
    convolutional = [layer for layer in model.layers if "conv" in layer.name]
    assert len(convolutional) == 13
    count = sweep.Sweep(outputs(model), in_batches(6))
    count()
    for number, layer in enumerate(convolutional[1:], start=1):
        for name, left in (("kernel", 13 - number), ("bias", 13 - number - 1)):
            variable = getattr(layer, name)
            before = variable.numpy()
            variable.assign(before + 0.5)
            count()
            assert convolutions(last_segment(count)) == left, variable.path
            variable.assign(before)


def test_skips_are_part_of_the_frontier():
    model = unet()
    count = sweep.Sweep(outputs(model), in_batches(6))
    position = count.position([model.get_layer("bottleneck_a_conv").kernel])
    frontier = count._trace.frontier(position)
    names = {re.sub(r"(_\d+)?/.*", "", t.op.name.partition("/")[2]) for t in frontier}
    assert names == {"encoder_1_b_relu", "encoder_2_b_relu", "encoder_2_pool"}


@pytest.mark.parametrize("memory", [0, 20_000, 2**30])
def test_memory_changes_the_cost_alone(memory):
    model, batches = unet(), in_batches(2)
    count = sweep.Sweep(outputs(model), batches, memory=memory)
    count()
    kernel = model.get_layer("decoder_1_a_conv").kernel
    kernel.assign(kernel * 2)
    found = count()
    for own, wanted in zip(found, results(model, batches), strict=True):
        np.testing.assert_array_equal(own, wanted)
    held = sum(
        tensor.numpy().nbytes
        for at, kept in count._caches
        if at >= 0
        for tensor in kept
    )
    assert held <= memory
    assert (held > 0) == (memory > 0)


def test_results_do_not_depend_on_the_calls_made_before():
    """What was interrupted and goes on later gives the same records."""
    keras.utils.set_random_seed(0)
    model, batches = shallow(), in_batches(3)
    kernel = model.get_layer("decoder_1_a_conv").kernel
    long, short = (sweep.Sweep(outputs(model), batches) for _ in range(2))
    long(), short()
    for variable, value in changes(model):
        before = variable.numpy()
        variable.assign(value)
        long()
        variable.assign(before)
    kernel.assign(kernel * 2)
    for own, other in zip(long(), short(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_positions_of_cached_frontiers_can_be_chosen():
    model, batches = unet(), in_batches(3)
    count = sweep.Sweep(outputs(model), batches)
    early, late = (
        model.get_layer(name).kernel
        for name in ("encoder_2_a_conv", "decoder_1_a_conv")
    )
    count.cache_at({count.position([early])})
    count()
    late.assign(late * 2)
    found = count()
    # All for the base; to the cut, and from it to the end.
    assert sorted(count._segments) == [(-1, ()), (-1, (0,)), (0, (0,))]
    for own, wanted in zip(found, results(model, batches), strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_a_new_base_is_what_changes_are_compared_with():
    model, batches = unet(), in_batches(3)
    count = sweep.Sweep(outputs(model), batches)
    count()
    for variable, value in changes(model):
        variable.assign(value)
    count.rebase()
    kernel = model.get_layer("head_segmentation_conv").kernel
    kernel.assign(kernel * 2)
    found = count()
    assert convolutions(last_segment(count)) == 1
    for own, wanted in zip(found, results(model, batches), strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_values_that_are_not_numbers_count_as_changed_once_only():
    model, batches = unet(), in_batches(3)
    kernel = model.get_layer("head_segmentation_conv").kernel
    kernel.assign(kernel * np.nan)
    count = sweep.Sweep(outputs(model), batches)
    count()
    assert not count._differ(*count._base).numpy().any()
    assert np.isnan(count()[0]).all()


def test_minus_zero_differs_from_zero():
    model = unet()
    bias = model.get_layer("head_segmentation_conv").bias
    count = sweep.Sweep(outputs(model), in_batches(3))
    count()
    bias.assign(-bias)
    assert count._differ(*count._base).numpy().sum() == 1


def test_random_operations_are_computed_each_time():
    model = keras.Sequential(
        [keras.layers.Input((16, 16, 3)), keras.layers.Dropout(0.5)]
    )
    count = sweep.Sweep(lambda x: model(x, training=True), in_batches(6))
    assert "AssignVariableOp" in count.uncacheable
    first, second = count()[0].numpy(), count()[0].numpy()
    assert not np.array_equal(first, second)


def test_a_result_that_no_data_enter_is_computed_each_time():
    kernel = tf.Variable([1.0, 2.0])
    count = sweep.Sweep(lambda x: (x * 2, kernel * 3), in_batches(6))
    count()
    kernel.assign([5.0, 6.0])
    np.testing.assert_array_equal(count()[0][1], [15.0, 18.0])


def test_several_inputs_and_structures_of_results():
    model = unet()
    targets = tf.constant(np.arange(6.0, dtype=np.float32))

    def function(images, targets):
        output = model(images, training=False)
        error = tf.reduce_mean(output, [1, 2, 3]) - targets
        return {"error": error, "first": tf.reduce_sum(images)}

    count = sweep.Sweep(function, [(tf.constant(IMAGES), targets)])
    count()
    kernel = model.get_layer("decoder_1_b_conv").kernel
    kernel.assign(kernel * 2)
    wanted = tf.function(function)(tf.constant(IMAGES), targets)
    for name, value in count()[0].items():
        np.testing.assert_array_equal(value, wanted[name])


def test_one_value_of_several_is_computed_alone():
    model = unet()

    def function(images):
        """Sums of two layers' outputs, taken as soon as they are there."""
        sums = {}

        def call(layer, *args, **kwargs):
            output = layer(*args, **kwargs)
            if layer.name in ("encoder_2_a_conv", "decoder_1_b_conv"):
                sums[layer.name] = tf.reduce_sum(output)
            return output

        model._run_through_graph(images, lambda layer: layer, call)
        return sums

    count = sweep.Sweep(function, in_batches(6))
    (base,) = count()
    kernel = model.get_layer("encoder_2_a_conv").kernel
    kernel.assign(kernel * 2)
    (early,) = count("encoder_2_a_conv")
    assert convolutions(last_segment(count)) == 1
    (late,) = count("decoder_1_b_conv")
    both = tf.function(function)(tf.constant(IMAGES))
    assert early == both["encoder_2_a_conv"] != base["encoder_2_a_conv"]
    assert late == both["decoder_1_b_conv"] != base["decoder_1_b_conv"]
    late_kernel = model.get_layer("decoder_1_b_conv").kernel
    count.rebase()
    late_kernel.assign(late_kernel * 2)
    assert count("encoder_2_a_conv")[0] == early  # in front of the change: the base's
