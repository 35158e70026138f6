"""Where SLURM takes only so many jobs, what fits is submitted, and the same command submits the rest later."""

from harness.launch import queue as slurm
from harness.launch.launchers import launcher
from harness.launch.show import Show


class Lines(Show):
    """Keeps the lines that are shown."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def submit(runs):
    show = Lines()
    launcher(runs[0].config).run(runs, None, show)
    return show.lines


def queued(runs):
    return [run for run in runs if slurm.find(run.folder, slurm.queue())]


def test_what_fits_is_submitted_and_the_rest_by_the_same_command(cluster, sweep):
    runs = sweep("method=standard", "seed=0,1,2,3,4,5")
    cluster.put("most", "4")
    said = submit(runs)
    assert queued(runs) == runs[:4]
    assert f"not submitted yet: {runs[4].name}, {runs[5].name}" in said
    assert any("AssocMaxSubmitJobLimit" in line and "type the same command again" in line for line in said)

    # While the queue is full, nothing changes.
    before = cluster.queued
    submit(runs)
    assert cluster.queued == before

    # Two jobs end: two others follow, and no run has two jobs.
    cluster.queue(before[2:])
    submit(runs[2:])
    assert queued(runs) == runs[2:] and len(cluster.queued) == 4

    # Only what was accepted has a folder of jobs.
    assert len([*runs[0].root.glob("jobs/*")]) == len(cluster.scripts)


def test_runs_never_wait_for_a_stage_that_was_not_submitted(cluster, sweep):
    runs = sweep("method=at,atjem", "seed=0,1")
    cluster.put("most", "1")
    said = submit(runs)
    assert len(cluster.queued) == 1 and queued(runs) == []
    assert sum(line.startswith("submitted") for line in said) == 1
    cluster.put("most", "6")
    submit(runs)
    assert queued(runs) == runs and len(cluster.queued) == 6
    assert sum("--dependency=afterany:" in script for script in cluster.scripts) == 2


def test_arrays_are_no_longer_than_the_cluster_takes(cluster, sweep):
    runs = sweep("method=standard", "seed=0,1,2,3,4")
    cluster.put("longest", "2")
    said = submit(runs)
    assert queued(runs) == runs and len(cluster.scripts) == 3
    assert not any("not submitted" in line for line in said)
