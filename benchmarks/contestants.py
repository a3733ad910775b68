"""Ways to move parameters, each written as its documentation advises.

A contestant names the modules it imports (timed separately), prepares a call (not timed: files
exist, live models are built), and makes the call (timed). A written file is flushed to the disk,
as by tfreuse, and inputs are in the page cache at the start.
"""

import contextlib
import dataclasses
import io
import os
import shutil
import subprocess
from collections.abc import Callable

from benchmarks import case as case_module
from benchmarks.case import Case
from tfreuse import files

STATS, ALL, LOAD, LIVE = "stats", "all", "load", "live"
TASKS = {
    STATS: "file -> file, batch normalization statistics only",
    ALL: "file -> file, everything",
    LOAD: "file -> live model, everything",
    LIVE: "live model -> live model, everything",
}
KERAS, WEIGHTS = ".keras", ".weights.h5"
Prepare = Callable[[Case], Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A way to move parameters; `out` is its file's suffix, "" a live model, None a roofline."""

    task: str
    name: str
    prepare: Prepare
    imports: tuple[str, ...] = ()
    out: str | None = ""


ENTRIES: list[Contestant] = []


def contestant(*tasks: str, name: str, imports: tuple[str, ...] = (), **options):
    """Registers a function of task and case for each of the tasks."""

    def enter(function):
        for task in tasks:
            entry = Contestant(
                task, name, lambda c, t=task: function(t, c), imports, **options
            )
            ENTRIES.append(entry)
        return function

    return enter


def find(task: str, name: str) -> Contestant:
    return next(entry for entry in ENTRIES if (entry.task, entry.name) == (task, name))


def _roles(task: str) -> str:
    return "stats" if task == STATS else "all"


def _move(task: str, case: Case, suffix: str):
    from tfreuse import transplant

    donor, recipient = case.file("donor", suffix), case.file("recipient", suffix)

    def work():
        # as tools/transplant.py apply does
        with transplant.opened(donor, recipient) as pair:
            pair.apply(pair.plan(roles=_roles(task)), case.out(suffix))

    return work


@contestant(STATS, ALL, name="tfreuse", imports=("tfreuse.transplant",), out=KERAS)
def tfreuse_keras(task, case):
    return _move(task, case, KERAS)


@contestant(
    STATS,
    ALL,
    name="tfreuse, .weights.h5",
    imports=("tfreuse.transplant", "h5py"),  # it writes provenance there
    out=WEIGHTS,
)
def tfreuse_weights(task, case):
    return _move(task, case, WEIGHTS)


@contestant(
    STATS,
    ALL,
    name="tfreuse, no checksums",
    imports=("tfreuse.plan", "tfreuse.checkpoints"),
    out=KERAS,
)
def tfreuse_write(task, case):
    from tfreuse import checkpoints, plan

    def work():
        recipient_path = case.file("recipient")
        with (
            checkpoints.open(case.file("donor")) as donor,
            checkpoints.open(recipient_path) as recipient,
        ):
            selection = plan.make(
                donor.variables, recipient.variables, roles=_roles(task)
            )
            values = {e.recipient.path: (donor, e.donor) for e in selection.copies}
            checkpoints.write(recipient_path, case.out(), values, {}, crc=False)

    return work


@contestant(
    STATS,
    ALL,
    name="load_model x2, set_weights, save",
    imports=("keras", "tfreuse.models"),
    out=KERAS,
)
def load_model(task, case):
    import keras

    def work():
        donor = keras.models.load_model(case.file("donor"))
        recipient = keras.models.load_model(case.file("recipient"))
        if task == ALL:
            recipient.set_weights(donor.get_weights())
        else:
            for layer in recipient.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    new = donor.get_layer(layer.name).get_weights()
                    old = layer.get_weights()
                    layer.set_weights([*old[:2], *new[2:]])
        recipient.save(case.out())
        files.sync(case.out())

    return work


@contestant(STATS, ALL, name="KerasFileEditor", imports=("keras",), out=WEIGHTS)
def file_editor(task, case):
    import keras

    def put(old: dict, new: dict, path: str) -> None:
        for key, value in old.items():
            if isinstance(value, dict):
                put(value, new[key], f"{path}/{key}")
            elif task == ALL or case_module.is_statistic(f"{path}/vars/{key}"):
                old[key] = new[key]

    def work():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it opens
            donor = keras.saving.KerasFileEditor(str(case.file("donor", WEIGHTS)))
            editor = keras.saving.KerasFileEditor(str(case.file("recipient", WEIGHTS)))
            put(editor.weights_dict, donor.weights_dict, "")
            editor.save(str(case.out(WEIGHTS)))
        files.sync(case.out(WEIGHTS))

    return work


@contestant(STATS, ALL, name="h5py r+ on a copy", imports=("h5py",), out=WEIGHTS)
def h5py_copy(task, case):
    import h5py

    def work():
        shutil.copyfile(case.file("recipient", WEIGHTS), case.out(WEIGHTS))
        with (
            h5py.File(case.file("donor", WEIGHTS), "r") as donor,
            h5py.File(case.out(WEIGHTS), "r+") as out,
        ):

            def visit(name, item):
                if isinstance(item, h5py.Dataset) and (
                    task == ALL or case_module.is_statistic(name)
                ):
                    item[...] = donor[name][()]

            out.visititems(visit)
        files.sync(case.out(WEIGHTS))

    return work


@contestant(STATS, ALL, name="cp (roofline)", out=None)
def copy(task, case):
    def work():
        subprocess.run(["cp", case.file("recipient"), case.out()], check=True)
        files.sync(case.out())

    return work


@contestant(
    LOAD, name="tfreuse, .keras", imports=("keras", "tfreuse.transplant.loading")
)
def tfreuse_load(task, case):
    return _load(case, KERAS)


@contestant(
    LOAD, name="tfreuse, .weights.h5", imports=("keras", "tfreuse.transplant.loading")
)
def tfreuse_load_weights(task, case):
    return _load(case, WEIGHTS)


def _load(case: Case, suffix: str):
    from tfreuse.transplant import loading

    recipient = _live("recipient", case)

    def work():
        loading.load(case.file("donor", suffix), recipient)
        return recipient

    return work


@contestant(LOAD, name="load_weights, .weights.h5", imports=("keras", "tfreuse.models"))
def load_weights(task, case):
    return _load_weights(case, WEIGHTS)


@contestant(LOAD, name="load_weights, .keras", imports=("keras", "tfreuse.models"))
def load_weights_keras(task, case):
    return _load_weights(case, KERAS)


def _load_weights(case: Case, suffix: str):
    recipient = _live("recipient", case)

    def work():
        recipient.load_weights(case.file("donor", suffix))
        return recipient

    return work


@contestant(LOAD, name="preadv, np.copyto (roofline)", imports=("numpy",), out=None)
def read_and_copy(task, case):
    import numpy as np

    size = case.file("donor", WEIGHTS).stat().st_size
    variable, read = np.ones(size, np.uint8), np.ones(size, np.uint8)

    def work():
        descriptor = os.open(case.file("donor", WEIGHTS), os.O_RDONLY)
        done = 0
        while done < size:
            done += os.preadv(descriptor, [memoryview(read)[done:]], done)
        os.close(descriptor)
        np.copyto(variable, read)

    return work


@contestant(
    LIVE,
    name="tfreuse, plan and apply",
    imports=("keras", "tfreuse.transplant.loading"),
)
def tfreuse_live(task, case):
    from tfreuse import transplant

    donor, recipient = _live("donor", case), _live("recipient", case)

    def work():
        transplant.apply(transplant.plan(donor, recipient), donor, recipient)
        return recipient

    return work


@contestant(
    LIVE, name="tfreuse, apply", imports=("keras", "tfreuse.transplant.loading")
)
def tfreuse_apply(task, case):
    from tfreuse import transplant

    donor, recipient = _live("donor", case), _live("recipient", case)
    plan = transplant.plan(donor, recipient)

    def work():
        transplant.apply(plan, donor, recipient)
        return recipient

    return work


@contestant(
    LIVE, name="tfreuse, apply again", imports=("keras", "tfreuse.transplant.loading")
)
def tfreuse_apply_again(task, case):
    from tfreuse import transplant

    donor, recipient = _live("donor", case), _live("recipient", case)
    plan = transplant.plan(donor, recipient)
    # TensorFlow compiles a kernel for each new shape once per process.
    transplant.undo(transplant.apply(plan, donor, recipient), recipient)

    def work():
        transplant.apply(plan, donor, recipient)
        return recipient

    return work


@contestant(
    LIVE, name="set_weights(get_weights())", imports=("keras", "tfreuse.models")
)
def set_weights(task, case):
    donor, recipient = _live("donor", case), _live("recipient", case)

    def work():
        recipient.set_weights(donor.get_weights())
        return recipient

    return work


@contestant(LIVE, name="one compiled tf.function", imports=("keras", "tfreuse.models"))
def compiled(task, case):
    import tensorflow as tf

    donor, recipient = _live("donor", case), _live("recipient", case)

    @tf.function
    def assign():
        for old, new in zip(recipient.weights, donor.weights, strict=True):
            old.value.assign(new.value)

    assign.get_concrete_function()  # tracing takes a second or more; it is not timed

    def work():
        assign()
        return recipient

    return work


@contestant(LIVE, name="np.copyto (roofline)", imports=("numpy",), out=None)
def memcpy(task, case):
    import numpy as np

    count = case.facts["parameters"]
    old, new = np.zeros(count, np.float32), np.ones(count, np.float32)
    old[:] = 2  # allocates its pages before the clock starts

    def work():
        np.copyto(old, new)

    return work


def _live(side: str, case: Case):
    model = case_module.build(case.model)
    case_module.scramble(model, ("donor", "recipient").index(side))
    return model
