"""Choose the launcher that executes runs: in this process, in several of this machine, or on a cluster."""

from harness import tracking
from harness.core.distributed import join
from harness.core.errors import UserError, near
from harness.core.registry import make
from harness.launch.local import Local
from harness.launch.processes import Processes
from harness.launch.show import Show
from harness.launch.slurm import Slurm
from harness.runs.config import Config
from harness.runs.folder import OVER
from harness.runs.run import Run
from harness.tracking.outbox import Multirun, enqueue
from harness.tracking.store import enabled


def launch(runs: list[Run], show: Show) -> int:
    """Do the remaining work of the runs with their launcher; return 1 if a run failed, else 0."""
    chosen, world = launcher(runs[0].config), join()
    if world.size > 1 and not isinstance(chosen, Local):
        raise UserError("Under torchrun or srun, the processes that they start do the work: set launcher=local.")
    chosen.run(runs, world.on_main(lambda: _prepare_tracking(runs)), show)
    return world.on_main(lambda: int(any(run.state == "failed" for run in runs)))


def _prepare_tracking(runs: list[Run]) -> Multirun | None:
    """Prepare the tracking store, put runs that are over into the outbox, and return the runs' sweep."""
    if not enabled(runs[0].config):
        return None
    for run in {run.config.data["name"]: run for run in runs}.values():
        tracking.prepare(run.config)
    sweep = tracking.multirun(_title(runs), runs) if len(runs) > 1 else None
    for run in runs:
        if run.state in (*OVER, "failed"):
            enqueue(run, sweep)
    return sweep


LAUNCHERS = {"local": Local, "processes": Processes, "slurm": Slurm}
"""Launchers by the field `name` of the files in configs/launcher; several files may use the same launcher."""


def launcher(config: Config) -> Local | Processes | Slurm:
    """The launcher of a config, with what it changes for the method; UserError if its name or a field is wrong."""
    fields = dict(config.launcher)
    name = fields.pop("name")
    if name not in LAUNCHERS:
        raise UserError(f"There is no launcher called '{name}'. {near(name, LAUNCHERS)}")
    return Slurm.of(config) if name == "slurm" else make(LAUNCHERS[name], "launcher", fields)


def _title(runs: list[Run]) -> str:
    methods = dict.fromkeys(run.config.method["name"] for run in runs)
    return f"{', '.join(methods)} on {runs[0].config.data['name']}"
