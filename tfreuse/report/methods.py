"""Writes the methods section of a study from its settings, fit for a paper."""

from collections.abc import Iterable

from tfreuse import specs
from tfreuse.analysis import reasons
from tfreuse.errors import printable
from tfreuse.report import labels, words
from tfreuse.report.source import Source


def paragraphs(source: Source) -> list[str]:
    """Describes networks, treatment, controls, repairs, reasons, statistics, origin."""
    curves = labels.protocol(source) if source.labels else ""
    if not source.spec.directions:
        return [curves] if curves else []
    sections = [
        _networks(source),
        _metric(source),
        _treatment(source),
        _controls(source),
        _repairs(source),
        _causes(source),
        curves,
        _judgement(source),
        _origin(),
    ]
    return [paragraph for paragraph in sections if paragraph]


def _networks(source: Source) -> str:
    if "given" in source.specs:
        return _of_existing_networks(source)
    model, data = source.specs.get("model", {}), source.specs.get("data", {})
    train, spec = source.specs.get("train", {}), source.spec
    names = ", ".join(dict.fromkeys(part.architecture for part in source.parts))
    kinds = dict.fromkeys(kind for d in spec.directions for kind in d.split("-to-"))
    text = (
        f"Networks ({names or 'unknown'}) of the kinds {_listed(kinds)} were trained from "
        f"{spec.seeds} seeds each"
    )
    if train:
        text += (
            f": {train.get('steps', '?')} updates of {train.get('batch_size', '?')} images, "
            f"AdamW, peak learning rate {train.get('learning_rate', '?'):g}, weight decay "
            f"{train.get('weight_decay', '?'):g}"
        )
        text += words.options(train)
    if spec.retrials:
        text += (
            ". A network whose validation metric, with statistics re-estimated, was less than "
            f"{spec.minimum:g} above its floor was trained again, up to {spec.retrials} times, from the same initial values "
            "with another order of images"
        )
    links = [words.LINKS[link].removeprefix("link: ") for link in spec.links]
    relations = "; or ".join(links)
    text += f". {relations[:1].upper()}{relations[1:]}."
    if data:
        size = " × ".join(map(str, data.get("image_size", ()))) or "?"
        text += f" Data: {data.get('dataset', '?')}, {size} pixels."
    if model:
        settings = ", ".join(
            f"{name} {value}"
            for name, value in model.items()
            if name != "architecture" and value not in ("", [])
        )
        text += f" Network settings, unless named with the network: {settings}."
    images = sorted({record.images for record in source.records})
    if images:
        text += f" Metrics are of {' or '.join(map(str, images))} test images."
    return text


def _of_existing_networks(source: Source) -> str:
    """Describes networks that the study did not train."""
    given, data = source.specs["given"], source.specs.get("data", {})
    files = [printable(name) for name in given.get("files", ())]
    pairs = [
        f"{donor} in {recipient}" for recipient, donor in zip(files[::2], files[1::2])
    ]
    size = " × ".join(map(str, data.get("image_size", ()))) or "?"
    images = " or ".join(map(str, sorted({r.images for r in source.records})))
    return (
        f"Networks that exist were measured, none was trained: {'; '.join(pairs)}. Each donor's "
        "values were put into a copy of the recipient, where a plan pairs them. Layers that may "
        f"be replaced: {', '.join(given.get('layers', ()))}, but for the head. Data: "
        f"{data.get('dataset', '?')}, {size} pixels, {images or 'no'} test images."
    )


def _metric(source: Source) -> str:
    """Names the metric that auto-encoders are judged by; "" without any."""
    measured = {record.metric for record in source.records}
    if "fitted_r2" in measured:
        return (
            "Auto-encoders are judged by R2 after a gain and an offset of each output channel, "
            "fitted by least squares on calibration images, never on test images (fitted_r2): an "
            "output of the wrong size or level still shows what was retained. R2 of the outputs "
            "as they are stands beside it."
        )
    if "r2" in measured:
        return (
            "Auto-encoders are judged by R2 without fitted gains and offsets: an output of the "
            "wrong size or level counts as nothing retained, whatever it shows, so that a "
            "retention of 0 does not tell arms apart. Studies with --fit_outputs do."
        )
    return ""


def _treatment(source: Source) -> str:
    spec = source.spec
    before = (
        "Before anything was measured, the moving statistics of donor and recipient were "
        f"re-estimated exactly on {spec.calibration_examples} training images, so that "
        "recalibration repairs the transplant and not the training."
    )
    if "given" in source.specs:
        before = (
            "Networks were measured as they are, so that recalibration also repairs what their "
            "own moving statistics lacked: the control self shows how much that is."
        )
    text = (
        f"{before} An arm replaces one group "
        f"({', '.join(spec.groups)}) at one site ({', '.join(spec.sites)}) by the donor's "
        "values, evaluates the recipient without further training, and puts everything back; "
        "heads are never replaced."
    )
    if set(spec.strengths) - {1.0}:
        alphas = ", ".join(f"{alpha:g}" for alpha in sorted(spec.strengths))
        text += (
            f" At all layers{' and single stages' * ('stage' in spec.sites)} the recipient was also "
            f"moved only part of the way, to (1 − α) recipient + α donor with α = {alphas}; at all layers with each repair "
            "too, and towards a donor of the same task where there is one."
        )
    if spec.donor_updates:
        updates = ", ".join(map(str, sorted(spec.donor_updates)))
        text += (
            " The donor was also taken as it was after "
            f"{updates} updates of its training, of {source.steps:,} in all; controls, verdicts "
            "and all other figures are of the finished donor."
        )
    if "channels" in spec.sites:
        shares = ", ".join(f"{share:g}" for share in specs.SHARES)
        text += (
            f" Of each layer of a stage, and of all layers, shares of {shares} of the output channels "
            f"were moved too, in the orders {', '.join(specs.ORDERS)} ({spec.draws} draws); the "
            "slices by which the next layers read them stayed the recipient's. The order "
            "activation was chosen on half of the calibration images, and every arm judged on the "
            "test images."
        )
    return text


def _controls(source: Source) -> str:
    """Describes the controls and the sites at which they were measured."""
    controls = [
        f"{name} ({_meaning(words.CONTROLS[name])})" for name in source.spec.controls
    ]
    if not controls:
        return "There were no controls."
    text = f"Controls: {'; '.join(controls)}."
    if set(source.spec.controls) & set(specs.RANDOM_CONTROLS):
        text += f" Random controls were drawn {source.spec.draws} times and averaged."
    return text + _where(source)


def _where(source: Source) -> str:
    """Lists the measured controls of each kind of site."""
    controls: dict[str, set[str]] = {}
    for record in source.records:
        controls.setdefault(record.site_kind, set()).add(record.control)
    by_site = "; ".join(
        f"{_site(kind)}: {', '.join(sorted(controls[kind] - {'transfer'})) or 'none'}"
        for kind in specs.SITES
        if kind in controls
    )
    return f" They were measured at {by_site}." if by_site else ""


def _site(kind: str) -> str:
    names = {
        "all": "all layers",
        "prefix": "prefixes",
        "suffix": "suffixes",
        "leave_one_out": "all stages but one",
        "channels": "channels of layers",
    }
    return names.get(kind, f"single {kind}s")


def _repairs(source: Source) -> str:
    chosen = [name for name in source.spec.repairs if name != "none"]
    if not chosen:
        return "Nothing was repaired after a transplant."
    repairs = []
    for name in chosen:
        meaning = _meaning(words.REPAIRS[name])
        if name == "fine_tuning":
            meaning = meaning.replace("a few", f"{source.spec.fine_tuning_steps}")
        if name == "permutation+recalibration":
            meaning = "the two together"
        repairs.append(f"{name} ({meaning})")
    return (
        f"Repairs, besides none: {'; '.join(repairs)}. Recalibration is exact: training "
        "images only, no labels, dropout off, the variance of all values and not the mean of "
        "batch variances. "
        + (
            "Channels are matched by their weights, tied along skip and residual "
            "connections."
            if any("permutation" in name for name in chosen)
            else ""
        )
    ).rstrip()


def _causes(source: Source) -> str:
    """Describes how losses and successes are attributed to causes."""
    spec, sentences = source.spec, []
    if set(reasons.CONTROLS) & set(spec.controls):
        sentences.append(
            "Reuse counts as due to general features where the interval of retention with the "
            "donor's values less retention with random values as far away lies above 0 and the "
            f"donor's own lies above {spec.large:g}; as due to a small difference where both "
            "intervals lie above 1 − margin. A donor that does harm is worse than random where "
            "the interval of the difference lies below 0. Kernels, and gamma or beta together "
            "with statistics, are compared after recalibration, others as transplanted."
        )
    if {"recalibration", "permutation+recalibration"} <= set(spec.repairs):
        sentences.append(
            "A loss is divided into statistics (recovered by recalibration), permutation "
            "(recovered in addition by matching channels) and features (the rest), as ratios "
            "of means over seeds with Fieller's intervals."
        )
    if spec.shapley:
        sentences.append(
            "At every stage all 32 unions of kernel, bias, gamma, beta and stats were measured; "
            "a role's part of the loss is its exact Shapley value, and interactions are those "
            "of Grabisch and Roubens (1999)."
        )
    if "other_seed" in spec.controls:
        sentences.append(
            "The task-specific excess is retention with a donor of the recipient's own task "
            "less retention with the donor, paired by seed. A replicate is a pair of networks that "
            "shares none with another pair."
        )
    return " ".join(sentences)


def _judgement(source: Source) -> str:
    spec = source.spec
    if spec.seeds == 1:
        return (
            "One pair of networks was measured. Intervals of retention, and the tests of heat "
            f"maps, are {spec.confidence:.0%} percentile bootstraps over its test images (Efron & "
            "Tibshirani 1993, section 13.3), with Benjamini and Hochberg's q; they say nothing "
            "about networks of other seeds, and no claim about such is judged. Other figures have "
            "the interval of one seed. A retention below 0 counts as 0 and one above 1 as 1."
        )
    return (
        "The replicate is a pair of trained networks, never an image. Intervals are two-sided "
        f"{spec.confidence:.0%} intervals of the mean over seeds. Retention, its differences and "
        "correlations are bounded, and have Gaffke's bounds (2005), which assume nothing else: "
        "equal seeds are no certainty. Values without bounds, of no verdict, have Student t up "
        "to five, bootstrap-t from six. Declared before the study ran: a group is reusable if it retains "
        f"at least {1 - spec.margin:g} (margin {spec.margin:g}), the network is sensitive to it "
        f"if it retains at most {spec.large:g}, and a recipient is judged only if it is at "
        f"least {spec.minimum:g} above its floor. Verdicts on H1 to H4 rest on all layers, "
        "without repair, that on H5 on the kernels of single layers. "
        "In verdicts, heat maps, plots and tables, for all hypotheses and directions, a retention "
        "below 0 counts as 0 and one above 1 as 1: "
        "a network below the floor retains nothing, and how far below it falls (the R2 of an "
        "auto-encoder has no lower bound) does not inform about reuse. CSV files have means that "
        "are not clipped beside them. A re-initialised metric below the floor "
        "counts as the floor likewise. P values are corrected by Holm's method over all "
        "verdicts of the study; cells of a heat map are tested against 1 − margin, by the "
        "intervals of the verdicts, with Benjamini and Hochberg's q. A difference is called none "
        "where its interval contains 0 and lies within the margin. Heat maps are exploratory and carry no verdict."
    )


def _origin() -> str:
    return (
        "H1 to H4 are claims of W. Wang, Using UNet and PSPNet to explore the reusability "
        "principle of CNN parameters (arXiv:2008.03414), H5 is one of its sister paper "
        "(arXiv:2008.03411). The tables of both were not available to us: the claims are "
        "tested here, and no figure of the papers is compared with ours."
    )


def _meaning(text: str) -> str:
    """Strips the kind of a definition: "random control: drawn ..." gives "drawn ..."."""
    return text.split(": ", 1)[1]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)
