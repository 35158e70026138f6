"""kill -9 of `report` and of `sync` at any moment: each file is whole, and the same command again does what is left."""

import random
import shutil
import time
from pathlib import Path

import pytest
from commandline import harness, start
from recorded import finish, log, make, mirrored, paint, robust

RUNS, KILLS = 8, 6


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with some finished runs."""
    for seed in range(RUNS):
        run = finish(make(tmp_path, seed), robust(50.0 + seed))
        paint(run, 0.5)
        log(run, 20)
    return tmp_path


def pages(folder: Path) -> dict[str, bytes]:
    """All finished files below a folder of reports."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_killed_report_leaves_whole_files_and_the_next_one_is_complete(place: Path) -> None:
    started = time.monotonic()
    assert harness("report", "reports=whole", folder=place)[0] == 0
    seconds, whole = time.monotonic() - started, pages(place / "whole")
    killed = 0
    for attempt in range(KILLS):
        shutil.rmtree(place / "killed", ignore_errors=True)
        process = start("report", "reports=killed", folder=place)
        # Half of the kills come at any moment, half as soon as a first page or a later one is there.
        if attempt % 2:
            wanted = ("figures/*.png", "runs/*.html", "leaderboard.csv")[attempt // 2]
            while process.poll() is None and not list((place / "killed").glob(wanted)):
                time.sleep(0.005)
        else:
            time.sleep(random.Random(attempt).uniform(0.3, 0.95) * seconds)
        process.kill()
        process.communicate(timeout=60)  # ends when all copies of the process have gone too
        killed += process.returncode == -9
        assert pages(place / "killed").items() <= whole.items()
    assert killed >= KILLS // 2
    status, _, err = harness("report", "reports=killed", folder=place)
    assert (status, err) == (0, "") and pages(place / "killed") == whole


def test_a_killed_sync_is_finished_by_the_next_one_and_sends_nothing_twice(place: Path) -> None:
    killed = 0
    for attempt in range(KILLS):
        process = start("sync", "all=true", folder=place)
        # Kill it while it makes the store, and later after some runs were sent.
        while process.poll() is None and len(list(place.glob("runs/*/mlflow.json"))) < attempt:
            time.sleep(0.005)
        time.sleep(random.Random(attempt).uniform(0, 1))
        process.kill()
        process.communicate()
        killed += process.returncode == -9
        status, out, err = harness("status", folder=place)
        assert (status, err) == (0, "") and f"{RUNS} runs: {RUNS} done" in out
    assert killed >= KILLS // 2
    status, _, err = harness("sync", folder=place)
    assert status == 0 and "Traceback" not in err
    status, _, err = harness("sync", "all=true", folder=place)
    assert status == 0, err
    assert not list((place / "runs" / "owed").iterdir())
    for seed in range(RUNS):
        sent = mirrored(make(place, seed))  # exactly one MLflow run has its fingerprint
        assert sent["info"]["status"] == "FINISHED" and {"record.json", "samples.png"} <= sent["files"]
