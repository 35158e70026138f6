"""Commands that are repeated, simultaneous, killed, or typed while SLURM is down: rows of docs/slurm-scenarios.md."""

from pathlib import Path

from cluster import Cluster, call, until
from desk import LONG, Desk, small


def killed_while_submitting(folder: Path, cluster: Cluster) -> str:
    """kill -9 of the command just before sbatch, and once more just after; then it is typed again."""
    desk = Desk(folder, *small(), "seed=0,1")
    notes = [run.folder / "job.json" for run in desk.runs]
    before = desk.begin()
    until(lambda: notes[-1].exists(), "the jobs are noted", 200)
    before.kill()
    before.communicate()
    after = desk.begin()
    until(lambda: desk.job() or after.poll() is not None, "squeue shows the job", 200)
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
    saw.append(desk.line("not submitted"))
    job = desk.job()
    assert job and job.state == "PENDING"
    call("scontrol", "release", job.id)
    desk.training()
    desk.type()
    saw.append(desk.line("not submitted"))
    desk.done()
    desk.gone()
    desk.type()
    saw.append(desk.line("not submitted"))
    assert desk.submissions == 1
    return "; ".join(f"`{line}`" for line in saw)


def two_at_once(folder: Path, cluster: Cluster) -> str:
    """Two identical commands at the same moment."""
    desk = Desk(folder, *small(), "seed=0,1")
    both = [desk.begin(), desk.begin()]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert desk.submissions == 1
    assert sorted(text.count("not submitted") for text in said) == [0, 2], said
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


def in_waves(folder: Path, cluster: Cluster) -> str:
    """Three runs, where a user may have two jobs; the same command once these have ended."""
    desk = Desk(folder, *small(), "seed=0,1,2")
    desk.type("launcher.qos=few")
    saw = [desk.line("^not submitted yet"), desk.line("takes no more")]
    assert call("squeue", "-h", "--me", "--qos=few", "-o", "%j").startswith("standard-digits-s0+s1-harness-")
    until(lambda: not call("squeue", "-h", "--me", "--qos=few"), "the two jobs have ended", 120)
    assert desk.accounts() == "COMPLETED"
    desk.type("launcher.qos=few")
    desk.done()
    return f"`{saw[0]}`; `{saw[1]}`; three records, after the second command"
