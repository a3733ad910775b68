"""Writes the advice as a page: the recipe, the gain to expect, and when it would be wrong.

    page.write(advice, out_dir)     # advice.html, advice.md, figures/gains.svg; no TensorFlow
    print(page.summary(advice))

`advice` is the content of `advice.json`.
"""

import collections
import pathlib
from collections.abc import Iterator
from typing import Any

from tfreuse import files
from tfreuse.advisor import figure
from tfreuse.report import markdown, words
from tfreuse.report import page as html
from tfreuse.report.blocks import (
    Block,
    Code,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
)

Advice = dict[str, Any]


def write(advice: Advice, out_dir: pathlib.Path) -> None:
    """Writes the pages and their figure."""
    report = compose(advice, figure.draw(advice, out_dir / "figures"))
    files.write_text(out_dir / "advice.md", markdown.render(report))
    files.write_text(out_dir / "advice.html", html.render(report, out_dir / "figures"))


def compose(advice: Advice, markup: tuple[str, ...] = ()) -> Report:
    """Composes the sections of the page; `markup` is the figure as SVG."""
    return Report(
        title=_title(advice),
        subtitle=f"{advice['data']['labelled']} labelled images, "
        f"{advice['data']['classes']} classes; donor {', '.join(advice['donors'])}",
        sections=(
            Section("The advice", tuple(_advice(advice, markup))),
            Section("The recipes", tuple(_recipes(advice))),
            Section("When this would be wrong", tuple(_limits(advice))),
            Section("How it was found", tuple(_methods(advice))),
            Section("Use it, repeat it", tuple(_files(advice))),
        ),
    )


def summary(advice: Advice) -> str:
    """Returns the advice in a few lines, for a terminal."""
    lines = [_title(advice), f"  {_expectation(advice)}"]
    choice = advice["choice"]
    if reason := _differing(choice):
        lines.append(f"  {reason}")
    equals = [
        row["name"]
        for row in choice["rows"]
        if row["equal"] and row["name"] != choice["best"]
    ]
    if equals:
        lines.append(f"  within one standard error of the best: {', '.join(equals)}")
    for name, text in advice["flags"].items():
        lines.append(f"  beware, {name}: {text}")
    return "\n".join(lines)


def _title(advice: Advice) -> str:
    choice = advice["choice"]
    if choice["abstains"]:
        return "No recipe is shown to help: train from scratch"
    return f"Reuse the donor: {choice['plan']}"


def _expectation(advice: Advice) -> str:
    choice = advice["choice"]
    promise = choice["promise"]
    return (
        f"expected gain over {choice['default']} ({choice['default_value']:.3f} mean IoU): "
        f"{_gain(promise)}, 95 % interval, n = {promise['n']} {_units(advice)}; "
        f"on the images that chose it, the best recipe gains {choice['naive']:+.3f}: "
        f"{choice['optimism']:+.3f} from choosing (selection optimism)".replace(
            "-0", "−0"
        )
    )


def _differing(choice: dict[str, Any]) -> str:
    """Returns why the recipe is another than those of the outer folds; "" if all are the same."""
    folds = collections.Counter(name for name, _ in choice["chosen"])
    if set(folds) == {choice["best"]}:
        return ""
    total = folds.total()
    names = ", ".join(f"{name} in {n} of {total}" for name, n in folds.most_common())
    return (
        "the expected gain is that of recipes chosen without the images of a fold "
        f"({names} folds); with all images, {choice['best']} is the cheapest of the recipes as "
        "good as the best"
    )


def _advice(advice: Advice, markup: tuple[str, ...]) -> Iterator[Block]:
    choice, plans = advice["choice"], advice["plans"]
    if choice["abstains"]:
        yield Paragraph(
            "Train from scratch on the labelled images. The advisor abstains: the lower end of "
            "the expected gain's interval is not above 0, so these images cannot show that "
            "reusing the donor helps. It may still help a little, or harm."
        )
        best = plans[choice["best"]]
        yield Paragraph(
            f"If a recipe had to be taken, it would be {choice['best']}: {best['describe']}"
        )
    else:
        yield Paragraph(plans[choice["plan"]]["describe"])
    text = _expectation(advice)
    yield Paragraph(f"{text[0].upper()}{text[1:]}.")
    if reason := _differing(choice):
        yield Paragraph(f"{reason[0].upper()}{reason[1:]}.")
    yield Picture(
        figure.NAME,
        f"Gain of each recipe over {choice['default']}",
        "On labelled images that the training did not see; mean IoU of summed counts, 95 % "
        f"intervals ({choice['promise']['method']}), n = {choice['promise']['n']} "
        f"{_units(advice)}. The first line is the expected gain of the advice: each recipe was "
        "selected on some images and evaluated on others. The lines below it are gains on the "
        "images that also selected the recipe, so the best of them is too optimistic.",
        markup,
    )


def _recipes(advice: Advice) -> Iterator[Block]:
    choice, plans = advice["choice"], advice["plans"]
    head = (
        "recipe",
        "mean IoU",
        "gain over scratch",
        "behind the best ± s.e.",
        "cost",
        "note",
    )
    rows = tuple(
        (
            row["name"],
            f"{row['value']:.3f}",
            _gain(row["gain"]),
            f"{row['behind']:.3f} ± {row['error']:.3f}",
            f"{row['cost']:.2f}",
            _note(row, choice),
        )
        for row in choice["rows"]
    )
    yield Table(
        head,
        rows,
        "Cost: of a training step, as a share of one that trains everything. Of the recipes "
        "within one standard error of the best (of the paired difference) the cheapest is "
        f"taken. {choice['default']}: mean IoU {choice['default_value']:.3f}, cost 1.00.",
    )
    if choice["dropped"]:
        dropped = sorted(choice["dropped"].items(), key=lambda item: -item[1])
        text = ", ".join(f"{name} ({value:.3f})" for name, value in dropped)
        yield Paragraph(
            f"Dropped half-way through the search, with their mean IoU then: {text}."
        )
    if advice["schedule"]["left_out"]:
        text = ", ".join(advice["schedule"]["left_out"])
        yield Paragraph(f"Not tried, for lack of time: {text}.")
    for name, reason in sorted(advice["unfit"].items()):
        yield Paragraph(f"{name} was not tried: {reason}")
    descriptions = tuple(
        (row["name"], plans[row["name"]]["describe"]) for row in choice["rows"]
    )
    yield Table(("recipe", "what it does"), descriptions)


def _note(row: dict[str, Any], choice: dict[str, Any]) -> str:
    if row["name"] == choice["best"]:
        return "taken" if not choice["abstains"] else "would be taken"
    return "runner-up, as good" if row["equal"] else "behind"


def _limits(advice: Advice) -> Iterator[Block]:
    if advice["flags"]:
        yield Table(("beware", "why"), tuple(advice["flags"].items()))
    yield Paragraph(
        "The interval holds for images like the labelled ones. For other cameras, subjects or "
        "times the gain may differ. It also holds for trainings of "
        f"{advice['schedule']['steps']} steps on {advice['data']['outer']} images: with more "
        "labels or longer training, the gain from a donor is usually smaller."
    )


def _methods(advice: Advice) -> Iterator[Block]:
    choice, schedule, data = advice["choice"], advice["schedule"], advice["data"]
    yield Paragraph(
        f"Nested cross-validation in {schedule['folds']} folds, {choice['trainings']} trainings "
        f"of {schedule['steps']} steps. For each outer fold the recipes were compared by "
        "trainings that left out this fold and another one, evaluated on the other one; the "
        "lower half was dropped half-way; the selected recipe was trained without the outer "
        "fold and evaluated on it. Summed over folds that is the expected gain. None of these "
        "trainings used an image that its network was evaluated on, and no image helped to select "
        "the recipe that was evaluated on it."
    )
    if train := advice.get("training"):  # absent from an advice before version 0.2
        yield Paragraph(
            f"Trainings: {train['batch_size']} images an update, AdamW, peak learning rate "
            f"{train['learning_rate']:g}{words.options(train)}."
        )
    for path, count in data.get("seen_by_donors", {}).items():
        if count:
            yield Paragraph(
                f"The donor {path} had been trained with the masks of {count} of these images, so "
                "that they are not new to networks that reuse it."
            )
    yield Paragraph(schedule["text"])
    yield Table(
        ("outer fold", "recipe chosen", "images"),
        tuple(
            (str(k + 1), name, str(n)) for k, (name, n) in enumerate(choice["chosen"])
        ),
    )
    overlap = ", the labelled ones among them" if data["overlap"] else ""
    yield Paragraph(
        f"Statistics were re-estimated on {data['unlabelled']} images without labels{overlap}."
    )
    for text in advice["provenance"]:
        yield Paragraph(text)
    if test := advice.get("unsealed"):
        yield Paragraph(
            f"The test split was opened after all this was decided: mean IoU "
            f"{test['mean_iou']:.3f}, n = {test['images']} images (unsealed.json)."
        )
    else:
        yield Paragraph(
            "The test split was not read. --unseal opens it, once, and logs that in "
            "unsealed.json."
        )


def _files(advice: Advice) -> Iterator[Block]:
    yield Paragraph(
        "model.keras is the network, trained on all labelled images; savedmodel/1 is the same "
        "network for any TensorFlow program. plan.json repeats that training, after checking "
        "that donor and images are the same:"
    )
    yield Code("\n".join(advice["commands"]))
    text = f"{advice['minutes']:.1f} min in this run"
    if advice["reused"]:
        text += f", with {advice['reused']} trainings of an earlier run"
    yield Paragraph(f"{text}.")


def _gain(interval: dict[str, Any]) -> str:
    low, high = interval["low"], interval["high"]
    ends = (
        "−∞" if low is None else f"{low:+.3f}",
        "∞" if high is None else f"{high:+.3f}",
    )
    return f"{interval['estimate']:+.3f} [{ends[0]}, {ends[1]}]".replace("-", "−")


def _units(advice: Advice) -> str:
    return "subjects" if advice["data"]["groups"] else "images"
