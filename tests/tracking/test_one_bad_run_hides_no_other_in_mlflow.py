"""A run that cannot be read, here or in MLflow, is named; the others are sent and shown. Nothing of others is sent."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from bad_kinds import BOMB, SECRET
from commandline import harness
from recorded import a_row, database, finish, make, paint, robust

from harness import tracking
from harness.core.errors import UserError
from harness.evaluation.score import Score, Selection
from harness.reports.rows import find_rows
from harness.runs.run import Run
from harness.tracking import outbox
from harness.tracking.tags import TAG, row_of_tags, row_tags


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(database())
    return tmp_path


def runs(root: Path, count: int) -> list[Run]:
    return [finish(make(root, seed), robust(50.0 + seed)) for seed in range(count)]


def artifacts(root: Path) -> list[Path]:
    return [path for path in (root / "runs" / "mlartifacts").rglob("*") if path.is_file()]


def test_sync_names_the_runs_that_cannot_be_read_and_sends_the_others(root: Path) -> None:
    first, *bad = runs(root, 4)
    (bad[0].folder / "record.json").write_text("[" * 200_000)
    (bad[1].folder / "config.yaml").write_text(BOMB)
    (bad[2].folder / "lock").mkdir()
    (bad[2].folder / "record.json").unlink()
    status, out, err = harness("sync", "all=true", folder=root)
    assert status == 3 and "1 run sent, 0 still to be sent" in out and "Traceback" not in err
    files = dict(zip((run.name for run in bad), ("record.json", "config.yaml", "lock"), strict=True))
    named = [line for line in err.splitlines() if ": unreadable: " in line]
    assert sorted(line.split(": ")[0] for line in named) == sorted(files)
    assert all(line.split(": ")[2] == files[line.split(": ")[0]] for line in named)
    (row,), faults = find_rows(make(root).config, "mlflow")
    assert (row.name, faults) == (first.name, [])


@pytest.mark.parametrize(
    "content", ["", "[]", "[" * 200_000, '{"tracking": 5}', '{"tracking": null, "multirun": ["a"]}']
)
def test_a_mark_that_cannot_be_read_is_owed_anew(root: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    run, other = runs(root, 2)
    for one in (run, other):
        outbox.enqueue(one)
    outbox.mark(run).write_text(content)
    outbox.enqueue(run)  # as a run does that goes on
    outbox.mark(run).write_text(content)
    assert tracking.sync(run.root) == (2, 0)
    assert f"{run.name}.json cannot be read, so the run is sent again" in caplog.text
    assert outbox.marks(run.root) == []


@pytest.mark.parametrize("content", ["", "null", "[" * 200_000, '{"points": -1}', '{"files": [], "run_id": 7}'])
def test_a_note_of_what_was_sent_that_cannot_be_read_is_made_again(root: Path, content: str) -> None:
    (run,) = runs(root, 1)
    assert tracking.push(run)
    note = json.loads((run.folder / "mlflow.json").read_text())
    (run.folder / "mlflow.json").write_text(content)
    assert tracking.push(run)
    assert json.loads((run.folder / "mlflow.json").read_text()) == note


def test_no_file_of_others_is_sent(root: Path) -> None:
    (run,) = runs(root, 1)
    paint(run, 0.5)
    secret = root / "secret"
    secret.write_text(SECRET)
    for name in ("failure.md", "reliability.png", "selection.json"):
        (run.folder / name).symlink_to(secret)
    assert tracking.push(run)
    sent = artifacts(root)
    assert {"record.json", "samples.png"} <= {path.name for path in sent}
    assert not any(SECRET.encode() in path.read_bytes() for path in sent)


def test_a_lock_that_is_no_file_does_not_make_the_store_count_as_away(root: Path) -> None:
    bad, good = runs(root, 2)
    (bad.folder / "mlflow.lock").mkdir()
    for run in (bad, good):
        outbox.enqueue(run)
    assert tracking.sync(good.root) == (1, 1)


BROKEN: dict[str, str | None] = {
    "scores": "[" * 5000,
    "score.robust_accuracy/l2_0.5": '{"title": "Robust acc',
    "seed": "first",
    "cost": '{"stages": [], "trai',
    "protocol_hash": "/../../../outside",
    "name": "../outside",
    "method": "a/b",
    "study": '{"x": NaN}',
    "notes": "[1, 2]",
    "selection": '{"a": 5}',
    "state": "winning",
}


@pytest.mark.parametrize("key", BROKEN)
def test_a_row_of_mlflow_that_cannot_be_read_is_named_and_the_others_are_shown(root: Path, key: str) -> None:
    good, bad = runs(root, 2)
    assert tracking.push(good) and tracking.push(bad)
    with sqlite3.connect(root / "runs" / "mlflow.db") as base:
        changed = base.execute(
            "UPDATE tags SET value = ? WHERE (key = ? OR key = ?) AND run_uuid IN "
            "(SELECT run_uuid FROM tags WHERE key LIKE '%fingerprint' AND value = ?)",
            (BROKEN[key], key, f"mlflow.harness.{key}", bad.fingerprint),
        )
        assert changed.rowcount == 1
    (row,), (fault,) = find_rows(make(root).config, "mlflow")
    assert row.name == good.name and fault.name == bad.name and fault.reason


def test_texts_are_shortened_so_that_their_json_fits_into_a_tag() -> None:
    long: dict[str, Any] = {
        "notes": {f"topic {number}": "ε" * 3000 for number in range(40)},
        "selection": {f"choice {number}": Selection(by="b" * 5000, split=["train"]) for number in range(30)},
        "doubts": ["d" * 9000] * 20,
        "study": {f"factor{number}": 1.0 for number in range(1000)},
    }
    score = Score(title="t" * 9000, value=1.0, n=1, better="higher", warnings=["w" * 9000] * 30)
    short = score.model_copy(update={"title": "t", "warnings": []})
    scores = {f"a_long_name/{n}": short.model_copy(update={"value": float(n)}) for n in range(1, 2000)}
    scores = {"a_long_name/0": score.model_copy(update={"value": 0.0})} | scores
    row = a_row("at", scores=scores, **long)
    tags = dict(row_tags(row))
    assert max(map(len, tags.values())) <= TAG
    found = row_of_tags(tags, row.find)
    assert list(found.scores) == list(scores) and [s.value for s in found.scores.values()] == list(range(2000))
    assert set(found.notes.values()) == {found.notes["topic 0"]} and found.notes["topic 0"].endswith("ε…")
    assert found.selection["choice 0"].split == ["train"]


def test_a_database_that_is_locked_missing_or_none_is_told_in_one_message(root: Path) -> None:
    (run,) = runs(root, 1)
    assert tracking.push(run)
    path = root / "runs" / "mlflow.db"
    other = root / "other.db"
    other.write_bytes(b"no database " * 1000)
    status, _, err = harness("report", "source=mlflow", f"tracking=sqlite:///{other}", folder=root)
    assert (status, "Traceback" in err) == (2, False), err
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA locking_mode = EXCLUSIVE")
    base.execute("BEGIN EXCLUSIVE")
    status, _, err = harness("report", "source=mlflow", folder=root)
    base.close()
    assert status == 2 and "does not answer" in err and "locked" in err and "Traceback" not in err
    path.unlink()
    status, _, err = harness("report", "source=mlflow", folder=root)
    assert status == 2 and "There is no MLflow database at" in err and err.count("\n") <= 2
    with pytest.raises(UserError, match="Run something first"):
        find_rows(make(root).config, "mlflow")


def test_a_link_among_the_artifacts_is_not_followed(root: Path) -> None:
    (run,) = runs(root, 1)
    paint(run, 0.5)
    assert tracking.push(run)
    secret = root / "secret"
    secret.write_text(SECRET)
    (config,) = [path for path in artifacts(root) if path.name == "config.yaml"]
    config.unlink()
    config.symlink_to(secret)
    (row,), _ = find_rows(make(root).config, "mlflow")
    assert row.read("config.yaml", bytes) is None and "leads out" in row.faults["config.yaml"].reason
    picture = row.read("samples.png", bytes)
    assert picture and picture.startswith(b"\x89PNG")
