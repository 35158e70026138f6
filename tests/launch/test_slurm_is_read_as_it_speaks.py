"""The output of squeue and sacct is parsed; if they are missing, nothing is queued; if they fail, that is reported."""

import pytest
from fake_slurm import FakeSlurm

from harness.core.errors import UserError
from harness.launch import queue
from harness.launch.queue import Ended, Queued, Submitted

QUEUE = [
    "harness-1ee43284|0|4711_0|RUNNING|None",
    "harness-1ee43284|1|4711_1|PENDING|JobArrayTaskLimit",
    "harness-fd507239|N/A|4712|PENDING|Nodes required for job are DOWN, DRAINED or reserved",
    "jupyter|N/A|4713|RUNNING|None",
]

ACCOUNTS = """harness-1ee43284|4711_0|COMPLETED|0:0
harness-1ee43284|4711_1|CANCELLED by 1000|0:15
harness-1ee43284|4711_[2-3%2]|PENDING|0:0
harness-fd507239|4712|NODE_FAIL|1:0
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm", tmp_path)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def test_our_jobs_are_known_by_name_and_index(cluster):
    cluster.queue(QUEUE)
    assert queue.queue() == {
        ("harness-1ee43284", 0): Queued("4711_0", "RUNNING", "None"),
        ("harness-1ee43284", 1): Queued("4711_1", "PENDING", "JobArrayTaskLimit"),
        ("harness-fd507239", 0): Queued("4712", "PENDING", "Nodes required for job are DOWN, DRAINED or reserved"),
    }


def test_accounts_tell_how_jobs_ended(cluster):
    cluster.put("accounts", ACCOUNTS)
    assert queue.history(["harness-1ee43284", "harness-fd507239"]) == {
        ("harness-1ee43284", 0): Ended("4711_0", "COMPLETED", "0:0"),
        ("harness-1ee43284", 1): Ended("4711_1", "CANCELLED", "0:15"),
        ("harness-fd507239", 0): Ended("4712", "NODE_FAIL", "1:0"),
    }


def test_a_cluster_without_accounts_is_a_cluster(cluster):
    assert queue.history(["harness-1ee43284"]) == {}


def test_a_controller_that_is_away_is_told_with_the_way_out(cluster):
    cluster.put("down", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
    with pytest.raises(UserError, match=r"(?s)Unable to contact slurm controller.*same command again"):
        queue.queue()


def test_a_controller_that_never_answers_is_not_waited_for(cluster, monkeypatch):
    (cluster.folder / "bin" / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(queue, "PATIENCE", 0.2)
    with pytest.raises(UserError, match="no answer"):
        queue.queue()


def test_jobs_are_cancelled_by_their_ids(cluster):
    queue.cancel(["4711_1", "4712"])
    queue.cancel([])
    assert (cluster.folder / "cancelled").read_text() == "--quiet 4711_1 4712\n"


def test_nothing_is_queued_where_slurm_is_not(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert queue.queue() == {} and queue.history(["harness-1ee43284"]) == {}


def test_a_folder_remembers_its_job_and_its_logs(tmp_path):
    work = tmp_path / "at-digits-s0-50447393"
    assert queue.submitted(work) is None
    array = Submitted("harness-1ee43284", 1, "jobs/1ee43284")
    array.write(work)
    assert queue.submitted(work) == array and queue.submitted(work).key == ("harness-1ee43284", 1)
    place = tmp_path / "jobs" / "1ee43284"
    place.mkdir(parents=True)
    for name in ("4711_1_1_log.out", "4711_1_0_log.out", "4711_1_0_log.err", "4711_0_0_log.out", "4711_submission.sh"):
        (place / name).touch()
    assert [path.name for path in array.logs(tmp_path)] == ["4711_1_0_log.err", "4711_1_0_log.out", "4711_1_1_log.out"]
    (place / "4711_1_1_log.out").rename(place / "4712_0_log.out")  # a job that is not an array
    alone = Submitted("harness-1ee43284", 0, "jobs/1ee43284")
    assert [path.name for path in alone.logs(tmp_path)] == ["4711_0_0_log.out", "4712_0_log.out"]
