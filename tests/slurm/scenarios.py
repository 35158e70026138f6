"""What a cluster does to jobs, and what their user sees: each function is a row of docs/slurm-scenarios.md.

The first line of a function's docstring says what was done. It returns what the user saw, and raises where that, or
what is on the disk afterwards, is not as it must be.
"""

import time
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster, call, until
from commandline import harness
from desk import LONG, LONGER, Desk, keepers, kill, processes, small

from harness import record
from harness.record import Record

Scenario = Callable[[Path, Cluster], str]


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
    blocked = desk.runs[0].trainings[0].folder
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
    desk = Desk(folder, *small(LONG))
    desk.type()
    kill(processes(desk.training().id, rank=0))
    desk.gone()
    assert desk.states == ["interrupted"], desk.states
    ended = desk.accounts()
    assert ended == "FAILED", f"SLURM says {ended}"
    desk.type()
    resumed(desk.done())
    same_as_undisturbed(desk)
    return "SLURM: FAILED; state interrupted; the same command went on from the checkpoint: done, the same record"


def scancel(folder: Path, cluster: Cluster) -> str:
    """scancel of a job while it trains."""
    desk = Desk(folder, *small(LONG))
    desk.type()
    call("scancel", desk.training().id)
    desk.gone()
    assert desk.states == ["interrupted"], desk.states
    ended = desk.accounts()
    assert ended == "CANCELLED", f"SLURM says {ended}"
    desk.type()
    resumed(desk.done())
    same_as_undisturbed(desk)
    return "SLURM: CANCELLED; state interrupted; the same command went on from the checkpoint: done, the same record"


def out_of_time(folder: Path, cluster: Cluster) -> str:
    """A time limit of one minute, for a run that needs more."""
    desk = Desk(folder, *small(LONGER))
    desk.type("launcher.minutes=1", "launcher.signal_seconds=5")
    resumed(desk.done(400))
    assert "Requeued job" in desk.log(), desk.log()
    assert desk.submissions == 1
    return "nothing: told beforehand, the job saved, queued itself again and went on until it was done"


def preemption(folder: Path, cluster: Cluster) -> str:
    """A job of a higher partition takes the node."""
    desk = Desk(folder, *small(LONG))
    desk.type("+launcher.extra.nodelist=n4")
    job = desk.training()
    call("sbatch", "-p", "high", "-w", "n4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5")
    until(lambda: (now := desk.job()) and now.state == "PENDING", "the job waits again", 60)
    desk.type()
    saw = desk.line("left alone")
    resumed(desk.done())
    assert desk.submissions == 1, f"{job.id} was submitted twice"
    same_as_undisturbed(desk)
    return f"the same command meanwhile: `{saw}`; then it went on from the checkpoint: done, the same record"


def node_down_and_back(folder: Path, cluster: Cluster) -> str:
    """The node of a job loses its power, and comes back."""
    desk = Desk(folder, *small(LONG))
    desk.type("+launcher.extra.nodelist=n3")
    job = desk.training()
    cluster.kill("n3")
    kill(keepers(job.id))
    kill(processes(job.id))
    call("scontrol", "update", "nodename=n3", "state=down", "reason=power")
    until(lambda: (now := desk.job()) and now.state == "PENDING", "the job waits again", 60)
    desk.type()
    saw = desk.line("left alone")
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
    assert desk.states == ["interrupted"], desk.states
    desk.type("launcher.processes=2")
    resumed(desk.done())
    return f"SLURM: FAILED, {seconds:.0f} s later; state interrupted; the same command went on: done"


def killed_while_submitting(folder: Path, cluster: Cluster) -> str:
    """kill -9 of the command just before sbatch, and once more just after; then it is typed again."""
    desk = Desk(folder, *small(), "seed=0,1")
    notes = [run.folder / "job.json" for run in desk.runs]
    before = desk.begin()
    until(lambda: notes[-1].exists(), "the jobs are noted", 60)
    before.kill()
    before.communicate()
    after = desk.begin()
    until(lambda: desk.job() or after.poll() is not None, "squeue shows the job", 60)
    after.kill()
    after.communicate()
    until(lambda: desk.job() is None, "no job is left", 200)
    desk.type(status=0)
    desk.done()
    return "two records, later; nobody had to tidy up"


def same_command_again(folder: Path, cluster: Cluster) -> str:
    """The same command while its run waits, while it runs, and when it is done."""
    desk = Desk(folder, *small(LONG))
    saw = []
    desk.type("+launcher.extra.hold=true")
    desk.type()
    saw.append(desk.line("left alone"))
    job = desk.job()
    assert job and job.state == "PENDING"
    call("scontrol", "release", job.id)
    desk.training()
    desk.type()
    saw.append(desk.line("left alone"))
    desk.done()
    desk.gone()
    desk.type()
    saw.append(desk.line("left alone"))
    assert desk.submissions == 1
    return "; ".join(f"`{line}`" for line in saw)


def two_at_once(folder: Path, cluster: Cluster) -> str:
    """Two identical commands at the same moment."""
    desk = Desk(folder, *small(), "seed=0,1")
    both = [desk.begin(), desk.begin()]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert desk.submissions == 1
    assert sorted(text.count("left alone") for text in said) == [0, 2], said
    desk.done()
    return "one submitted both runs, the other left both alone"


def controller_down(folder: Path, cluster: Cluster) -> str:
    """The controller dies while a job runs; a command meets its absence; it is started again."""
    desk = Desk(folder, *small(LONG))
    desk.type()
    desk.training()
    cluster.kill("slurmctld")
    desk.type(status=2)
    saw = desk.line("squeue")
    cluster.controller()
    desk.done()
    assert desk.submissions == 1
    return f"`{saw}`; the job went on and was done"


def resumed(records: list[Record]) -> None:
    """AssertionError unless the first run's last stage went on from a checkpoint."""
    cost = records[0].cost
    assert cost and cost.stages[-1].resumed, "the run began from nothing"


def undisturbed(folder: Path) -> None:
    """Do the long run in the command's own process, for comparison."""
    folder.mkdir()
    status, out, err = harness("-m", *small(LONG), folder=folder)
    assert status == 0, out + err


def same_as_undisturbed(desk: Desk) -> None:
    """AssertionError unless the record is that of a run that nothing happened to, elsewhere."""
    reference = desk.folder.parent / "undisturbed" / "runs" / desk.runs[0].name / "record.json"
    until(reference.exists, "the undisturbed run is done", 200)
    ours, theirs = (record.read(path).result() for path in (desk.runs[0].folder / "record.json", reference))
    differing = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert not differing, f"not the record of an undisturbed run: {differing}"


TOGETHER: list[Scenario] = [
    out_of_time, same_command_again, preemption, node_down_and_back, a_process_vanishes, scancel,
    second_of_two_fails, killed_while_submitting, array_of_four, a_job_raises, two_at_once,
]  # fmt: skip
"""Those that disturb one another in nothing."""

ALONE: list[Scenario] = [controller_down]
"""Those that need the cluster for themselves."""
