"""Runs that an earlier version trained are found, resumed and reported by the same command.

Their protocol was digits-2, and is digits-3 today: the command names a new run, which takes over their trained stages
and checkpoints.
"""

import json
import shutil
from pathlib import Path

import pytest

import harness
from harness.runs.run import load

OLD = Path(__file__).parent / "old_runs"
NAMES = {"done": "standard-digits-s0-ae85c5d3", "interrupted": "atjem-digits-s0-063249d4"}
FAILED = "standard-digits-s1-77e4f9d8"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "runs")


def overrides(name: str) -> list[str]:
    """The overrides that were typed for a run, except the folder."""
    config = load(OLD / name).config
    typed = [f"method={config.method['name']}", f"seed={config.seed}", *config.overrides]
    return [*typed, "threads=1", "tracking=off"]


@pytest.mark.parametrize("name", [*NAMES.values(), FAILED])
def test_the_same_command_finds_them(name: str, folder: Path) -> None:
    (run,) = harness.plan(*overrides(name), f"runs={folder}")
    assert run.folder != folder / name and load(folder / name).name == name
    assert (run.protocol.id, load(folder / name).protocol.id) == ("digits-3", "digits-2")
    assert all(training.folder.is_dir() for training in run.stage_runs)


def test_they_are_told_apart(type_, folder: Path) -> None:
    status, told, _ = type_("status", f"runs={folder}", "all=true")
    assert (
        status == 0
        and all(word in told for word in ("1 done", "1 interrupted", "1 failed"))
        and "the machine is at fault" in told
    )


def test_an_interrupted_one_goes_on_where_it_stopped(folder: Path) -> None:
    (run,) = harness.plan(*overrides(NAMES["interrupted"]), f"runs={folder}", "checkpoint_seconds=100")
    before = max(int(path.name.split("-")[0]) for path in folder.glob("stages/joint*/checkpoints/*.pt"))
    assert 0 < before < 60
    record = harness.run(run)
    assert record.state == "done" and record.cost is not None
    assert [stage.resumed for stage in record.cost.stages] == [0, 1]
    logged = (folder / "stages" / run.stage_runs[1].folder.name / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in logged] == list(range(1, 61))
    assert record.mixed == [], "what older code did is unknown, and taken as sound"


def test_a_failed_one_is_tried_again_on_request(type_, folder: Path) -> None:
    (run,) = harness.plan(*overrides(FAILED), f"runs={folder}")
    (folder / FAILED).rename(run.folder)
    status, *_ = type_(*overrides(FAILED), f"runs={folder}")
    assert status == 1 and not (run.folder / "record.json").exists()
    status, *_ = type_(*overrides(FAILED), f"runs={folder}", "retry=true")
    assert status == 0 and (run.folder / "record.json").exists()
    assert not (run.folder / "failure.md").exists()


def test_they_are_reported(folder: Path) -> None:
    table = harness.results(f"runs={folder}").set_index("name")
    assert dict(table.state) == {NAMES["done"]: "done", NAMES["interrupted"]: "interrupted", FAILED: "failed"}
    assert table.clean_accuracy[NAMES["done"]] == 10
