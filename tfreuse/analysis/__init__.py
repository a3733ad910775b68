"""What the effects of a study are made of: rows, ready for a figure and its CSV twin.

    arms = arms.index(records)[part]
    reasons.reasons(arms, spec)  # general features, or a small difference
    ladder.ladder(arms, spec)  # statistics, permutation and features, as shares of a loss
    shapley.shapley(arms, spec)  # whose fault a loss is: kernel, bias, gamma, beta, stats
    reasons.excess(arms, spec)  # how much of a loss is due to the donor's task
    magnitude.beyond_magnitude(arms, spec)  # whether the kind of parameter matters at all
    predictors.predictors(arms, spec)  # what tells beforehand which kernels can be reused
    significance.significance(arms, spec)  # which cells of a heat map are not 1
    paths.strength_path(arms, spec)  # how far towards the donor nothing is lost
    paths.profiles(arms, spec)  # the share of sites that retain enough

Every function takes the arms of one part of a study and its spec and returns a list of plain
dicts, which tell at least site_kind, site, depth, group, and mean, low, high, n, method of an
interval over seeds; its docstring tells the formula, the source and the other keys. An arm
that was not measured gives no row.
"""
