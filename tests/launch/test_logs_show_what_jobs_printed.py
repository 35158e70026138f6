"""logs RUN shows the last output of the run's own jobs, under submitit's names, and never that of another run."""

import pytest
from commandline import harness as command
from slurm_of_paper import submitted

import harness
from harness.launch.logs import logs


@pytest.fixture
def run(tmp_path):
    (made,) = harness.plan("method=at", f"runs={tmp_path / 'runs'}")
    made.freeze()
    return made


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.removeprefix('job')}_log.{'err' if 'error' in text else 'out'}").write_text(text)


def test_of_an_array_the_logs_of_the_run_s_own_task_are_shown(run):
    submitted(run.folder, task=3)
    write(run.root / "jobs" / "0000beef", job4711_3_0="own", job4711_13_0="another", job4712_0="single")
    assert [path.read_text() for path in logs(run.folder)] == ["own"]


def test_the_last_lines_are_shown_below_the_path_and_a_failure_after_them(run, tmp_path):
    submitted(run.folder, task=3)
    text = "".join(f"line {number}\n" for number in range(100))
    write(run.root / "jobs" / "0000beef", job4711_3_0=text, job4711_3_1="an error\n")
    (run.folder / "failure.md").write_text("# it failed\n\nOSError: the disk is full\n\nmore\n")
    status, out, _ = command("logs", run.name, "lines=2", folder=tmp_path)
    assert status == 0
    assert "4711_3_0_log.out:\nline 98\nline 99\n" in out and "line 97" not in out
    assert "4711_3_1_log.err:\nan error\n" in out
    assert "OSError: the disk is full" in out and "more" not in out


def test_processes_are_found_by_the_call_that_submitit_stored(tmp_path):
    runs = harness.plan("method=at", "launcher=processes", "seed=0,1", f"runs={tmp_path / 'runs'}")
    jobs = tmp_path / "runs" / "jobs"
    for number, run in zip((101, 102), runs, strict=True):
        run.freeze()
        folder = jobs / "0000beef" / str(number)
        write(folder, **{f"job{number}_0": run.name})
        (folder / f"{number}_submitted.pkl").write_bytes(b"\x80\x04" + str(run.folder).encode())
    assert [path.read_text() for path in logs(runs[0].folder)] == [runs[0].name]


def test_without_jobs_it_says_where_the_run_s_files_are(run, tmp_path):
    status, out, _ = command("logs", run.name, folder=tmp_path)
    assert status == 0
    assert "launcher=local" in out and f"{run.folder}: config.yaml" in out
