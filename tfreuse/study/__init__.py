"""A study: measures which parameters can be reused, arm by arm over seeds.

    failed = study.run(study.Specs(...), out_dir)

A study is a list of units of work (`work.plan`): train a network, measure a recipient's block of
arms, measure a replicate's label curves. A runner carries them out, on this machine or on many
(`tfreuse.runners`); the driver gathers their records. Units done in an earlier run are not done
again, whichever runner it had. TensorFlow is not imported before a unit runs.

The way of an arm:

    design      the networks of a study, their seeds, and the blocks of arms
    treatments  the arms of a recipient: sites, groups, controls, repairs
    recipient   a recipient in memory; donors, controls: the values it can receive
    workspace   all that is kept between arms
    measuring   plan -> transplant -> repair -> measure -> record; repairs, distances: its parts

`driver`, `work`, `board` run the units, `labels` measures label curves, `gallery` and `finish`
serve the report and the export, `outcome` lists the reusable groups, `cost` forecasts.
"""

import pathlib

from tfreuse import runners, runtime
from tfreuse.runners import RunnerSpec
from tfreuse.study.design import Block, Curve, Specs
from tfreuse.study.driver import LOCAL, collect, run, run_one
from tfreuse.study.work import plan

__all__ = ["Block", "Curve", "Specs", "collect", "forecast", "plan", "run", "run_one"]


def forecast(specs: Specs, runner_spec: RunnerSpec = LOCAL) -> str:
    """Forecasts the study's time and disk space; builds and times the networks, no more.

    Raises:
        InputError: the study would be refused; see `checks.check`.
    """
    units = plan(specs, pathlib.Path())
    jobs = runner_spec.jobs or runners.default_jobs(len(units))
    runtime.start(runners.threads(runner_spec, jobs), specs.train.deterministic)
    from tfreuse.study import checks, cost  # `cost` imports TensorFlow

    checks.check_here(specs)
    return cost.describe(specs, jobs)
