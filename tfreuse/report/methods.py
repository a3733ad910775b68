"""How a study was done, written from its settings; and the words that a report uses."""

from tfreuse.report.source import Source

WORDS = tuple(
    {
        "donor": "the network whose parameters are taken",
        "recipient": "the network that receives them",
        "role": "kernel, bias, gamma, beta, moving_mean or moving_variance",
        "group": "a set of roles: stats is moving_mean and moving_variance, affine is gamma and "
        "beta, bn is stats and affine, conv is kernel and bias, all is all",
        "site": "where parameters are replaced: one layer, one stage, or all layers",
        "arm": "one treatment of one recipient: a group, a site, a donor, a repair",
        "transfer": "the treatment itself: the donor was trained for the other task",
        "other_seed": "control: the donor was trained for the same task from another seed",
        "self": "control: the recipient's own values; nothing may change",
        "reinitialised": "control: fresh initial values; what they cost was learned",
        "defaults": "control: gamma 1, beta 0, bias 0, moving mean 0, moving variance 1",
        "recalibration": "moving statistics re-estimated on the recipient's training images, "
        "without labels",
        "floor": "what is reached without looking at the image: by the majority class, by the "
        "mean image",
        "retention": "(metric after − floor) / (metric before − floor): 1 nothing is lost, 0 all",
        "margin": "retention that may be lost by what is called reusable",
        "supported, refuted": "the whole interval lies on that side of the declared threshold",
        "inconclusive": "the interval lies on both sides: only more seeds can tell",
        "not testable": "the study cannot answer: arms are missing, or nothing can be lost",
    }.items()
)


def paragraphs(source: Source) -> list[str]:
    """The methods of the study: networks, treatment, judgement, and what was not available."""
    return [_networks(source), _treatment(source), _judgement(source), _origin()]


def _networks(source: Source) -> str:
    model, data = source.specs.get("model", {}), source.specs.get("data", {})
    train, spec = source.specs.get("train", {}), source.spec
    names = ", ".join(dict.fromkeys(part.architecture for part in source.parts))
    text = f"For each task {spec.seeds} networks ({names or 'not told'}) were trained"
    if train:
        text += (
            f": {train.get('steps', '?')} updates of {train.get('batch_size', '?')} images, "
            f"AdamW, learning rate {train.get('learning_rate', '?'):g}, weight decay "
            f"{train.get('weight_decay', '?'):g}"
        )
    text += ". No two of them share initial values or data order."
    if data:
        size = " × ".join(map(str, data.get("image_size", ()))) or "?"
        text += f" Data: {data.get('dataset', '?')}, {size} pixels."
    if model:
        told = ", ".join(
            f"{name} {value}" for name, value in model.items() if name != "architecture"
        )
        text += f" Network settings: {told}."
    images = sorted({record.images for record in source.records})
    if images:
        text += f" Metrics are of {' or '.join(map(str, images))} test images."
    return text


def _treatment(source: Source) -> str:
    spec = source.spec
    return (
        "Before anything was measured, the moving statistics of donor and recipient were "
        f"re-estimated exactly on {spec.calibration_examples} training images, so that "
        "recalibration repairs the transplant and not the training. An arm replaces one group "
        f"({', '.join(spec.groups)}) at one site ({', '.join(spec.sites)}) by the donor's "
        "values, evaluates the recipient without further training, and puts everything back. "
        f"Repairs: {', '.join(spec.repairs)}. Controls: {_controls(source)}."
    )


def _controls(source: Source) -> str:
    """The controls that were measured, for each kind of site."""
    found: dict[str, set[str]] = {}
    for record in source.records:
        kind = (
            "all layers" if record.site_kind == "all" else f"single {record.site_kind}s"
        )
        found.setdefault(kind, set()).add(record.control)
    return "; ".join(
        f"{kind}: {', '.join(sorted(controls - {'transfer'})) or 'none'}"
        for kind, controls in sorted(found.items())
    ) or ", ".join(source.spec.controls)


def _judgement(source: Source) -> str:
    spec = source.spec
    return (
        "The replicate is a pair of trained networks, never an image. Intervals are two-sided "
        f"{spec.confidence:.0%} intervals of the mean over seeds: Student t up to five, "
        "bootstrap-t from six. Declared before the study ran: a group is reusable if it retains "
        f"at least {1 - spec.margin:g} (margin {spec.margin:g}), the network is sensitive to it "
        f"if it retains at most {spec.large:g}, and a recipient is judged only if it is at "
        f"least {spec.minimum:g} above its floor. Verdicts rest on all layers, without repair. "
        "In verdicts, for all hypotheses and both directions, a retention below 0 counts as 0: "
        "a network worse than the one that knows nothing retains nothing, and how absurd an "
        "auto-encoder's images are (its R2 has no lower end) says nothing about reuse. Figures "
        "and CSV files have retention unclipped. A re-initialised metric below the floor "
        "counts as the floor likewise. Holm's correction is over all verdicts of the study "
        "that have a p; heat maps are explorations and carry no verdict."
    )


def _origin() -> str:
    return (
        "H1 to H4 are claims of W. Wang, Using UNet and PSPNet to explore the reusability "
        "principle of CNN parameters (arXiv:2008.03414). Its tables, and those of its sister "
        "paper (arXiv:2008.03411), were not available to us: the claims are put to the test "
        "here, and no figure of the papers is compared with ours."
    )
