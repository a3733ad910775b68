"""Advises which parameters of a donor to reuse with few labels; abstains without evidence.

    advice = advisor.run(advice_spec, data_spec, model_spec, out_dir)  # also in advice.json
    advisor.repeat(planfile.read("plan.json"), out_dir)                # the final training again
    advisor.unseal(out_dir)                                            # the test split, once

`selection` decides (NumPy alone, from the counts that its callback returns), `trials` trains,
`store` caches the counts of each training, so that an interrupted run goes on, `page` writes the
page. TensorFlow is imported when something is trained.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfreuse import files, rundir
from tfreuse.advisor import (
    cautions,
    page,
    planfile,
    provenance,
    seal,
    selection,
    store,
)
from tfreuse.advisor.schedule import Schedule, make_schedule
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.specs.advice import AdviceSpec

if TYPE_CHECKING:
    from tfreuse.advisor.trials import Trials

# (trainings done, their number at most, a text on the current one)
Report = Callable[[float, float, str], None]


def run(
    spec: AdviceSpec,
    data_spec: DataSpec,
    model_spec: ModelSpec,
    out_dir: pathlib.Path,
    *,
    report: Report = lambda done, most, text: None,
) -> dict[str, Any]:
    """Searches, or continues an interrupted search, and writes page, models and plan.

    Returns:
        the content of `advice.json`.

    Raises:
        InputError: out_dir is of another question, a donor has seen test images, or the data,
            a donor or the recipient cannot be used.
    """
    started = time.monotonic()
    weights = "" if spec.donor else model_spec.encoder_weights
    if weights:
        donor = _encoder(model_spec, data_spec, out_dir)
        spec = dataclasses.replace(spec, donor=(str(donor),))
    specs = {"advice": spec, "data": data_spec, "model": model_spec}
    # A question that is refused below must not claim a new directory.
    if (out_dir / "run.json").exists():
        rundir.claim(out_dir / "run.json", specs)
    if (out_dir / "advice.json").exists():
        advice = files.read_json(out_dir / "advice.json")
        page.write(advice, out_dir)
        return advice
    if not spec.donor:
        raise InputError(
            "--donor is not given: which model's parameters may be reused? Give a model file, or "
            "--encoder with --encoder_weights."
        )
    donors = [provenance.examine(path, data_spec, weights) for path in spec.donor]
    from tfreuse.advisor.trials import Trials  # imports TensorFlow

    report(0, 1, "reading the images, building the networks")
    trials = Trials(spec, data_spec, model_spec)
    started_in = rundir.claim(out_dir / "run.json", specs).get("directory", "")
    schedule = _schedule(trials, out_dir, report)
    reused = store.number_of_trainings(out_dir / "folds")
    folds = trials.folds(schedule.folds)
    choice = _search(trials, schedule, folds, out_dir, report)
    advice = _advice(trials, schedule, choice, folds, donors, model_spec)
    _write_models(trials, schedule, choice, advice, model_spec, out_dir, report)
    advice["minutes"] = (time.monotonic() - started) / 60
    advice["reused"] = reused
    command = functools.partial(rundir.command, started_in, "advise")
    folder = out_dir.resolve()
    advice["commands"] = [
        command(f"--plan={folder / 'plan.json'}", f"--out_dir={folder / 'again'}"),
        command(f"--flagfile={folder / 'config.flags'}"),
    ]
    files.write_json(out_dir / "advice.json", advice)
    page.write(advice, out_dir)
    return advice


def _encoder(
    spec: ModelSpec, data_spec: DataSpec, out_dir: pathlib.Path
) -> pathlib.Path:
    """Returns the path of the donor that --encoder_weights are: the network with them in it."""
    digest = files.digest([spec.to_json(), data_spec.channels])
    path = out_dir / f"encoder_{digest[:8]}.keras"
    if not path.exists():
        from tfreuse.models import saving
        from tfreuse.training import initial  # imports TensorFlow

        model = initial.network(
            spec,
            task="segmentation",
            num_classes=2,  # of a head that no plan takes
            channels=data_spec.channels,
            seed=0,
        )
        out_dir.mkdir(parents=True, exist_ok=True)
        saving.save(model, path)
    return path


def repeat(
    plan: planfile.PlanFile,
    out_dir: pathlib.Path,
    *,
    report: Report = lambda done, most, text: None,
) -> None:
    """Repeats the training of a plan: writes model.keras and savedmodel/ to `out_dir`.

    Raises:
        InputError: donor or images are not those that the plan was made with.
    """
    planfile.check_files(plan)
    from tfreuse.advisor.trials import Trials

    report(0, 1, "reading the images, building the networks")
    trials = Trials(plan.advice, plan.data, plan.model)
    planfile.check_images(plan, trials.digest())
    _train(trials, plan.name, plan.steps, out_dir, plan.about, report)


def unseal(out_dir: pathlib.Path) -> dict[str, Any]:
    """Measures the advised model on the test split, once; returns its metrics.

    Raises:
        InputError: there is no advice yet, or the split was opened before.
    """
    seal.refuse_if_open(out_dir)
    plan = planfile.read(out_dir / "plan.json")
    from tfreuse import data, training
    from tfreuse.models import saving

    model = saving.load(out_dir / "model.keras")

    def measure() -> dict[str, Any]:
        split = data.load(plan.data, "test")
        return training.evaluate(model, split, "segmentation")

    metrics = seal.open_once(out_dir, plan.name, measure)
    advice = files.read_json(out_dir / "advice.json")
    advice["unsealed"] = {name: metrics[name] for name in ("mean_iou", "images")}
    files.write_json(out_dir / "advice.json", advice)
    page.write(advice, out_dir)
    return metrics


def _schedule(trials: "Trials", out_dir: pathlib.Path, report: Report) -> Schedule:
    """Fits the search into the time.

    Decided once for a directory and stored with the digests of donor and images: a continued
    search must not be of other files.
    """
    path = out_dir / "schedule.json"
    digests = {"sha256": planfile.digests(trials.spec), "images": trials.digest()}
    if path.exists():
        stored = files.read_json(path)
        if stored["of"] != digests:
            raise InputError(
                f"{out_dir} holds a search with another donor or other images (their SHA-256 "
                "differ). Choose another --out_dir."
            )
        return Schedule.from_json(stored["schedule"])
    report(0, 1, "measuring how long a step takes")
    costs = {name: plan.cost for name, plan in trials.plans.items()}
    units = len(trials.groups) or trials.labelled.size
    pace = trials.pace()
    folds = min(trials.spec.folds, units)
    schedule = make_schedule(pace, trials.spec.budget, costs, folds, trials.spec.steps)
    files.write_json(
        path, {"schedule": schedule.to_json(), "pace": vars(pace), "of": digests}
    )
    return schedule


def _search(
    trials: "Trials",
    schedule: Schedule,
    folds: np.ndarray,
    out_dir: pathlib.Path,
    report: Report,
) -> selection.Choice:
    """Runs the selection with cached trainings."""
    progress = (0, 1, "")  # of the training that runs: the arguments of `report`

    def training_begins(done: int, most: int, text: str) -> None:
        nonlocal progress
        progress = done, most + 2, text  # + 2: the final training, and the export
        report(*progress)

    def step_ends(number: int, _: str) -> None:
        done, most, text = progress
        report(done + number / schedule.steps, most, text)

    def score(
        name: str, train: np.ndarray, test: np.ndarray, repeat: int
    ) -> np.ndarray:
        return trials.score(name, train, test, repeat, schedule.steps, step_ends)

    search = selection.Search(
        [selection.Candidate(name, trials.plans[name].cost) for name in schedule.plans],
        "scratch",
        folds,
        trials.units,
    )
    return search.run(store.cached(score, out_dir / "folds"), training_begins)


def _advice(
    trials: "Trials",
    schedule: Schedule,
    choice: selection.Choice,
    folds: np.ndarray,
    donors: list[provenance.Provenance],
    model_spec: ModelSpec,
) -> dict[str, Any]:
    """Returns the content of `advice.json`, without times and commands."""
    label_counts = {
        donor.path: provenance.seen_labels(donor.path, trials.data_spec, trials.ids)
        for donor in donors
    }
    return {
        "choice": choice.to_json(),
        "schedule": schedule.to_json() | {"text": schedule.describe()},
        "plans": {
            name: {"describe": plan.recipe.describe(), "cost": plan.cost}
            for name, plan in trials.plans.items()
        },
        "unfit": trials.unfit,
        "flags": _warnings(trials, choice, folds, donors, label_counts),
        "donors": [donor.path for donor in donors],
        "provenance": [
            f"The donor {donor.path} was {donor.origin}" for donor in donors
        ],
        "model": model_spec.to_json(),
        "training": trials.spec.to_json(),
        "data": {
            "labelled": trials.labelled.size,
            "classes": trials.labelled.num_classes,
            "outer": trials.labelled.size
            - round(trials.labelled.size / schedule.folds),
            "unlabelled": len(trials.unlabelled),
            "overlap": trials.overlap,
            "groups": list(trials.groups),
            "seen_by_donors": label_counts,
        },
        "versions": rundir.versions(),
    }


def _warnings(
    trials: "Trials",
    choice: selection.Choice,
    folds: np.ndarray,
    donors: list[provenance.Provenance],
    label_counts: dict[str, int],
) -> dict[str, str]:
    """Returns the weaknesses of the advice: a name and a sentence each.

    `label_counts`: labelled images whose masks each donor was trained with, by its path.
    """
    from tfreuse.few_labels import subsets

    warnings = cautions.of_images(
        trials.histogram(), folds, trials.units, [name for name, _ in choice.chosen]
    )
    if not trials.groups:
        divided = provenance.is_divided(trials.data_spec)
        prefixes = subsets.by_prefix(trials.ids)
        warnings |= cautions.of_names(trials.ids, prefixes, divided)
    if not all(donor.documented for donor in donors):
        warnings["donor of unknown origin"] = (
            "it may have been trained on the test images, or on these ones."
        )
    for path, count in label_counts.items():
        if count:
            warnings[f"{path} has seen these labels"] = (
                f"it was trained with the masks of {count} of the {len(trials.ids)} labelled "
                "images, held-out folds included: the gain on new images is smaller, by an "
                "unknown amount. Give a donor of other images, or an auto-encoder."
            )
    test = provenance.hashes(trials.data_spec, "test").keys()
    duplicates = test & provenance.hashes(trials.data_spec, "train").keys()
    if duplicates:
        warnings["test images among the training images"] = (
            f"{len(duplicates)} files are the same."
        )
    if trials.overlap:
        warnings |= cautions.FEW_UNLABELLED
    return dict(sorted(warnings.items()))  # as in advice.json, which later runs read


def _write_models(
    trials: "Trials",
    schedule: Schedule,
    choice: selection.Choice,
    advice: dict[str, Any],
    model_spec: ModelSpec,
    out_dir: pathlib.Path,
    report: Report,
) -> None:
    """Trains the advised plan on all labelled images; writes models and plan.json."""
    description = {
        "promise": advice["choice"]["promise"],
        "abstains": choice.abstains,
        "default": choice.default,
        "versions": advice["versions"],
    }
    _train(
        trials,
        choice.plan,
        schedule.steps,
        out_dir,
        description,
        report,
        choice.trainings,
    )
    plan = planfile.PlanFile(
        name=choice.plan,
        recipe=planfile.recipe_fields(choice.plan),
        steps=schedule.steps,
        sha256=planfile.digests(trials.spec),
        images=trials.digest(),
        labelled=trials.ids,
        advice=trials.spec,
        data=trials.data_spec,
        model=model_spec,
        about=description,
    )
    planfile.write(out_dir / "plan.json", plan)


def _train(
    trials: "Trials",
    name: str,
    steps: int,
    out_dir: pathlib.Path,
    description: dict[str, Any],
    report: Report,
    done: int = 0,
) -> None:
    """Trains on all labelled images and writes the model; `done` trainings came before."""
    from tfreuse import export
    from tfreuse.models import saving

    def step_ends(number: int, _: str) -> None:
        report(done + number / steps, done + 2, f"{name}, on all labelled images")

    model = trials.fit(name, steps, step_ends)
    saving.save(model, out_dir / "model.keras")
    report(done + 1, done + 2, "writing and checking the SavedModel")
    export.export(
        model,
        out_dir / "savedmodel",
        overwrite=True,
        class_names=trials.labelled.class_names,
        notes={"plan": name} | description,
        task="segmentation",
        reading=trials.data_spec.reading,
        image_size=trials.data_spec.image_size,
    )
