"""A run on a folder with an unreadable image names the file and what to do, or skips and counts it."""

import on_disk
import pytest

import harness
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.runs.execute import train_stage
from harness.runs.progress import Watch


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A function that plans adversarial training of a small net on photographs, one of which is damaged."""
    on_disk.imagenet(tmp_path / "data" / "imagenet", 2, 6)
    on_disk.openimages(tmp_path / "data" / "openimages")
    damaged = tmp_path / "data" / "imagenet" / "train" / on_disk.WNIDS[1] / f"{on_disk.WNIDS[1]}_4.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:200])
    monkeypatch.chdir(tmp_path)

    def plan(*more):
        size = ["data.size=32", "data.validation=2", "outliers.reserve=2", "workers=0", "model=timm"]
        training = ["batch=4", "epochs=3", "lr=1e-4"]
        given = [f"method.robust.training.{field}" for field in training]
        (run,) = harness.plan("method=at", "data=imagenet256", "method.robust.attack.steps=1", *size, *given, *more)
        return run, damaged

    return plan


def test_it_names_the_file_and_what_to_type(planned):
    run, damaged = planned()
    with pytest.raises(UserError) as error:
        train_stage(run, run.stage_runs[0], Watch())
    assert damaged.name in str(error.value) and "data.on_bad_image=skip" in str(error.value)
    assert not run.stage_runs[0].done


def test_skipped_images_are_counted(planned):
    run, _ = planned("data.on_bad_image=skip")
    train_stage(run, run.stage_runs[0], Watch())
    assert read_json(run.stage_runs[0].folder / "done.json")["skipped"] == 1
