"""The study: which parameters can be reused, measured arm by arm over seeds.

    failed = study.run(study.Specs(...), out_dir)

The study is a list of units of work (`work.plan`): a network to train, a recipient's block of arms
or a replicate's label curves to measure. A runner has them carried out, here or on many machines
(`tfreuse.runners`); the driver gathers their records. What is there from an earlier run is not
done again, whatever ran it. Nothing here imports TensorFlow before a unit runs.
"""

from tfreuse import runners, runtime
from tfreuse.runners import RunnerSpec
from tfreuse.study.design import Block, Curve, Specs
from tfreuse.study.driver import LOCAL, collect, run, run_one
from tfreuse.study.work import plan

__all__ = ["Block", "Curve", "Specs", "collect", "forecast", "plan", "run", "run_one"]


def forecast(specs: Specs, runner_spec: RunnerSpec = LOCAL) -> str:
    """What the study will cost in time and disk; builds and times the networks, no more."""
    units = len(specs.blocks()) + len(specs.curves())
    jobs = runner_spec.jobs or runners.default_jobs(units)
    runtime.start(runners.threads(runner_spec, jobs), specs.train.deterministic)
    from tfreuse.study import cost  # imports TensorFlow

    return cost.tell(specs, jobs)
