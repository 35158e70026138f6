"""Where a machine lacks memory, shared memory, room, rights or UTF-8, a command works or says so in one message."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import bare
from recorded import finish, log, make, paint, robust

from harness.runs import record
from harness.runs.run import folders

ROOT = os.geteuid() == 0
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Lets the user nobody import Python from another user's folders; it gives no right to write."""

GB = 10**6
"""In units of `ulimit -v`."""


def run(*words: str, folder: Path, before: str = "true", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the harness in a folder, after a line of shell, with changes of the environment."""
    line = f'{before} && exec "$@"'
    command = ["bash", "-c", line, "bash", sys.executable, "-m", "harness", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, encoding="utf-8", errors="replace"
    )


def private(*lines: str) -> list[str]:
    """The words of a command that runs lines of shell in mounts of its own; skips where that is not allowed."""
    command = ["unshare", "--mount", "bash", "-c", " && ".join([*lines, 'exec "$@"']), "bash"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets its user mount nothing")
    return command


def as_nobody(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the harness in a folder as the user nobody."""
    if not ROOT or not shutil.which("setpriv"):
        pytest.skip("only root becomes another user, by setpriv")
    command = [*NOBODY, *READS_ALL, sys.executable, "-m", "harness", *words]
    return subprocess.run(command, cwd=folder, env=os.environ | {"HOME": "/nowhere"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three finished runs that have pictures and curves."""
    root = tmp_path_factory.mktemp("finished")
    for seed in range(3):
        made = finish(make(root, seed), robust(50.0 + seed))
        paint(made, 0.5)
        log(made, 20)
        shutil.copy(made.stage_runs[0].folder / "metrics.jsonl", made.folder)
    return root


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of the folder with finished runs."""
    return Path(shutil.copytree(finished, tmp_path / "place"))


@pytest.mark.parametrize("limit", [0.25, 0.4, 0.55, 0.7, 1.0])
def test_a_report_with_little_memory_is_whole_or_says_so(limit: float, place: Path) -> None:
    told = run("report", folder=place, before=f"ulimit -v {int(limit * GB)}")
    assert "Traceback" not in told.stderr and "unreadable" not in told.stderr
    if told.returncode:
        assert told.returncode == 2
        (line,) = [line for line in told.stderr.splitlines() if line.startswith("Out of memory")]
        assert f"may use {limit * 1.024:.1f} GB here (ulimit -v)" in line
    else:
        assert " 3/3 " in told.stdout


@pytest.mark.parametrize("limit", [0.6, 1.0, 2.5])
def test_a_run_with_little_memory_is_refused_fails_or_works(limit: float, tmp_path: Path) -> None:
    told = run(*bare("standard", steps=4), folder=tmp_path, before=f"ulimit -v {int(limit * GB)}")
    assert "Traceback" not in told.stderr and told.returncode in (0, 1, 2)
    if told.returncode == 2:
        assert told.stderr.startswith("Out of memory. A process may use")
    elif told.returncode == 1:
        # OpenMP ends the process itself, with a line of its own, where it finds no memory for its threads.
        assert "Out of memory" in told.stdout or "Thread creation failed" in told.stderr
        assert "()" not in told.stdout


@pytest.mark.parametrize("mount", ["-o ro", "-o size=4k"])
def test_loaders_without_shared_memory_are_refused_before_anything_is_written(mount: str, tmp_path: Path) -> None:
    lacking = private(f"mount -t tmpfs {mount} none /dev/shm", "{ head -c 9000 /dev/zero > /dev/shm/x || true; }")
    words = [sys.executable, "-m", "harness", *bare("standard", steps=4)]
    told = subprocess.run([*lacking, *words, "workers=2"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2 and "Traceback" not in told.stderr
    for part in ("/dev/shm", "workers=N", "workers=0"):
        assert part in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_loaders_whose_shared_memory_is_too_small_fail_and_do_not_wait_for_ever(tmp_path: Path) -> None:
    small = private("mount -t tmpfs -o size=64k none /dev/shm")
    words = [sys.executable, "-m", "harness", *bare("standard", steps=4), "workers=2"]
    words += ["method.classify.training.batch=512", "method.classify.training.epochs=1"]  # 131 kB of images
    told = subprocess.run([*small, *words], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert told.returncode == 1 and "Traceback" not in told.stderr
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("failed")]
    assert "/dev/shm" in line and "too small" in line


def test_a_full_tmp_spoils_neither_runs_nor_reports(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    there = private(f"mount -t tmpfs -o size=4k none {full}", f"{{ head -c 9000 /dev/zero > {full}/x || true; }}")
    for words in ([*bare("standard", steps=4), "workers=1", "tracking=null"], ["report"], ["sync", "all=true"]):
        told = subprocess.run(
            [*there, sys.executable, "-m", "harness", *words],
            cwd=tmp_path,
            env=os.environ | {"TMPDIR": str(full)},
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0 and "Traceback" not in told.stderr, told.stderr


def test_a_user_without_rights_reads_all_and_is_told_what_cannot_be_written(place: Path) -> None:
    subprocess.run(["chmod", "-R", "go-w,go+rX", str(place)], check=True)
    name = folders(place / "runs")[0].name
    for words in (["status"], ["plan", "method=standard"], ["logs", name], ["cancel", "all=true"], ["sync"]):
        told = as_nobody(*words, folder=place)
        assert told.returncode == 0 and "Traceback" not in told.stderr, (words, told.stderr)
    for words in (["report"], [*bare("standard", steps=4)]):
        told = as_nobody(*words, folder=place)
        assert told.returncode in (1, 2) and "Traceback" not in told.stderr, (words, told.stderr)
        assert "Permission denied" in told.stdout + told.stderr


def test_a_user_without_a_home_runs_and_reports(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    for words in ([*bare("standard", steps=4)], ["report"]):
        told = as_nobody(*words, folder=tmp_path)
        assert told.returncode == 0 and "Traceback" not in told.stderr, told.stderr


PLACES = {
    "ASCII, in India": {"TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "decimal commas": {"LC_ALL": "de_DE.UTF-8"},
}


@pytest.mark.parametrize("where", PLACES)
def test_pages_and_plans_are_the_same_anywhere(where: str, place: Path, tmp_path: Path) -> None:
    environment = dict(PLACES[where])
    if environment["LC_ALL"] != "C":
        made = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
        if not shutil.which("localedef") or subprocess.run(made, capture_output=True).returncode:
            pytest.skip("no locale with decimal commas can be made here")
        environment["LOCPATH"] = str(tmp_path)
    for words, values in ((["reports=here"], {}), (["reports=there"], environment)):
        assert run("report", *words, folder=place, **values).returncode == 0
    here, there = ({p.name: p.read_bytes() for p in (place / at).rglob("*.*")} for at in ("here", "there"))
    assert here == there and len(here) > 10
    told = run("plan", "method=standard", folder=place, **environment)
    assert told.returncode == 0 and "unreadable" not in told.stdout, told.stdout


def test_a_run_in_a_locale_of_ascii_has_the_record_of_any_other(tmp_path: Path) -> None:
    found: list[record.Record] = []
    for number, values in enumerate(({}, PLACES["ASCII, in India"])):
        there = tmp_path / f"{number}"
        there.mkdir()
        told = run(*bare("standard", steps=4), folder=there, **values)
        assert told.returncode == 0, told.stderr
        (folder,) = folders(there / "runs")
        found.append(record.read(folder / "record.json"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", found[-1].origin.created)
    assert found[0].result() == found[1].result()
