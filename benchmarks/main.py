"""Measures the speed of transplants and training, beside other tools, and the cost of records.

  python tools/benchmark.py transplant --out_dir=runs/benchmark
  python tools/benchmark.py records --out_dir=runs/benchmark_records
  python tools/benchmark.py training --out_dir=runs/benchmark_training
  python tools/benchmark.py training --device=gpu --out_dir=runs/benchmark_gpu
  python tools/benchmark.py startup --out_dir=runs/benchmark_startup
  python tools/benchmark.py sweep --out_dir=runs/benchmark_sweep
  python tools/benchmark.py growth --out_dir=runs/benchmark_growth
  python tools/benchmark.py units --runs=3 --out_dir=runs/benchmark_units
  python tools/benchmark.py kept --units=200 --out_dir=runs/benchmark_kept
  python tools/benchmark.py estimators --study_dir=runs/labels --labels=16
  python tools/benchmark.py formats --out_dir=runs/benchmark_formats
  python tools/benchmark.py reading --runs=20 --out_dir=runs/benchmark_reading
  python tools/benchmark.py check --images=streets='streets/*.jpg' --out_dir=runs/benchmark_check
  python tools/benchmark.py torch_donors --out_dir=runs/benchmark_torch_donors
  python tools/benchmark.py recalibration --out_dir=runs/benchmark_recalibration
  python tools/benchmark.py recovery --out_dir=runs/benchmark_recovery

transplant  file -> file, file -> live model, live -> live: tfreuse, Keras, h5py, cp, memcpy
records     a study's records: append, resume, read counts, report, TensorBoard
training    training and inference: plain Keras, tfreuse, PyTorch
startup     whole commands until they answer, and until the first step of a training
sweep       an arm of a study, layer by layer: load_model each, evaluate, tfreuse
growth      the cost of a sweep when images, layers, groups or seeds double, with a figure
units       overhead of a unit of work, here and on Ray, and the number a driver can handle
kept        memory of a worker that carries out many units, here and on Ray
estimators  training-free estimates compared with a study's label curves
formats     ONNX and LiteRT files of every family of encoders, compared with Keras
reading     a PyTorch state dict: torch.load, tfreuse; and until a plan of it is shown
check       which errors of a conversion `transplant check` finds, and its false alarms
torch_donors  weights of PyTorch's networks in Keras's, and what both compute
recalibration  statistics from images beside a bare forward pass, and memory at --many images
recovery    what 1 to 512 unlabelled images win back of corrupted images, with a figure

Every run is a fresh process whose output is checked before its time counts. Writes
OUT_DIR/benchmark.json and OUT_DIR/benchmark.md, if --out_dir is given.
"""

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from benchmarks import (
    case,
    growth,
    records,
    rounds,
    startup,
    sweeping,
    table,
    training,
    units,
)
from benchmarks.contestants import TASKS
from tfreuse import files
from tfreuse.cli import app
from tfreuse.errors import InputError

VERBS = (
    "transplant",
    "records",
    "training",
    "sweep",
    "startup",
    "growth",
    "units",
    "kept",
    "estimators",
    "formats",
    "reading",
    "check",
    "torch_donors",
    "recalibration",
    "recovery",
)


def define_flags() -> None:
    flags.DEFINE_list(
        "models",
        [case.UNET],
        "unet (31 M parameters), pspnet (ResNet-50), large (124 M), tiny; sweep: unet "
        "(width 16), pspnet (ResNet-50), quickstart (width 8), tiny",
    )
    flags.DEFINE_boolean("large", False, "also the model of 500 MB; needs 4 GB of disk")
    flags.DEFINE_integer("runs", 5, "runs of each contestant", lower_bound=1)
    app.define_number(
        "minutes",
        5.0,
        "no round starts after this; training, sweep, growth, units: 30",
        low=0,
        module=__name__,
    )
    flags.DEFINE_string(
        "former",
        "",
        "reading, transplant: another checkout, to compare the time of its plans and moves",
    )
    flags.DEFINE_list("tasks", list(TASKS), "transplant: what is measured")
    flags.DEFINE_list("contestants", ["*"], "transplant: patterns on their names")
    app.define_number(
        "timeout",
        60.0,
        "seconds after which a run is given up; training: 300, units, kept: 1800",
        low=0,
        module=__name__,
    )
    flags.DEFINE_list(
        "records",
        ["1000", "10000", "100000"],
        "records: numbers of records, one study each",
    )
    flags.DEFINE_enum(
        "device",
        "cpu",
        ["cpu", "gpu"],
        "training: gpu takes larger networks, in bfloat16, compiled",
    )
    flags.DEFINE_boolean(
        "tiny",
        False,
        "training: networks of a second, to test that all contestants run",
    )
    flags.DEFINE_integer(
        "cores",
        0,
        "training: processors for each; 1: speeds are of processor time; 0: all",
        lower_bound=0,
    )
    app.define_number(
        "peak_tflops",
        0.0,
        "training: peak of the GPU in bfloat16; 0: by its name",
        low=0,
        module=__name__,
    )
    flags.DEFINE_integer(
        "units",
        0,
        "units: of the simulated study, 0: none; default 100000; kept: of the study; default 200",
        lower_bound=0,
    )
    flags.DEFINE_string("study_dir", "", "estimators: a study with label curves")
    flags.DEFINE_integer("labels", 16, "estimators: number of labels; 0: all")
    flags.DEFINE_list("encoders", [], "formats: encoders; default: one of each family")
    flags.DEFINE_list("images", [], "check: NAME=GLOB,... of images like --data_dir's")
    flags.DEFINE_list("other_images", [], "check: NAME=GLOB,... of other photographs")
    flags.DEFINE_string(
        "data_dir", "", "check: folder data set on which two networks are trained"
    )
    flags.DEFINE_list(
        "donors", [], "torch_donors: such as torchvision.resnet50; default: all"
    )
    flags.DEFINE_integer(
        "many", 10_000, "recalibration: images whose memory is measured", lower_bound=0
    )
    flags.DEFINE_string("out_dir", "", "directory for benchmark.json and benchmark.md")
    flags.DEFINE_string(
        "work_dir", "", "directory of temporary model files; default: the system's"
    )


def main(verb: str) -> None:
    out_dir = app.out_dir() if app.FLAGS.out_dir else None
    with tempfile.TemporaryDirectory(dir=app.FLAGS.work_dir or None) as folder:
        measure = _MEASURES[verb]
        value, markdown = measure(pathlib.Path(folder))
    if out_dir is not None:
        value = {"machine": table.machine(), **value}
        files.write_json(out_dir / "benchmark.json", value)
        files.write_text(out_dir / "benchmark.md", markdown)
        print(f"\n{out_dir / 'benchmark.md'}, {out_dir / 'benchmark.json'}")


def _transplant(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    values = app.FLAGS
    models = [*values.models, *([case.LARGE] if values.large else [])]
    if unknown := {*values.tasks} - {*TASKS}:
        raise InputError(f"--tasks takes {', '.join(TASKS)}; got {min(unknown)!r}.")
    settings = rounds.Settings(
        tuple(dict.fromkeys(models)),
        values.runs,
        values.minutes,
        values.timeout,
        tuple(values.tasks),
        tuple(values.contestants),
        _former(),
    )
    runs = rounds.run(settings, folder)
    largest = {
        name: case.Case(name, folder).facts["largest"] for name in settings.models
    }
    rows = table.rows(runs)
    promised = table.targets(rows, largest)
    print(table.text(rows))
    print(table.verdicts(promised))
    value = {
        "settings": dataclasses.asdict(settings) | {"former": values.former},
        "rows": [dataclasses.asdict(row) for row in rows],
        "promises": _promises(promised),
        "runs": runs,
    }
    return value, table.markdown(rows, promised)


def _limits() -> dict[str, float]:
    """Returns the limits that flags set; the others have the defaults of each verb."""
    values = app.FLAGS
    return {name: values[name].value for name in _LIMITS if values[name].present}


def _records(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    words = app.FLAGS.records
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise InputError(
            f"--records takes whole numbers such as 1000,10000; got {','.join(words)!r}."
        )
    runs = records.run(sorted({int(word) for word in words}), folder)
    promised = records.targets(runs)
    markdown = records.markdown(runs, promised)
    print(markdown)
    return {"promises": _promises(promised), "runs": runs}, markdown


def _training(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    values = app.FLAGS
    limits = _limits()
    settings = training.Settings(
        device=values.device,
        runs=values.runs,
        tiny=values.tiny,
        peak_tflops=values.peak_tflops,
        cores=values.cores,
        seconds=0.2 if values.tiny else training.Settings.seconds,
        **limits,
    )
    if left_out := training.missing():
        print(left_out)
    runs = training.run(settings, folder)
    promised = training.targets(runs)
    markdown = training.markdown(runs, promised, settings)
    print(markdown)
    value = {"settings": dataclasses.asdict(settings), "runs": runs}
    return value | {"promises": _promises(promised)}, markdown


def _sweep(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    values = app.FLAGS
    limits = _limits()
    if values["models"].present:
        limits["models"] = tuple(values.models)
    settings = sweeping.Settings(runs=values.runs, **limits)
    runs = sweeping.run(settings, folder)
    promised = sweeping.targets(runs)
    markdown = sweeping.markdown(runs, promised)
    print(markdown)
    value = {"settings": dataclasses.asdict(settings), "runs": runs}
    return value | {"promises": _promises(promised)}, markdown


def _startup(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    runs = startup.run(app.FLAGS.runs, app.FLAGS.minutes, folder)
    promised = startup.targets(runs)
    markdown = startup.markdown(runs, promised)
    print(markdown)
    return {"promises": _promises(promised), "runs": runs}, markdown


def _growth(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    values = app.FLAGS
    limits = _limits()
    settings = growth.Settings(runs=values.runs, **limits)
    runs = growth.run(settings)
    markdown = growth.markdown(runs)
    print(markdown)
    if values.out_dir:
        growth.save_figure(runs, pathlib.Path(values.out_dir) / "growth.png")
    return {"settings": dataclasses.asdict(settings), "runs": runs}, markdown


def _units(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    values = app.FLAGS
    limits = _limits()
    if values["units"].present:
        limits["many"] = values.units
    settings = units.Settings(runs=values.runs, **limits)
    runs = units.run(settings)
    markdown = units.markdown(runs)
    print(markdown)
    return {"settings": dataclasses.asdict(settings), "runs": runs}, markdown


def _kept(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    from benchmarks import kept

    values, limits = app.FLAGS, _limits()
    limits.pop("minutes", None)
    if values["units"].present:
        limits["units"] = values.units
    settings = kept.Settings(**limits)
    runs = kept.run(settings)
    markdown = kept.markdown(runs)
    print(markdown)
    return {"settings": dataclasses.asdict(settings), "runs": runs}, markdown


def _estimators(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the comparison; returns it for benchmark.json and benchmark.md."""
    from tfreuse import runtime

    if not app.FLAGS.study_dir:
        raise InputError("--study_dir is not given; see --help.")
    runtime.start()
    from benchmarks import challenge

    study_dir = pathlib.Path(app.FLAGS.study_dir)
    comparison = challenge.run(study_dir, app.FLAGS.labels)
    markdown = challenge.markdown(comparison)
    print(markdown)
    rows = [dataclasses.asdict(row) for row in comparison["rows"]]
    return comparison | {"rows": rows}, markdown


def _formats(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the differences; returns them for benchmark.json and benchmark.md."""
    from tfreuse import runtime

    runtime.start()
    from benchmarks import formats

    rows = formats.run(app.FLAGS.encoders or formats.FAMILIES, folder)
    return {"rows": rows}, formats.markdown(rows)


def _check(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the table; returns it for benchmark.json and benchmark.md."""
    from tfreuse import runtime

    words = app.FLAGS.images, app.FLAGS.other_images
    if not words[0] or not all("=" in word for word in (*words[0], *words[1])):
        raise InputError(
            "--images and --other_images take NAME=GLOB,...: a domain each."
        )
    runtime.start()
    from benchmarks import check, check_power

    globs = (dict(word.split("=", 1) for word in part) for part in words)
    settings = check.Settings(*globs, app.FLAGS.data_dir)
    records = check.run(settings, pathlib.Path(app.FLAGS.out_dir or folder))
    summary = check_power.summary(records)
    markdown = check_power.markdown(summary)
    print(markdown)
    return {"settings": dataclasses.asdict(settings)} | summary, markdown


def _torch_donors(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the differences; returns them for benchmark.json and benchmark.md."""
    from tfreuse import runtime

    runtime.start()
    from benchmarks import torch_donors

    rows = torch_donors.run(app.FLAGS.donors, folder)
    return {"rows": rows}, torch_donors.markdown(rows)


def _recalibration(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    from benchmarks import recalibration

    settings = recalibration.Settings(runs=app.FLAGS.runs, many=app.FLAGS.many)
    runs = recalibration.run(settings)
    promised = recalibration.targets(runs)
    markdown = recalibration.markdown(runs, promised)
    print(markdown)
    value = {"settings": dataclasses.asdict(settings), "runs": runs}
    return value | {"promises": _promises(promised)}, markdown


def _recovery(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the table; returns it for benchmark.json and benchmark.md, with a figure."""
    from tfreuse import runtime

    runtime.start()
    from benchmarks import recovery

    out_dir = pathlib.Path(app.FLAGS.out_dir or folder)
    settings = recovery.Settings(seeds=app.FLAGS.runs)
    rows = recovery.run(settings, out_dir)
    recovery.save_figure(rows, out_dir / "recovery")
    markdown = recovery.markdown(rows)
    print(markdown)
    return {"settings": dataclasses.asdict(settings), "rows": rows}, markdown


def _reading(folder: pathlib.Path) -> tuple[dict, str]:
    """Prints the measurements; returns them for benchmark.json and benchmark.md."""
    from benchmarks import reading  # PyTorch is an extra

    settings = reading.Settings(
        runs=app.FLAGS.runs, minutes=app.FLAGS.minutes, former=_former()
    )
    runs = reading.run(settings, folder)
    promised = reading.targets(runs)
    markdown = reading.markdown(runs, promised)
    print(markdown)
    return {"promises": _promises(promised), "runs": runs}, markdown


def _former() -> pathlib.Path | None:
    return pathlib.Path(app.FLAGS.former).resolve() if app.FLAGS.former else None


_LIMITS = ("minutes", "timeout")
_MEASURES = {
    "transplant": _transplant,
    "records": _records,
    "training": _training,
    "sweep": _sweep,
    "startup": _startup,
    "growth": _growth,
    "units": _units,
    "kept": _kept,
    "estimators": _estimators,
    "formats": _formats,
    "reading": _reading,
    "check": _check,
    "torch_donors": _torch_donors,
    "recalibration": _recalibration,
    "recovery": _recovery,
}


def _promises(promised: Sequence[table.Target]) -> list[dict]:
    return [dataclasses.asdict(target) | {"met": target.met} for target in promised]


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
