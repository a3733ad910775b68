"""Answers "few labels and a donor: what shall I reuse?" with evidence, and abstains without.

    told = advisor.run(advice_spec, data_spec, model_spec, out_dir)   # what advice.json holds
    advisor.repeat(planfile.read("plan.json"), out_dir)               # the final training again
    advisor.unseal(out_dir)                                           # the test split, once

`selection` decides (NumPy, and no data but what its callback gives), `bench` trains, `store`
keeps what each training counted, so that a run that was stopped goes on, `page` tells it.
TensorFlow is imported when something is trained.
"""

import pathlib
import time
from collections.abc import Callable
from typing import Any

from tfreuse import files, rundir
from tfreuse.advisor import (
    flags,
    page,
    planfile,
    provenance,
    schedule,
    seal,
    selection,
    store,
)
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.specs.advice import AdviceSpec

Report = Callable[
    [float, float, str], None
]  # trainings done, in all (at most), what runs


def run(
    spec: AdviceSpec,
    data_spec: DataSpec,
    model_spec: ModelSpec,
    out_dir: pathlib.Path,
    *,
    report: Report = lambda done, most, text: None,
) -> dict[str, Any]:
    """Searches, or goes on where an earlier run was stopped; writes all that is promised.

    Raises:
        InputError: out_dir is of another question, a donor has seen test images, or something
            cannot be used.
    """
    started = time.monotonic()
    specs = {"advice": spec, "data": data_spec, "model": model_spec}
    if (
        out_dir / "run.json"
    ).exists():  # a refused question must not keep the directory
        rundir.claim(out_dir / "run.json", specs)
    if (out_dir / "advice.json").exists():
        told = files.read_json(out_dir / "advice.json")
        page.write(told, out_dir)
        return told
    if not spec.donor:
        raise InputError(
            "--donor is not given: which model's parameters may be reused?"
        )
    donors = [provenance.examine(path, data_spec) for path in spec.donor]
    from tfreuse.advisor import bench  # imports TensorFlow

    report(0, 1, "reading the images, building the networks")
    held = bench.Bench(spec, data_spec, model_spec)
    rundir.claim(out_dir / "run.json", specs)
    made = _schedule(held, out_dir, report)
    reused = store.done(out_dir / "folds")
    folds = held.folds(made.folds)
    choice = _search(held, made, folds, out_dir, report)
    told = _tell(held, made, choice, folds, donors, model_spec)
    _hand_over(held, made, choice, told, specs, out_dir, report)
    told["minutes"] = (time.monotonic() - started) / 60
    told["reused"] = reused
    told["commands"] = [
        f"python tools/advise.py --plan={out_dir / 'plan.json'} --out_dir={out_dir / 'again'}",
        f"python tools/advise.py --flagfile={out_dir / 'config.flags'}",
    ]
    files.write_json(out_dir / "advice.json", told)
    page.write(told, out_dir)
    return told


def repeat(
    plan: planfile.PlanFile,
    out_dir: pathlib.Path,
    *,
    report: Report = lambda done, most, text: None,
) -> None:
    """Carries the plan out again: writes model.keras and savedmodel/ to `out_dir`.

    Raises:
        InputError: donor or images are not those that the plan was made with.
    """
    planfile.check_files(plan)
    from tfreuse.advisor import bench

    report(0, 1, "reading the images, building the networks")
    held = bench.Bench(plan.advice, plan.data, plan.model)
    planfile.check_images(plan, held.digest())
    _train(held, plan.name, plan.steps, out_dir, plan.about, report)


def unseal(out_dir: pathlib.Path) -> dict[str, Any]:
    """Measures the advised model on the test split, once.

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

    found = seal.open_once(out_dir, plan.name, measure)
    told = files.read_json(out_dir / "advice.json")
    told["unsealed"] = {name: found[name] for name in ("mean_iou", "images")}
    files.write_json(out_dir / "advice.json", told)
    page.write(told, out_dir)
    return found


def _schedule(held, out_dir: pathlib.Path, report: Report) -> schedule.Schedule:
    """What fits into the time; decided once for a directory, with the files it is of."""
    path = out_dir / "schedule.json"
    of = {"sha256": planfile.digests(held.spec), "images": held.digest()}
    if path.exists():
        told = files.read_json(path)
        if told["of"] != of:
            raise InputError(
                f"{out_dir} holds a search with another donor or other images (their SHA-256 "
                "differ). Choose another --out_dir."
            )
        return schedule.Schedule.from_json(told["schedule"])
    report(0, 1, "measuring how long a step takes")
    costs = {name: plan.cost for name, plan in held.plans.items()}
    most = len(held.groups) or held.labelled.size
    pace = held.pace()
    folds = min(held.spec.folds, most)
    made = schedule.make(pace, held.spec.budget, costs, folds, held.spec.steps)
    told = {"schedule": made.to_json(), "pace": vars(pace), "of": of}
    files.write_json(path, told)
    return made


def _search(held, made, folds, out_dir: pathlib.Path, report: Report):
    """Runs the selection with trainings that are kept."""
    at = [0, 1, ""]

    def began(done: int, most: int, text: str) -> None:
        at[:] = done, most + 2, text
        report(*at)

    def step(number: int, _: str) -> None:
        report(at[0] + number / made.steps, at[1], at[2])

    def score(name, train, test, repeat):
        return held.score(name, train, test, repeat, made.steps, step)

    search = selection.Search(
        [selection.Candidate(name, held.plans[name].cost) for name in made.plans],
        "scratch",
        folds,
        held.units,
    )
    return search.run(store.keeping(score, out_dir / "folds"), began)


def _tell(held, made, choice, folds, donors, model_spec: ModelSpec) -> dict[str, Any]:
    """What `advice.json` holds, but for the time it took."""
    from tfreuse.few_labels import subsets

    beware = flags.find(
        held.histogram(), folds, held.units, [name for name, _ in choice.chosen]
    )
    if not held.groups:
        beware |= flags.grouping(held.ids, subsets.by_prefix(held.ids))
    if not all(one.known for one in donors):
        beware["donor of unknown origin"] = (
            "it may have been trained on the test images, or on these ones."
        )
    seen = provenance.hashes(held.data_spec, "test").keys()
    twins = seen & provenance.hashes(held.data_spec, "train").keys()
    if twins:
        beware["test images among the training images"] = (
            f"{len(twins)} files are the same."
        )
    if held.overlap:
        beware["few images without labels"] = (
            "statistics were re-estimated on the labelled images too, those of the held-out "
            "folds among them (without their labels)."
        )
    return {
        "choice": choice.to_json(),
        "schedule": made.to_json() | {"text": made.describe()},
        "plans": {
            name: {"describe": plan.recipe.describe(), "cost": plan.cost}
            for name, plan in held.plans.items()
        },
        "unfit": held.unfit,
        "flags": beware,
        "donors": [one.path for one in donors],
        "provenance": [f"The donor {one.path} was {one.told}" for one in donors],
        "model": model_spec.to_json(),
        "data": {
            "labelled": held.labelled.size,
            "classes": held.labelled.num_classes,
            "outer": held.labelled.size - round(held.labelled.size / made.folds),
            "unlabelled": len(held.unlabelled),
            "overlap": held.overlap,
            "groups": list(held.groups),
        },
        "versions": rundir.versions(),
    }


def _hand_over(held, made, choice, told, specs, out_dir, report: Report) -> None:
    """Writes the model, the SavedModel and the plan."""
    about = {
        "promise": told["choice"]["promise"],
        "abstains": choice.abstains,
        "default": choice.default,
        "versions": told["versions"],
    }
    _train(held, choice.plan, made.steps, out_dir, about, report, choice.trainings)
    plan = planfile.PlanFile(
        name=choice.plan,
        recipe=planfile.recipe_fields(choice.plan),
        steps=made.steps,
        sha256=planfile.digests(held.spec),
        images=held.digest(),
        labelled=held.ids,
        advice=held.spec,
        data=held.data_spec,
        model=specs["model"],
        about=about,
    )
    planfile.write(out_dir / "plan.json", plan)


def _train(
    held,
    name: str,
    steps: int,
    out_dir: pathlib.Path,
    about: dict,
    report: Report,
    done: int = 0,
) -> None:
    """Trains on all labelled images and writes the model; `done` trainings came before."""
    from tfreuse import export
    from tfreuse.models import saving

    def step(number: int, _: str) -> None:
        report(done + number / steps, done + 2, f"{name}, on all labelled images")

    model = held.fit(name, steps, step)
    saving.save(model, out_dir / "model.keras")
    report(done + 1, done + 2, "writing and checking the SavedModel")
    export.export(
        model,
        out_dir / "savedmodel",
        overwrite=True,
        class_names=held.labelled.class_names,
        notes={"plan": name} | about,
        task="segmentation",
    )
