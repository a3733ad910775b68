"""Pairs of networks that exist: a recipient that does its task perfectly, and donors near it."""

import keras
import numpy as np
import people

# By hand: the layers of each stage of people.own_names, by the size of their features.
STAGES = {
    "encoder_1": ("one_conv", "one_norm"),
    "encoder_2": ("two_conv", "two_norm"),
    "decoder_1": ("three_conv", "three_norm"),
}
STAGES["all"] = sum(STAGES.values(), ())


def recipient(count=24):
    """A network, images float32 [count, 16, 16, 3] and the labels that it gives them.

    Its labels are the truth, so that nothing has to be trained: mean IoU is 1.
    """
    keras.utils.set_random_seed(0)
    model = noisy(people.own_names(), 7)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 16, 16, 3), np.uint8) / np.float32(255)
    head = model.get_layer("out")
    logits = model(images, training=False).numpy()
    head.bias.assign(head.bias - np.median(logits, axis=(0, 1, 2)))  # each class occurs
    return model, images, model(images, training=False).numpy().argmax(-1)


def noisy(model, seed):
    """A copy of the network whose numbers all differ a little."""
    draw = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights(
        [
            (
                w * draw.uniform(0.6, 1.4, w.shape) + draw.uniform(0, 0.1, w.shape)
            ).astype(w.dtype)
            for w in model.get_weights()
        ]
    )
    return copy


def mean_iou(labels, predicted, classes=3):
    """The mean over classes of intersection over union."""
    ious = []
    for label in range(classes):
        one, two = labels == label, predicted == label
        if (one | two).any():
            ious.append((one & two).sum() / (one | two).sum())
    return np.mean(ious)
