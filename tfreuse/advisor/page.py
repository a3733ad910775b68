"""The advice as a page for a person: what to do, what it is worth, when it would be wrong.

    page.write(told, out_dir)      # advice.html, advice.md, figures/gains.svg; no TensorFlow
    print(page.summary(told))

`told` is what `advice.json` holds.
"""

import pathlib
from typing import Any

from tfreuse import files
from tfreuse.advisor import figure
from tfreuse.report import markdown
from tfreuse.report import page as html
from tfreuse.report.blocks import Code, Paragraph, Picture, Report, Section, Table

Told = dict[str, Any]


def write(told: Told, out_dir: pathlib.Path) -> None:
    """Writes the pages and their figure."""
    made = compose(told, figure.draw(told, out_dir / "figures"))
    files.write_text(out_dir / "advice.md", markdown.render(made))
    files.write_text(out_dir / "advice.html", html.render(made, out_dir / "figures"))


def compose(told: Told, markup: tuple[str, ...] = ()) -> Report:
    """The page's sections; `markup` is the figure as SVG."""
    return Report(
        title=_title(told),
        subtitle=f"{told['data']['labelled']} labelled images, "
        f"{told['data']['classes']} classes; donor {', '.join(told['donors'])}",
        sections=(
            Section("The advice", tuple(_advice(told, markup))),
            Section("The recipes", tuple(_plans(told))),
            Section("When this would be wrong", tuple(_wrong(told))),
            Section("How it was found", tuple(_methods(told))),
            Section("Use it, repeat it", tuple(_repeat(told))),
        ),
    )


def summary(told: Told) -> str:
    """The advice in some lines, for a terminal."""
    lines = [_title(told), f"  {_expectation(told)}"]
    choice = told["choice"]
    equals = [
        row["name"]
        for row in choice["rows"]
        if row["equal"] and row["name"] != choice["best"]
    ]
    if equals:
        lines.append(f"  within one standard error of the best: {', '.join(equals)}")
    for name, text in told["flags"].items():
        lines.append(f"  beware, {name}: {text}")
    return "\n".join(lines)


def _title(told: Told) -> str:
    choice = told["choice"]
    if choice["abstains"]:
        return "No recipe is shown to help: train from scratch"
    return f"Reuse the donor: {choice['plan']}"


def _expectation(told: Told) -> str:
    choice = told["choice"]
    promise = choice["promise"]
    return (
        f"expected gain over {choice['default']} ({choice['default_value']:.3f} mean IoU): "
        f"{_gain(promise)}, 95 % interval, n = {promise['n']} {_units(told)}; "
        f"the best recipe looked {choice['naive']:+.3f}, selection optimism "
        f"{choice['optimism']:+.3f}".replace("-0", "−0")
    )


def _advice(told: Told, markup: tuple[str, ...]):
    choice, plans = told["choice"], told["plans"]
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
    text = _expectation(told)
    yield Paragraph(f"{text[0].upper()}{text[1:]}.")
    yield Picture(
        figure.NAME,
        f"Gain of each recipe over {choice['default']}",
        "On labelled images that the training did not see; mean IoU of summed counts, 95 % "
        f"intervals ({choice['promise']['method']}), n = {choice['promise']['n']} "
        f"{_units(told)}. The first line is what choosing by these images is worth, measured on "
        "others; the recipes below it were looked at to choose, so the best of them flatters.",
        markup,
    )


def _plans(told: Told):
    choice, plans = told["choice"], told["plans"]
    rows = [
        (
            row["name"],
            f"{row['value']:.3f}",
            _gain(row["gain"]),
            f"{row['behind']:.3f} ± {row['error']:.3f}",
            f"{row['cost']:.2f}",
            _word(row, choice),
        )
        for row in choice["rows"]
    ]
    yield Table(
        (
            "recipe",
            "mean IoU",
            "gain over scratch",
            "behind the best ± s.e.",
            "cost",
            "note",
        ),
        tuple(rows),
        "Cost: of a training step, as a share of one that trains everything. Of the recipes "
        "within one standard error of the best (of the paired difference) the cheapest is "
        f"taken. {choice['default']}: mean IoU {choice['default_value']:.3f}, cost 1.00.",
    )
    if choice["dropped"]:
        out = sorted(choice["dropped"].items(), key=lambda one: -one[1])
        words = ", ".join(f"{name} ({value:.3f})" for name, value in out)
        yield Paragraph(f"Fell out at half-time, with their mean IoU then: {words}.")
    if told["schedule"]["left_out"]:
        words = ", ".join(told["schedule"]["left_out"])
        yield Paragraph(f"Not tried, since there was no time for them: {words}.")
    for name, reason in told["unfit"].items():
        yield Paragraph(f"{name} was not tried: {reason}")
    words = [
        (name, plans[name]["describe"]) for name in (r["name"] for r in choice["rows"])
    ]
    yield Table(("recipe", "what it does"), tuple(words))


def _word(row: dict[str, Any], choice: dict[str, Any]) -> str:
    if row["name"] == choice["best"]:
        return "taken" if not choice["abstains"] else "would be taken"
    return "runner-up, as good" if row["equal"] else "behind"


def _wrong(told: Told):
    if told["flags"]:
        yield Table(("beware", "why"), tuple(told["flags"].items()))
    yield Paragraph(
        "The interval is about images like the labelled ones, drawn as they were. Other "
        "cameras, subjects or times are another question. It is also about trainings of "
        f"{told['schedule']['steps']} steps on {told['data']['outer']} images: more labels or "
        "longer training mostly shrink what a donor gains."
    )


def _methods(told: Told):
    choice, schedule = told["choice"], told["schedule"]
    yield Paragraph(
        f"Nested cross-validation in {schedule['folds']} folds, {choice['trainings']} trainings "
        f"of {schedule['steps']} steps. For each outer fold the recipes were compared by "
        "trainings that left it and another fold out, on that other fold; the lower half was "
        "dropped at half-time; the recipe chosen was trained without the outer fold and measured "
        "on it. Summed over folds that is the expected gain. No image judged a training that "
        "saw its labels, and none chose the recipe that it judged."
    )
    yield Paragraph(told["schedule"]["text"])
    yield Table(
        ("outer fold", "recipe chosen", "images"),
        tuple(
            (str(k + 1), name, str(n)) for k, (name, n) in enumerate(choice["chosen"])
        ),
    )
    yield Paragraph(
        f"Statistics were re-estimated on {told['data']['unlabelled']} images without labels"
        + (", the labelled ones among them." if told["data"]["overlap"] else ".")
    )
    for text in told["provenance"]:
        yield Paragraph(text)
    if opened := told.get("unsealed"):
        yield Paragraph(
            f"The test split was opened after all this was decided: mean IoU "
            f"{opened['mean_iou']:.3f}, n = {opened['images']} images (unsealed.json)."
        )
    else:
        yield Paragraph(
            "The test split was not read. --unseal opens it, once, and logs that in "
            "unsealed.json."
        )


def _repeat(told: Told):
    yield Paragraph(
        "model.keras is the network, trained on all labelled images; savedmodel/1 the same for "
        "any TensorFlow program. plan.json repeats that training, after checking that donor "
        "and images are the same:"
    )
    yield Code("\n".join(told["commands"]))
    yield Paragraph(
        f"{told['minutes']:.1f} minutes in this run"
        + (
            f", {told['reused']} trainings were there from an earlier one."
            if told["reused"]
            else "."
        )
    )


def _gain(found: dict[str, Any]) -> str:
    ends = [
        "∞" if one is None else f"{one:+.3f}" for one in (found["low"], found["high"])
    ]
    if found["low"] is None:
        ends[0] = "−∞"
    return f"{found['estimate']:+.3f} [{ends[0]}, {ends[1]}]".replace("-", "−")


def _units(told: Told) -> str:
    return "subjects" if told["data"]["groups"] else "images"
