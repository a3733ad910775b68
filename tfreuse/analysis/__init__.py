"""What the effects of a study are made of: rows, ready for a figure and its CSV twin.

    arms = arms.index(records)[part]
    reasons.rows(arms, spec)  # general features, or a small difference
    ladder.rows(arms, spec)  # statistics, permutation and features, as shares of a loss
    shapley.rows(arms, spec)  # whose fault a loss is: kernel, bias, gamma, beta, stats
    reasons.excess(arms, spec)  # how much of a loss is due to the donor's task
    magnitude.rows(arms, spec)  # whether the kind of parameter matters at all
    predictors.rows(arms, spec)  # what tells beforehand which kernels can be reused
    significance.rows(arms, spec)  # which cells of a heat map are not 1
    paths.strengths(arms, spec)  # how far towards the donor nothing is lost
    paths.profiles(arms, spec)  # the share of sites that retain enough

Every function takes the arms of one part of a study and its spec and returns a list of plain
dicts, which tell at least site_kind, site, depth, group, and mean, low, high, n, method of an
interval over seeds; its docstring tells the formula, the source and the other keys. An arm
that was not measured gives no row.
"""
