"""A run in MLflow explains itself: a description, its data, its samples over training, its machine, its model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from recorded import finish, log, make, robust

from harness import tracking
from harness.core.tensors import save_tensors
from harness.runs.build import untrained
from harness.runs.run import Run


@pytest.fixture
def there(root: Path) -> tuple[Run, Any, Any]:
    """A finished run that was sent, MLflow's client, and the run's copy in MLflow."""
    from mlflow import MlflowClient

    net = {"name": "digits", "width": 8, "norm": "batch", "activation": "silu", "mean": [0.5], "std": [0.5]}
    run = make(root, model=net)
    log(run, 3)
    stage = run.stage_runs[0].folder
    save_tensors(stage / "weights.safetensors", untrained(run).state_dict())
    (stage / "glimpses").mkdir()
    for images in (32, 96):
        Image.new("L", (60, 24), images).save(stage / "glimpses" / f"{images:010d}.png")
    finish(run, robust(40, low=30.0, high=50.0, warnings=["few images"]), notes={"loss": "without its third term"})
    (run.folder / "system.jsonl").write_text(json.dumps({"time": 1, "cpu_utilization_percentage": 50.0}) + "\n")
    assert tracking.push(run)
    client = MlflowClient(tracking.uri(run.config))
    (experiment,) = [found for found in client.search_experiments() if found.name == "digits"]
    (image,) = client.search_runs([experiment.experiment_id])
    return run, client, image


def test_the_description_holds_the_command_the_numbers_and_the_doubts(there: tuple[Run, Any, Any]) -> None:
    run, _, image = there
    text = image.data.tags["mlflow.note.content"]
    assert f"```\n{run.config.command}\n```" in text
    assert "| Robust accuracy ↑ † | 40 % | 30 … 50 | 100 |" in text
    assert "† Robust accuracy: few images" in text and "without its third term" in text and str(run.folder) in text
    shown = {key for key, text in image.data.tags.items() if not key.startswith("mlflow.")}
    assert {"method", "data", "model", "seed", "state", "protocol", "folder", "checkpoints"} <= shown
    assert not [key for key in shown if "{" in image.data.tags[key]], "the shown tags must not be JSON"


def test_its_experiment_opens_on_runs_and_its_data_are_inputs(there: tuple[Run, Any, Any]) -> None:
    _, client, image = there
    experiment = client.get_experiment(image.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert [found.dataset.name for found in image.inputs.dataset_inputs] == ["digits", "fields"]


def test_grids_of_samples_stand_over_the_images_seen(there: tuple[Run, Any, Any]) -> None:
    run, client, image = there
    names = [file.path for file in client.list_artifacts(image.info.run_id, "images")]
    whole = [name for name in names if name.endswith(".png")]
    assert sorted(name.split("+")[:3] for name in whole) == [
        ["images/train~samples", "step", "32"],
        ["images/train~samples", "step", "96"],
    ]
    assert len(names) == 4 and image.data.tags["mlflow.loggedImages"] == "True"
    (run.folder / "mlflow.json").unlink()
    assert tracking.push(run)
    assert [file.path for file in client.list_artifacts(image.info.run_id, "images")] == names, "sent twice, there once"


def test_the_load_of_its_machine_is_a_system_metric(there: tuple[Run, Any, Any]) -> None:
    _, client, image = there
    (point,) = client.get_metric_history(image.info.run_id, "system/cpu_utilization_percentage")
    assert (point.value, point.timestamp, point.step) == (50.0, 1, 0)


def test_the_model_comes_back_and_no_file_of_it_can_execute_anything(there: tuple[Run, Any, Any]) -> None:
    import mlflow

    run, client, image = there
    files = [
        file.path for folder in ("model", "model/data") for file in client.list_artifacts(image.info.run_id, folder)
    ]
    assert files == ["model/MLmodel", "model/data", "model/data/config.yaml", "model/data/weights.safetensors"]
    mlflow.set_tracking_uri(tracking.uri(run.config))
    loaded = mlflow.pyfunc.load_model(f"runs:/{image.info.run_id}/model")
    images = torch.rand(2, *run.data.shape, generator=torch.Generator().manual_seed(0))
    wanted = untrained(run).eval()
    assert loaded.get_raw_model().energy(images).equal(wanted.energy(images))
    assert torch.as_tensor(loaded.predict(images.numpy())).equal(wanted(images).detach())


def test_weights_stay_at_home_where_that_is_wanted(root: Path) -> None:
    from mlflow import MlflowClient

    run = make(root, tracking_model=False)
    save_tensors(run.stage_runs[0].folder / "weights.safetensors", {})
    assert tracking.push(finish(run, robust(40)))
    note = json.loads((run.folder / "mlflow.json").read_text())
    assert not MlflowClient(tracking.uri(run.config)).list_artifacts(note["run_id"], "model")
