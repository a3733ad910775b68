"""Moves parameters between model files by role and layer: strict, undoable, no model built.

  python tools/transplant.py plan --donor=A.keras --recipient=B.keras --roles=stats \\
      --layers='encoder_*,!encoder_1_*'
  python tools/transplant.py apply --donor=A.keras --recipient=B.keras --roles=stats \\
      --layers='encoder_*,!encoder_1_*' --out=C.keras

plan    shows the moves; writes nothing but --plan=FILE (or --out=FILE)
apply   writes OUT: the recipient with these variables of the donor; OUT.undo; and
        OUT.run.json, how the recipient was trained, where its run.json says it
verify  proves that OUT is the recipient with exactly these variables of the donor
diff    how far donor and recipient are apart, by stage and role
info    lists the content of --model=FILE, and arrays that cannot be moved or trusted
undo    turns OUT back into its recipient, byte for byte; removes OUT.undo and OUT.run.json.
        The recipient must be as it was (elsewhere: --recipient), or apply ran with --undo=copy
check   compares the statistics that --model=FILE holds with those that --images=GLOB cause

A donor may be hf://ORG/NAME, a model in the Hub's cache; --download gets it first.
Exit status 0: everything that was selected was accounted for.
"""

import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from tfreuse import plan as plan_module
from tfreuse import rundir, runtime, transplant
from tfreuse.checkpoints import tf_checkpoint
from tfreuse.cli import app, checking, transplant_flags
from tfreuse.errors import InputError, printable
from tfreuse.plan import adapters as plan_adapters
from tfreuse.plan import channels as plan_channels
from tfreuse.plan.table import bytes_of
from tfreuse.transplant import comparison

VERBS = ("plan", "apply", "verify", "diff", "info", "undo", "check")


def define_flags() -> None:
    transplant_flags.define_flags(__name__ if __name__ != "__main__" else sys.argv[0])


def main(verb: str) -> int | None:
    transplant_flags.refuse_others(verb)
    paths = (app.FLAGS.donor, app.FLAGS.recipient, app.FLAGS.model)
    if app.FLAGS.download:
        from tfreuse.data import downloads  # imports NumPy, and seldom wanted

        downloads.fetch_weights(paths)
    if any(path and tf_checkpoint.prefix(path) for path in paths):
        runtime.start()  # reads TensorFlow checkpoints, and mutes its log
    verbs = {
        "plan": _plan,
        "apply": _apply,
        "verify": _verify,
        "diff": _diff,
        "info": _info,
        "undo": _undo,
        "check": lambda: checking.main(_required("model")),
    }
    return verbs[verb]()


def _plan() -> None:
    donor, recipient = _required("donor"), _required("recipient")
    path = _plan_file()
    plan = transplant.plan(donor, recipient, **_options())
    if app.FLAGS.json:
        problems = len(plan.problems)
        _print({"plan": plan.to_json(), "problems": problems})
    else:
        print(plan.table())
    plan.check()
    if path and not app.FLAGS.dry_run:
        transplant.save(plan, path, donor, recipient)
    if path and not app.FLAGS.json:
        tail = " (dry run: not written)" if app.FLAGS.dry_run else ""
        print(f"plan: {printable(path)}{tail}")


def _apply() -> None:
    donor, recipient, out = _required("donor"), _required("recipient"), _required("out")
    options = {
        name: getattr(app.FLAGS, name)
        for name in ("overwrite", "crc", "undo", "dry_run")
    }
    with transplant.opened(donor, recipient) as pair:
        pair.check_out(out, app.FLAGS.overwrite)
        with _copying_settings(recipient, out) as settings:
            plan = _read_plan(donor, recipient, pair.plan)
            if not app.FLAGS.json:
                print(plan.table())
            done = pair.apply(plan, out, **options)
    if app.FLAGS.json:
        written = done.written and vars(done.written)
        values = {"plan": plan.hash, "written": written, "notes": done.notes}
        _print(values | {"settings": settings and str(settings)})
        return
    for note in done.notes:
        print(f"note: {note}")
    print("\n".join(_applied(done, donor, recipient)))
    if settings:
        print(
            f"{printable(settings)}: how {printable(recipient)} was trained, for evaluate and "
            "export"
        )


@contextlib.contextmanager
def _copying_settings(recipient: str, out: str) -> Iterator[pathlib.Path | None]:
    """Copies the recipient's training settings to OUT.run.json if the block writes OUT.

    Yields the path of the copy; None where there are no settings, or in a dry run.
    """
    if app.FLAGS.dry_run:
        yield None
        return
    source = rundir.settings_file(recipient) if app.trained(recipient) else None
    copying = rundir.copying_settings(source, out, overwrite=app.FLAGS.overwrite)
    with copying as target:
        yield source and target


def _applied(done: transplant.Applied, donor: str, recipient: str) -> list[str]:
    if done.written is None:
        return ["dry run: all checks passed, nothing was written"]
    written = done.written
    undo = pathlib.Path(written.undo_path)
    names = _short_names(written.checked)
    checked = ", ".join(
        f"{printable(name)} {how}"
        for name, how in zip(names, written.checked.values(), strict=True)
    )
    same = sum(entry.status == plan_module.SAME for entry in done.plan.copies)
    size = bytes_of(sum(entry.bytes for entry in done.plan.copies))
    part = "the chosen channels of " if done.plan.channels else ""
    adapters = ", ".join(plan_adapters.texts(done.plan.adapters))
    adapted = f", by {printable(adapters, 60)}" if adapters else ""
    outcome = (
        f"{printable(written.path)}: {part}{written.variables} variables, {size}, are "
        f"{printable(donor)}'s{adapted} ({same} were equal already); all else is "
        f"{printable(recipient)}'s"
    )
    displaced = (
        f"{printable(undo)}: {bytes_of(undo.stat().st_size)}; "
        f"{app.undo_reach(written.path, recipient)}"
    )
    return [outcome, displaced, f"checked: {checked}"]


def _short_names(paths: Iterable[str]) -> list[str]:
    """Returns the ends of paths, with as many folders as make them different."""
    parts = [pathlib.Path(path).parts for path in paths]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = [str(pathlib.Path(*part[-count:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _verify() -> None:
    donor, recipient, out = _required("donor"), _required("recipient"), _required("out")
    plan = _read_plan(donor, recipient, partial(transplant.plan, donor, recipient))
    proof = transplant.verify(plan, donor, recipient, out)
    if app.FLAGS.json:
        _print(proof.to_json())
    proof.check()
    if not app.FLAGS.json:
        stated = {plan.hash: "this plan", None: "no plan"}.get(
            proof.plan, "another plan"
        )
        part = ""
        if proof.channels:
            part = f"output channels {plan_channels.summary(proof.channels)}, in "
        print(
            f"{printable(out)} is {printable(recipient)} with {part}{proof.moved} arrays of "
            f"{printable(donor)}; {proof.kept} others and all else are unchanged. It "
            f"names {stated}; checksum: {proof.checked}"
        )


def _diff() -> None:
    plan, rows = transplant.diff(
        _required("donor"), _required("recipient"), **_options()
    )
    if app.FLAGS.json:
        problems = [
            {"variable": str(e.variable), "status": e.status, "reason": e.reason}
            for e in plan.problems
        ]
        _print({"rows": [row.to_json() for row in rows], "problems": problems})
    else:
        print(comparison.table(rows))
    plan.check("compared")


def _info() -> None:
    facts = transplant.info(_required("model"))
    text = facts.pop("text")
    if app.FLAGS.json:
        _print(facts)
    else:
        print(text)


def _undo() -> None:
    out, dry_run = _required("out"), app.FLAGS.dry_run
    recipient = app.FLAGS.recipient or None
    checked = transplant.undo(out, recipient=recipient, dry_run=dry_run)
    if not dry_run:
        rundir.own_settings_file(out).unlink(missing_ok=True)
    if app.FLAGS.json:
        _print({"out": out, "checked": checked, "dry_run": dry_run})
        return
    verb = "would be" if dry_run else "is"
    print(f"{printable(out)} {verb} its recipient again, byte for byte ({checked})")


def _required(flag: str) -> str:
    value = app.FLAGS[flag].value
    if not value:
        raise InputError(f"--{flag} is not given: which file?")
    return value


def _options() -> dict:
    """Returns the flags that select and adapt, as arguments of `tfreuse.plan.make`."""
    values = app.FLAGS
    adapters = list(values.adapters)
    if values.alpha is not None:
        adapters.append(f"*=blend:{values.alpha}")
    return {
        "roles": tuple(values.roles),
        "layers": tuple(values.layers),
        "stages": tuple(values.stages),
        "depth": values.depth or None,
        "mapping": plan_module.read_mapping(values.map) if values.map else (),
        "allow_missing": tuple(values.allow_missing),
        "allow_unused": tuple(values.allow_unused),
        "adapters": tuple(adapters),
        "channels": plan_channels.read(values.channels) if values.channels else None,
    }


def _read_plan(donor: str, recipient: str, make: Callable) -> plan_module.Plan:
    """Reads the plan file, or makes a plan from the flags if there is none."""
    if not app.FLAGS.plan:
        return make(**_options()).check()
    selecting = transplant_flags.SELECTING
    superfluous = [name for name in selecting if app.FLAGS[name].present]
    if superfluous:
        raise InputError(
            f"--plan decides what moves; leave --{superfluous[0]} out, or make the plan again "
            "with it."
        )
    return transplant.load(app.FLAGS.plan, donor, recipient)


def _plan_file() -> str:
    """Returns the path of the plan to write, "" for none; refuses to replace a file."""
    path, out = app.FLAGS.plan, app.FLAGS.out
    if path and out and path != out:
        raise InputError("plan writes one file: give --plan=FILE or --out=FILE.")
    path = path or out
    if path and os.path.exists(path) and not app.FLAGS.overwrite:
        raise InputError(
            f"{printable(path)} exists already; choose another name, or replace it with "
            "--overwrite."
        )
    for model in (app.FLAGS.donor, app.FLAGS.recipient):
        exist = path and os.path.exists(path) and os.path.exists(model)
        if exist and os.path.samefile(path, model):
            raise InputError(f"the plan file {printable(path)} is an input.")
    return path


def _print(value) -> None:
    print(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=list))


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
