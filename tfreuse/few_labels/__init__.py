"""From a donor to a network trained on few labels: what is taken, what is trained, on what.

    from tfreuse.few_labels import fitting, recipes, subsets

    chosen = subsets.nested(histogram, [8, 32], seed=0)[32]          # which images have labels
    model = fitting.fit(recipes.CATALOGUE["encoder"], donor, build,
                        data.take(split, chosen), unlabelled, spec, steps=300)

`recipes` and `subsets` import no TensorFlow; `freezing` and `fitting` do.
"""
