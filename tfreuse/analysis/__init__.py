"""Records in, rows with intervals out: the definitions, and the functions that compute them.

Every function takes the arms of one part of a study (`arms.by_part(records)[part]`) and the
study's spec, and returns a list of plain dicts, ready for a figure and its CSV file:

    reasons.rows(arms, spec)       # general features, or a small difference?
    reasons.excess(arms, spec)     # how much of a loss is due to the donor's task
    ladder.rows(arms, spec)        # statistics, permutation, features as shares of a loss
    shapley.rows(arms, spec)       # the loss shared out among kernel, bias, gamma, beta, stats
    magnitude.rows(arms, spec)     # does the kind of parameter matter at equal size of move?
    predictors.rows(arms, spec)    # which measures predict that a kernel can be reused
    significance.rows(arms, spec)  # which cells of a heat map retain 1 - margin, or lose more
    paths.strengths(arms, spec)    # how far towards the donor nothing is lost
    ages.rows(by_age, arms, ...)   # at which age of the donor reuse appears
    paths.profiles(arms, spec)     # the share of sites that retain enough
    tables.heat_rows(...)          # cells of a heat map; forest_rows, curve_rows likewise
    label_curves.savings(...)      # label curves: curves, areas, crossovers, speeds likewise
    verdicts.judge(records, spec)  # verdicts on H1 to H5, for every part

A row has at least site_kind, site, depth, group, and mean, low, high, n, method of an interval
over seeds. An arm that was not measured gives no row.

**Quantities**, of one seed (one pair of trained networks); metric: mean IoU or R2

    retention      r = (after - floor) / (before - floor), undefined where before <= floor
                   (`records.Record.retention`); in verdicts, heat maps, reasons and plots it is
                   clipped to [0, 1] (`arms.clipped_retentions`)
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

    no difference of H1: low <= 0 <= high, and -m <= low, high <= m (two one-sided tests)
    inconclusive  the interval lies on both sides of the threshold; with fewer seeds than
                  `bounded.fewest` it always does
    not testable  arms or seeds are missing, before - floor < minimum for some recipient, or
                  donor and recipient have the same values

**Intervals** of confidence c, over n replicates of mean x, standard deviation s; t(p) is the
p-quantile of Student's t with n - 1 degrees of freedom

    bounded values     in [a, b], with the sorted values x, D a flat Dirichlet of n + 1 weights:
                       [quantile (1 - c) / 2 of sum D_i x_i + D_{n+1} a,
                       quantile (1 + c) / 2 of sum D_i x_i + D_{n+1} b] (`bounded.ends`; Gaffke
                       2005, Learned-Miller & Thomas 2020). Retention: [0, 1]; its differences
                       and rank correlations: [-1, 1]. Everything that is judged
    mean, n <= 5       of other values, x ± t((1 + c) / 2) s / sqrt(n), Student's t (`intervals.mean_interval`)
    mean, n >= 6       [x - q((1 + c) / 2) s / sqrt(n), x - q((1 - c) / 2) s / sqrt(n)], with q
                       the quantiles of (x* - x) / (s* / sqrt(n)) over resamples: bootstrap-t
                       (`intervals.mean_interval`; Efron & Tibshirani 1993, section 12.5)
    ratio of means     {r: |mean(a - r b)| <= t((1 + c) / 2) sd(a - r b) / sqrt(n)}
                       (`intervals.ratio_interval`; Fieller 1954)
    band over cells    the interval of confidence 1 - (1 - c) / cells (`significance.rows`;
                       Bonferroni)
    over test images   quantiles (1 ± c) / 2 of resamples of the images, the seeds fixed
                       (`over_images.image_interval`; Efron & Tibshirani 1993, section 13.3)
    seeds and images   x - sqrt((x - low_1)^2 + (x - low_2)^2), and so for the upper end, of
                       the intervals over seeds and over images
                       (`over_images.seed_and_image_interval`; Zou & Donner 2008)
    advised gain       x ± t((1 + c) / 2) se, se by the jackknife (`tfreuse.advisor.gains.gain`)

**Many tests at once**

    p                  two-sided, dual to the interval of the mean (`intervals.p_value`)
    replicates         pairs of networks that share none (`arms.independent`)
    Holm               p of verdicts, family-wise error rate (`intervals.holm`; Holm 1979)
    q                  p of a heat map's cells, false discovery rate
                       (`intervals.benjamini_hochberg`; Benjamini & Hochberg 1995)
"""

from typing import Any

Row = dict[str, Any]  # the columns of one line of a table, by name
