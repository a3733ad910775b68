"""Label curves: what a network reaches with n labels, by recipe and donor, and what that saves.

    spec.LabelSpec(label_counts=(8, 32, 0))     # what to measure; `study` measures it
    results.curves(records, 0.95)               # the metric at each n, with intervals
    results.savings(records, 0.95)              # n_scratch / n: how many labels a donor saves

Imports no TensorFlow; `records.LabelRecord` is what one fit gave.
"""
