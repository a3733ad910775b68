"""Measures how fast parameters move, beside other ways to move them and the machine's limits.

  python tools/benchmark.py transplant --out_dir=runs/benchmark

transplant  file -> file, file -> live model, live -> live: tfreuse, Keras, h5py, cp, memcpy

Every run is a fresh process whose result is checked before its time counts. Writes
OUT_DIR/benchmark.json and OUT_DIR/benchmark.md, if --out_dir is given.
"""

import dataclasses
import pathlib
import sys
import tempfile

from absl import flags

from tfreuse import files
from tfreuse.benchmarks import case, rounds, table
from tfreuse.cli import app

VERBS = ("transplant",)


def define_flags() -> None:
    flags.DEFINE_list(
        "models",
        [case.UNET],
        "unet (31 M parameters), pspnet (ResNet-50), large (124 M), tiny",
    )
    flags.DEFINE_boolean("large", False, "also the model of 500 MB; needs 4 GB of disk")
    flags.DEFINE_integer("runs", 5, "runs of each contestant", lower_bound=1)
    flags.DEFINE_float("minutes", 5, "no round starts after this", lower_bound=0)
    flags.DEFINE_float("timeout", 60, "seconds after which a run is given up")
    flags.DEFINE_string("out_dir", "", "directory for benchmark.json and benchmark.md")
    flags.DEFINE_string(
        "work_dir", "", "where the model files go meanwhile; the system's if left out"
    )


def main(verb: str) -> None:
    values = app.FLAGS
    models = [*values.models, *([case.LARGE] if values.large else [])]
    settings = rounds.Settings(
        tuple(dict.fromkeys(models)), values.runs, values.minutes, values.timeout
    )
    out_dir = app.out_dir() if values.out_dir else None
    with tempfile.TemporaryDirectory(dir=values.work_dir or None) as folder:
        folder = pathlib.Path(folder)
        runs = rounds.run(settings, folder)
        abouts = {name: case.Case(name, folder).about for name in settings.models}
    found = table.rows(runs)
    promised = table.targets(found, {n: a["largest"] for n, a in abouts.items()})
    print(table.text(found))
    print(table.verdicts(promised))
    if out_dir is not None:
        value = {
            "machine": table.machine(),
            "settings": dataclasses.asdict(settings),
            "rows": [dataclasses.asdict(row) for row in found],
            "promises": [dataclasses.asdict(t) | {"met": t.met} for t in promised],
            "runs": runs,
        }
        files.write_json(out_dir / "benchmark.json", value)
        files.write_text(out_dir / "benchmark.md", table.markdown(found, promised))
        print(f"\n{out_dir / 'benchmark.md'}, {out_dir / 'benchmark.json'}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
