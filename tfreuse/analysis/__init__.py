"""Records in, rows with intervals out: the definitions, and the functions that compute them.

Every function takes the arms of one part of a study (`arms.by_part(records)[part]`) and the
study's spec, and returns a list of plain dicts, ready for a figure and its CSV file:

    reasons.rows(arms, spec)       # general features, or a small difference?
    reasons.excess(arms, spec)     # how much of a loss is due to the donor's task
    ladder.rows(arms, spec)        # statistics, permutation, features as shares of a loss
    shapley.rows(arms, spec)       # the loss shared out among kernel, bias, gamma, beta, stats
    magnitude.rows(arms, spec)     # does the kind of parameter matter at equal size of move?
    predictors.rows(arms, spec)    # which measures predict that a kernel can be reused
    significance.rows(arms, spec)  # which cells of a heat map differ from 1
    paths.strengths(arms, spec)    # how far towards the donor nothing is lost
    paths.profiles(arms, spec)     # the share of sites that retain enough
    tables.heat_rows(...)          # cells of a heat map; forest_rows, curve_rows likewise
    label_curves.savings(...)      # label curves: curves, areas, crossovers, speeds likewise
    verdicts.judge(records, spec)  # verdicts on H1 to H5, for every part

A row has at least site_kind, site, depth, group, and mean, low, high, n, method of an interval
over seeds. An arm that was not measured gives no row.

**Quantities**, of one seed (one pair of trained networks); metric: mean IoU or R2

    retention      r = (after - floor) / (before - floor), undefined where before <= floor
                   (`records.Record.retention`); in verdicts and reasons max(0, r) counts
                   (`arms.floored_retentions`)
    floor          mean IoU: share of the most frequent class / number of classes, which is
                   what its constant prediction scores (`metrics.floor_mean_iou`); R2: 0, the
                   score of the mean image
    loss           1 - max(0, r)
    excess loss    r with a donor of the recipient's own task - r with the donor
                   (`reasons.excess`)
    label saving   n_scratch / n: labels that training from scratch needs for the same metric,
                   over the labels used (`label_curves.savings`; Newell & Deng 2020)

**Verdicts** (`verdicts.judge`), from the interval [low, high] of the mean of a quantity over
seeds, with --margin m, --large, --minimum and --confidence declared before the study runs:

    hypothesis  quantity                   supported       refuted
    H1          r(affine) - r(stats)       low > 0         high < 0
    H2          r(affine)                  low >= 1 - m    high < 1 - m
    H3          r(kernel)                  high <= large   low > large
    H4          r(bias)                    low >= 1 - m    high < 1 - m
    H5          Spearman's rho(-RMSE, r)   `closeness.judge`
    label gain  height of the curve less   low > 0         high < 0     (`label_curves.areas`)
                that of scratch

    inconclusive  the interval lies on both sides of the threshold
    not testable  arms or seeds are missing, before - floor < minimum for some recipient, or
                  donor and recipient have the same values

**Intervals** of confidence c, over n replicates of mean x, standard deviation s; t(p) is the
p-quantile of Student's t with n - 1 degrees of freedom

    mean, n <= 5       x ± t((1 + c) / 2) s / sqrt(n), Student's t (`intervals.mean_interval`)
    mean, n >= 6       [x - q((1 + c) / 2) s / sqrt(n), x - q((1 - c) / 2) s / sqrt(n)], with q
                       the quantiles of (x* - x) / (s* / sqrt(n)) over resamples: bootstrap-t
                       (`intervals.mean_interval`; Efron & Tibshirani 1993, section 12.5)
    ratio of means     {r: |mean(a - r b)| <= t((1 + c) / 2) sd(a - r b) / sqrt(n)}
                       (`intervals.ratio_interval`; Fieller 1954)
    band over cells    x ± L s / sqrt(n), L the c-quantile of max |t| over cells
                       (`intervals.largest_t`; Westfall & Young 1993, section 2.3)
    over test images   quantiles (1 ± c) / 2 of resamples of the images, the seeds fixed
                       (`over_images.image_interval`; Efron & Tibshirani 1993, section 13.3)
    seeds and images   x ± t((1 + c) / 2) sd*, sd* of resamples of seeds and images
                       (`over_images.seed_and_image_interval`; Davison & Hinkley 1997,
                       section 3.8)
    advised gain       x ± t((1 + c) / 2) se, se by the jackknife (`tfreuse.advisor.gains.gain`)

**Many tests at once**

    p                  two-sided, dual to the interval of the mean (`intervals.p_value`)
    Holm               p of verdicts, family-wise error rate (`intervals.holm`; Holm 1979)
    q                  p of a heat map's cells, false discovery rate
                       (`intervals.benjamini_hochberg`; Benjamini & Hochberg 1995)
    sign-flip p        2 / 2^n is the smallest that n seeds can reach
                       (`intervals.smallest_sign_flip_p`)
"""

from typing import Any

Row = dict[str, Any]  # the columns of one line of a table, by name
