"""Trains a network on few labels with a donor, by recipes.

    from tfreuse.few_labels import fitting, recipes, subsets

    chosen = subsets.nested(histogram, [8, 32], seed=0)[32]          # images with labels
    model = fitting.fit(recipes.CATALOGUE["encoder"], donor, build,
                        data.take(split, chosen), unlabelled, spec, steps=300)

A recipe (`recipes`) selects the donor's parameters that are copied, the parameters that are
trained and the moving statistics; `fitting` carries it out, `freezing` restricts training,
`cost` compares recipes, `subsets` selects the labelled images. `recipes` and `subsets` do not
import TensorFlow.
"""
