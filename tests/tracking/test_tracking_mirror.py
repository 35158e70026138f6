"""MLflow mirrors the run folders completely and once, and never harms a run."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded import finish, log, make, mirrored, paint, robust

from harness import tracking
from harness.core.errors import UserError
from harness.evaluation.score import Selection
from harness.reports.rows import rows
from harness.runs.folder import lock
from harness.runs.run import Run
from harness.tracking import mirror, tags


def test_all_of_a_run_is_mirrored(root: Path) -> None:
    run = make(root, overrides=["method.robust.training.lr=0.1"], notes={"loss": "a note"})
    log(run, 3)
    finish(run, robust(40, low=30.0, high=50.0, warnings=["ε" * 400] * 40))
    pictures = {"samples.png", "reliability.png", "counterfactuals.png"}
    for name in pictures:
        paint(run, 0.5, Path(name).stem)
    assert tracking.push(run)
    there = mirrored(run)
    assert there["params"]["method.robust.training.lr"] == "0.1"
    assert there["info"]["status"] == "FINISHED" and there["info"]["run_name"] == run.name
    assert [point[:2] for point in there["curves"]["train/ce"]] == [(32, 2.0), (64, 1.0), (96, 2.0 / 3)]
    assert there["curves"]["robust_accuracy/l2_0.5"][0][1] == 40
    assert there["curves"]["interval/robust_accuracy_l2_0.5_low"][0][1] == 30
    assert there["curves"]["cost/training_seconds"][0][1] == 60
    assert there["files"] == {"config.yaml", "record.json"} | pictures
    assert there["tags"]["folder"] == str(run.folder)
    (row,) = rows(run.config, "mlflow")
    assert (row.overrides, row.notes) == ("method.robust.training.lr=0.1", {"loss": "a note"})
    assert row.scores["robust_accuracy/l2_0.5"].high == 50


def test_what_was_chosen_comes_back_typed_also_where_an_older_run_holds_a_text(root: Path) -> None:
    from mlflow import MlflowClient

    chosen = {"steps": Selection(by="FD, seed 0", split=["train"])}
    label = {"id": "quick-1", "hash": "0", "label": "for trying out"}
    run = finish(make(root), robust(40), selection=chosen, protocol=label)
    assert tracking.push(run)
    (row,) = rows(run.config, "mlflow")
    assert row.selection == chosen and row.protocol.label == "for trying out"
    client, there = MlflowClient(tracking.uri(run.config)), mirrored(run)["info"]["run_id"]
    client.set_tag(there, f"{tags.HIDDEN}selection", '{"steps": "FD against train, seed 0"}')
    client.delete_tag(there, "protocol_label")
    (row,) = rows(run.config, "mlflow")
    assert row.selection == {"steps": Selection(by="FD against train, seed 0", split=["train"])}
    assert row.protocol.label == ""


def test_pushing_again_changes_nothing_even_without_the_note(root: Path) -> None:
    run = make(root)
    log(run, 5)
    finish(run, robust(40))
    assert tracking.push(run)
    before = mirrored(run)
    assert tracking.push(run)
    assert mirrored(run) == before
    (run.folder / "mlflow.json").unlink()
    assert tracking.push(run)
    assert mirrored(run) == before


def test_an_interrupted_push_is_continued(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    run, sent, real = make(root), Counter(), MlflowClient.log_batch
    log(run, 10)
    run.freeze()
    monkeypatch.setitem(mirror.BATCH, "metrics", 8)

    def failing(client: MlflowClient, run_id: str, metrics: Any = (), **other: Any) -> None:
        if metrics and sent.total() == 8:
            raise ConnectionError("the cable")
        real(client, run_id, metrics=metrics, **other)
        sent.update((metric.key, metric.step) for metric in metrics)

    monkeypatch.setattr(MlflowClient, "log_batch", failing)
    assert not tracking.push(run)
    assert json.loads((run.folder / "mlflow.json").read_text())["points"] == 8
    monkeypatch.setattr(MlflowClient, "log_batch", real)
    assert not tracking.push(run), "after a failure the store must be left alone for a while"
    assert tracking.push(run, last=True)
    assert [len(points) for points in mirrored(run)["curves"].values()] == [10, 10]


def test_only_new_points_and_changed_files_travel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    run, points, files = make(root), [], []
    run.freeze()
    log(run, 2)
    assert tracking.push(run)
    batch, artifact = MlflowClient.log_batch, MlflowClient.log_artifact

    def spy(client: MlflowClient, run_id: str, metrics: Any = (), **other: Any) -> None:
        points.extend(metric.step for metric in metrics if metric.key == "train/ce")
        batch(client, run_id, metrics=metrics, **other)

    def watch(client: MlflowClient, run_id: str, path: str) -> None:
        files.append(Path(path).name)
        artifact(client, run_id, path)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    monkeypatch.setattr(MlflowClient, "log_artifact", watch)
    log(run, 4)
    finish(run, robust(40))
    assert tracking.push(run)
    assert (points, files) == ([96, 128], ["record.json"])


def test_a_state_that_changes_is_followed(root: Path) -> None:
    run = make(root)
    run.freeze()
    assert tracking.push(run)
    assert (mirrored(run)["info"]["status"], mirrored(run)["tags"]["state"]) == ("RUNNING", "queued")
    with lock(run.folder):
        assert tracking.push(run)
    assert mirrored(run)["tags"]["state"] == "running"
    (run.folder / "failure.md").write_text("why")
    assert tracking.push(run)
    assert mirrored(run)["info"]["status"] == "FAILED" and "failure.md" in mirrored(run)["files"]


def test_another_database_gets_everything(root: Path) -> None:
    run = make(root)
    log(run, 3)
    finish(run, robust(40))
    assert tracking.push(run)
    other = Run(replace(run.config, tracking=f"sqlite:///{root / 'other.db'}"))
    assert tracking.push(other)
    there = mirrored(other)
    assert len(there["curves"]["train/ce"]) == 3 and there["files"] == {"config.yaml", "record.json"}


def test_the_runs_of_a_sweep_share_a_tag_and_nothing_else_is_in_the_experiment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    runs = [finish(make(root, seed), robust(40 + seed)) for seed in range(3)]
    sweep, same = tracking.multirun("three", runs), tracking.multirun("three", runs[::-1])
    assert all(tracking.push(run, sweep) for run in runs)
    assert {mirrored(run)["tags"]["sweep"] for run in runs} == {sweep.label} == {same.label}
    assert tracking.push(runs[0]) and mirrored(runs[0])["tags"]["sweep"] == sweep.label
    other = tracking.multirun("other", runs[:2])
    assert tracking.push(runs[0], other) and mirrored(runs[0])["tags"]["sweep"] == other.label != sweep.label

    client = MlflowClient(tracking.uri(runs[0].config))
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert len(found) == 3 and all("robust_accuracy/l2_0.5" in run.data.metrics for run in found)
    real = MlflowClient.search_runs
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *a, **k: real(*a, **{"max_results": 2, **k}))
    rows_found = rows(runs[0].config, "mlflow")
    assert [row.seed for row in rows_found] == [0, 1, 2]
    assert [row.scores["robust_accuracy/l2_0.5"].value for row in rows_found] == [40, 41, 42]


def test_without_a_database_the_user_is_told_and_none_is_made(tmp_path: Path) -> None:
    config = make(tmp_path).config
    with pytest.raises(UserError, match="Run something first"):
        rows(config, "mlflow")
    assert not (tmp_path / "runs" / "mlflow.db").exists()


def test_what_is_prepared_holds_no_run_and_keeps_files_beside_the_runs(root: Path) -> None:
    from mlflow import MlflowClient

    config = make(root).config
    for _ in range(2):
        tracking.prepare(config)
    experiment = MlflowClient(tracking.uri(config)).get_experiment_by_name("digits")
    assert experiment and experiment.artifact_location == (root / "runs" / "mlartifacts" / "digits").as_uri()
    with pytest.raises(UserError, match="Run something first"):
        rows(config, "mlflow")


def test_the_command_for_the_pages_survives_a_shell(tmp_path: Path) -> None:
    config = make(tmp_path / "my files").config
    database = f"sqlite:///{tmp_path}/my files/runs/mlflow.db"
    words = ["mlflow", "ui", "--backend-store-uri", database, "--port", "5000"]
    assert shlex.split(tracking.ui_command(config)) == words


def test_the_page_is_that_of_the_runs(tmp_path: Path) -> None:
    config = make(tmp_path).config
    assert tracking.ui_page(config) == "http://127.0.0.1:5000/", "there is no database yet"
    tracking.prepare(config)
    assert tracking.ui_page(config) == "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
    for elsewhere in ("postgresql://host/db", "sqlite:///none.db"):
        assert tracking.ui_page(replace(config, tracking=elsewhere)) == "http://127.0.0.1:5000/"


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = "{'mlflow', 'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys, harness.tracking; assert not {heavy}, {heavy}"], check=True)
