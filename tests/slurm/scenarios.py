"""What a cluster does to jobs, and what their user sees: each function is a row of docs/slurm-scenarios.md.

The first line of a function's docstring says what was done. The function returns what the user saw, and raises if that
or the files on disk afterwards are not as they must be.
"""

import time
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster, call, until
from desk import LONG, LONGER, Desk, kill, power_cut, processes, resumed, same_as_undisturbed, small


def array_of_four(folder: Path, cluster: Cluster) -> str:
    """Four runs in one command, which ends at once."""
    desk = Desk(folder, *small(), "seed=0,1,2,3")
    desk.type("+launcher.extra.hold=true")
    assert desk.submissions == 1
    job = desk.job()
    assert job
    call("scontrol", "release", job.id.partition("_")[0])
    desk.done()
    return f"`{desk.line('^submitted')}`; four records, later"


def a_job_raises(folder: Path, cluster: Cluster) -> str:
    """One of two runs meets an error: a file stands where its folder should be."""
    desk = Desk(folder, *small(), "seed=0,1")
    blocked = desk.runs[0].stage_runs[0].folder
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    desk.type()
    until(lambda: desk.states == ["failed", "done"], "one failed, the other done", 120)
    assert desk.accounts() == "FAILED", f"SLURM says {desk.accounts()}"
    desk.type(status=1)
    saw = desk.line("retry=true")
    blocked.unlink()
    desk.type("retry=true")
    desk.done()
    return f"SLURM: FAILED; `{saw}`; mended and retried: done"


def a_process_vanishes(folder: Path, cluster: Cluster) -> str:
    """kill -9 of a job's Python while it trains, as os._exit or a lack of memory would end it."""
    return _ended(folder, lambda job: kill(processes(job, rank=0)), "FAILED")


def scancel(folder: Path, cluster: Cluster) -> str:
    """scancel of a job while it trains."""
    return _ended(folder, lambda job: call("scancel", job), "CANCELLED")


def _ended(folder: Path, end: Callable[[str], object], state: str) -> str:
    """End a job while it trains, check the state that SLURM reports, then type the command again."""
    desk = Desk(folder, *small(LONG))
    desk.type()
    end(desk.training().id)
    desk.gone()
    until(lambda: desk.states == ["interrupted"], "the process has ended too", 60)
    ended = desk.accounts()
    assert ended == state, f"SLURM says {ended}"
    desk.type()
    resumed(desk.done())
    same_as_undisturbed(desk)
    return f"SLURM: {state}; state interrupted; the same command went on from the checkpoint: done, the same record"


def out_of_time(folder: Path, cluster: Cluster) -> str:
    """A time limit of one minute, for a run that needs more; raised when it was met once."""
    desk = Desk(folder, *small(LONGER))
    desk.type("launcher.minutes=1", "launcher.signal_seconds=5")
    job = desk.training()
    until(lambda: "Requeued job" in desk.log() and desk.waits(), "the job waits again", 180)
    call("scontrol", "update", f"jobid={job.id}", "timelimit=20")
    resumed(desk.done(600))
    assert desk.submissions == 1
    return "nothing: told beforehand, the job saved, queued itself again and went on until it was done"


def preemption(folder: Path, cluster: Cluster) -> str:
    """A job of a higher partition takes the node."""
    desk = Desk(folder, *small(LONG))
    desk.type("+launcher.extra.nodelist=n4")
    job = desk.training()
    call("sbatch", "-p", "high", "-w", "n4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5")
    until(desk.waits, "the job waits again", 60)
    desk.type()
    saw = desk.line("not submitted")
    resumed(desk.done())
    assert desk.submissions == 1, f"{job.id} was submitted twice"
    same_as_undisturbed(desk)
    return f"the same command meanwhile: `{saw}`; then it went on from the checkpoint: done, the same record"


def node_down_and_back(folder: Path, cluster: Cluster) -> str:
    """The node of a job loses its power, and comes back."""
    desk = Desk(folder, *small(LONG))
    desk.type("+launcher.extra.nodelist=n3")
    desk.training()
    power_cut(cluster, "n3")
    until(desk.waits, "the job waits again", 60)
    desk.type()
    saw = desk.line("not submitted")
    cluster.node("n3")
    resumed(desk.done())
    assert desk.submissions == 1
    same_as_undisturbed(desk)
    return f"the same command meanwhile: `{saw}`; then it went on from the checkpoint: done, the same record"


def second_of_two_fails(folder: Path, cluster: Cluster) -> str:
    """kill -9 of the second of a run's two processes."""
    desk = Desk(folder, *small(LONG))
    desk.type("launcher.processes=2")
    victims = processes(desk.training().id, rank=1)
    assert victims, "the run has no second process"
    begun = time.monotonic()
    kill(victims)
    desk.gone()
    seconds = time.monotonic() - begun
    assert seconds < 60, f"the first process lived on for {seconds:.0f} s"
    assert desk.accounts() == "FAILED"
    until(lambda: desk.states == ["interrupted"], "the process has ended too", 60)
    desk.type("launcher.processes=2")
    resumed(desk.done())
    return f"SLURM: FAILED, {seconds:.0f} s later; state interrupted; the same command went on: done"


def two_nodes(folder: Path, cluster: Cluster) -> str:
    """A run of two processes, one on each of two nodes."""
    desk = Desk(folder, *small())
    desk.type("launcher.nodes=2", "launcher.processes=1")
    (found,) = desk.done()
    assert found.cost and found.cost.stages[0].processes == 2, found.cost
    return "one record, of two processes"
