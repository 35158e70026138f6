"""status shows a row for each folder, whatever its content, and writes nothing; it says when SLURM does not answer."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import some_record, some_score
from slurm_of_paper import asked, install, submitted

from harness.launch.status import NO_JOB, Jobs, duration, rows, stage_folders, stages, summary
from harness.runs import folder as run_folder
from harness.runs import run as runs

MAIN = some_score(title="Clean accuracy", value=97.5)
DETAIL = some_score(title="A detail", value=1.0, unit="", table="ood")
RECORD = json.loads(some_record(scores={"clean_accuracy": MAIN, "auroc": DETAIL}).model_dump_json())
PROGRESS = {
    "what": "train joint", "done": 120, "total": 1540, "seconds_left": 3700.2, "words": "bce 0.31 T 12", "host": "n1",
    "pid": 123, "job": None, "attempt": 2,
}  # fmt: skip
FILES = ("record.json", "progress.json", "job.json", "failure.md")


@pytest.fixture
def folder(tmp_path):
    """A function that makes a run's folder with a name and some files."""

    def make(name, **files):
        made = tmp_path / "runs" / name
        made.mkdir(parents=True)
        (made / "config.yaml").touch()
        for stem, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (made / f"{stem}.{'md' if stem == 'failure' else 'json'}").write_text(text)
        return made

    return make


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A function that installs a SLURM with given answers."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    return partial(install, tmp_path / "tools")


def one(made, jobs=None):
    return rows([made], jobs or Jobs())[0]


def test_a_done_run_shows_its_first_scores_without_details(folder):
    row = one(folder("a", record=RECORD))
    assert (row.state, row.progress, row.going) == ("done", "Clean accuracy 97.50%", False)


def test_a_running_run_shows_what_is_done_the_time_left_and_its_process(folder):
    made = folder("a", progress=PROGRESS)
    (made / "started").touch()
    with run_folder.lock(made):
        row = one(made)
    assert (row.state, row.left, row.job, row.going) == ("running", 3700.2, "n1:123", True)
    assert row.progress == "train joint 120/1,540  bce 0.31 T 12  (started 2 times)"
    row = one(made)
    assert (row.state, row.left, row.job, row.going) == ("interrupted", None, "", False)
    assert row.progress.startswith("train joint 120/1,540")


def test_a_failed_run_shows_its_error_and_where_it_was(folder):
    row = one(folder("a", progress=PROGRESS, failure="# a failed\n\nOSError: the disk is full\n"))
    assert (row.state, row.error) == ("failed", "OSError: the disk is full")
    assert row.progress.startswith("train joint")


def test_a_run_that_was_never_begun_is_queued(folder):
    assert one(folder("a")).state == "queued"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.one_of(st.binary(), st.builds(lambda v: json.dumps(v).encode(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from([*RECORD, *PROGRESS, "name", "task", "folder"]), inner)))))  # fmt: skip
def test_no_content_of_a_file_hides_the_other_runs(tmp_path_factory, name, content):
    root = tmp_path_factory.mktemp("runs")
    for run in ("a", "b"):
        (root / run).mkdir()
        (root / run / "config.yaml").touch()
    (root / "a" / "started").touch()
    (root / "a" / name).write_bytes(content)
    (root / "b" / "record.json").write_text(json.dumps(RECORD))
    found = rows(runs.folders(root), Jobs.asked(runs.folders(root)))
    assert [(row.name, row.state) for row in found if row.name == "b"] == [("b", "done")]
    assert len(found) == 2


def test_a_foreign_record_says_so_in_its_row(folder):
    row = one(folder("a", record={"state": "winning"}))
    assert row.state == "unreadable" and row.error.startswith("record.json: it has schema version None")


def test_a_job_is_shown_with_its_id_its_state_and_why_it_waits(folder, cluster, tmp_path):
    made = folder("a")
    submitted(made)
    cluster("harness-0000beef|3|4711_3|PENDING|Priority\nanother|3|4712_3|RUNNING|None")
    row = one(made, Jobs.asked([made]))
    assert (row.state, row.job, row.going) == ("queued", "4711_3 PENDING (Priority)", True)
    assert [command for command, *_ in asked(tmp_path / "tools")] == ["squeue", "sacct"]


def test_slurm_is_not_asked_where_no_run_that_is_left_was_submitted(folder, cluster, tmp_path):
    cluster()
    over = folder("a", record=RECORD)
    submitted(over)
    Jobs.asked([over, folder("b")])
    assert not asked(tmp_path / "tools")


def test_a_job_that_slurm_forgot_is_submitted_by_the_same_command(folder, cluster):
    made = folder("a")
    submitted(made)
    cluster()
    row = one(made, Jobs.asked([made]))
    assert (row.job, row.going) == (NO_JOB, False)


def test_the_end_of_a_job_is_told_by_accounting(folder, cluster):
    made = folder("a", progress=PROGRESS)
    (made / "started").touch()
    submitted(made)
    cluster(sacct="harness-0000beef|4711_3|TIMEOUT|0:0")
    row = one(made, Jobs.asked([made]))
    assert (row.state, row.job, row.going) == ("interrupted", "4711_3 TIMEOUT", False)


def test_where_slurm_does_not_answer_the_table_is_shown_and_says_so(folder, cluster):
    made = folder("a")
    submitted(made)
    cluster(fails=True)
    command = [sys.executable, "-m", "harness", "status"]
    done = subprocess.run(command, cwd=made.parent.parent, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "queued" in done.stdout and "Information from SLURM is missing: squeue" in done.stdout


def test_a_shared_stage_is_shown_while_its_own_job_is_not_over(tmp_path, cluster):
    stage = tmp_path / "runs" / "stages" / "robust-digits-s0-00000000"
    stage.mkdir(parents=True)
    submitted(stage, task=0)
    (stage / "metrics.jsonl").write_text('{"step": 40, "loss": 1.0}\n{"step": 1280, "loss"')
    cluster("harness-0000beef|N/A|4711|RUNNING|None")
    (row,) = stages(tmp_path / "runs", Jobs.asked(stage_folders(tmp_path / "runs")))
    assert (row.name, row.progress, row.job) == ("stage robust-digits-s0-00000000", "step 40", "4711 RUNNING")
    (stage / "done.json").touch()
    assert stages(tmp_path / "runs", Jobs()) == []


def test_looking_changes_nothing_and_needs_no_right_to_write(folder):
    made = folder("a", progress=PROGRESS)
    (made / "started").touch()
    (made / "lock").touch()
    before = {path: path.stat() for path in (made, *made.iterdir())}
    for path in before:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    opened = []
    sys.addaudithook(lambda event, args: opened.append(args) if event == "open" and recording else None)
    recording = True
    assert one(made).state == "interrupted"
    recording = False
    for path in before:
        path.chmod(before[path].st_mode)
    writing = [path for path, _, flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]
    assert not writing
    assert {path: path.stat().st_mtime_ns for path in before} == {p: s.st_mtime_ns for p, s in before.items()}


def test_looking_never_makes_a_run_believe_that_it_is_locked(folder):
    made = folder("a")
    (made / "lock").touch()
    held = os.open(made / "lock", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)  # as `locked` does for a moment
    assert not run_folder.is_locked(made)  # two that look see no run
    os.close(held)
    with run_folder.lock(made).acquire(timeout=1):
        assert run_folder.is_locked(made)


def test_a_finished_run_is_not_asked_for_its_lock(folder, monkeypatch):
    monkeypatch.setattr(run_folder, "is_locked", lambda path: pytest.fail("asked"))
    assert one(folder("a", record=RECORD)).state == "done"


def test_the_summary_counts(folder):
    made = [folder("a", record=RECORD), folder("b", record=RECORD), folder("c")]
    assert summary(rows(made, Jobs())) == "3 runs: 2 done, 1 queued"
    assert summary([]) == "0 runs"


def test_of_many_runs_those_that_are_over_are_counted_not_shown(tmp_path):
    root = Path(tmp_path) / "runs"
    for number in range(120):
        (root / f"r{number}").mkdir(parents=True)
        (root / f"r{number}" / "config.yaml").touch()
        if number:
            (root / f"r{number}" / "record.json").write_text(json.dumps(RECORD))
    command = [sys.executable, "-m", "harness", "status"]
    short = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True).stdout
    assert "r0 " in short and "r7 " not in short and "Hidden: 119 ended runs; all=true" in short
    assert "r7 " in subprocess.run([*command, "--all"], cwd=tmp_path, text=True, capture_output=True).stdout


def test_times_are_told_in_their_two_largest_units():
    assert [duration(s) for s in (0, 33.1, 61, 3700, 90061)] == ["0 s", "33 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
