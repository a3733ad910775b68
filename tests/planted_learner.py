"""A learner in NumPy that a search over plans can be run on a hundred times in seconds.

An image is a bag of pixels with features [PIXELS, FEATURES], of which the first three tell the
classes; each image is shifted as a whole, so that its pixels are no replicates. The learner
takes the nearest class mean, with a random error of its own for each training, as SGD has. A
plan looks at some features: one that knows which matter (as a good donor's encoder does) needs
fewer labels.
"""

import numpy as np

CLASSES, PIXELS, FEATURES = 3, 30, 10
NOISE = 0.3  # of a training's class means


class World:
    """One population of images, and plans that look at `features` of it: {name: number}."""

    def __init__(self, features, seed=7):
        draw = np.random.default_rng(seed)
        self.means = np.zeros((CLASSES, FEATURES))
        self.means[:, :3] = 0.9 * draw.normal(size=(CLASSES, 3))
        self.features = features

    def images(self, count, draw):
        """Features [count, PIXELS, FEATURES] and labels [count, PIXELS]."""
        mix = draw.random((count, CLASSES))
        edges = np.cumsum(mix / mix.sum(1, keepdims=True), axis=1)[:, None]
        labels = (draw.random((count, PIXELS, 1)) > edges[..., :-1]).sum(-1)
        shift = 0.5 * draw.normal(size=(count, 1, FEATURES))
        noise = draw.normal(size=(count, PIXELS, FEATURES))
        return self.means[labels] + shift + noise, labels

    def score(self, labelled, seed, read=lambda indices: None):
        """A `selection.Score` on these images; `read` hears what each training sees."""
        images, labels = labelled

        def score(name, train, test, repeat):
            read(np.concatenate([train, test]))
            used, number = self.features[name], list(self.features).index(name)
            draw = np.random.default_rng([seed, repeat, number])
            x, y = images[train][..., :used].reshape(-1, used), labels[train].ravel()
            means = np.stack([x[y == c].mean(0) for c in range(CLASSES)])
            means += NOISE * draw.normal(size=means.shape)
            distance = ((images[test][..., None, :used] - means) ** 2).sum(-1)
            cells = labels[test] * CLASSES + distance.argmin(-1)
            counts = [np.bincount(row, minlength=CLASSES**2) for row in cells]
            return np.reshape(counts, (-1, CLASSES, CLASSES))

        return score
