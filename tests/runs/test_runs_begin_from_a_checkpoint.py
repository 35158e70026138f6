"""init=PATH: a checkpoint replaces the first stages, is checked before training, and is part of the run's identity."""

import shutil
from dataclasses import replace

import pytest
import torch
from commandline import QUICK, quick
from torch.nn.functional import cross_entropy

import harness as api
from harness.core.errors import UserError
from harness.core.tensors import load_tensors, save_tensors
from harness.datasets.digits import Digits
from harness.models.digits import Digits as DigitsNet
from harness.runs.build import check_accuracy
from harness.runs.execute import execute, train_stage
from harness.runs.progress import Watch
from harness.runs.run import Run, load


@pytest.fixture(scope="module")
def checkpoint(digits, tmp_path_factory):
    """A checkpoint of a small net for digits, briefly trained, in the layout that other people publish."""
    torch.manual_seed(0)
    net = DigitsNet(10, 1, 4, "batch", "relu")
    images, labels = digits.tensors("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(3):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            cross_entropy(net((images[batch] - 0.5) / 0.5), labels[batch]).backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("init") / "robust.pt"
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, path)
    return path


def planned(folder, *more):
    (run,) = api.plan(*quick("atjem", 2), f"runs={folder}", *more)
    return run


def test_it_takes_the_place_of_every_stage_before_the_last(checkpoint, tmp_path):
    run = planned(tmp_path, f"init={checkpoint}")
    assert [training.name for training in run.stage_runs] == ["joint"]
    assert [training.name for training in planned(tmp_path).stage_runs] == ["robust", "joint"]


def test_training_goes_on_from_its_weights(checkpoint, tmp_path):
    (run,) = api.plan(
        *quick("atjem", 1), f"runs={tmp_path}", f"init={checkpoint}",
        "method.joint.training.lr=1e-9", "method.joint.training.ema=null",
    )  # fmt: skip
    train_stage(run, run.stage_runs[0], Watch())
    trained = load_tensors(run.stage_runs[0].folder / "weights.safetensors", torch.device("cpu"))
    for name, value in torch.load(checkpoint).items():
        torch.testing.assert_close(trained[name.replace("module.", "net.")], value, rtol=0, atol=1e-6)


def test_its_content_is_identity_and_its_place_is_not(checkpoint, tmp_path):
    moved = shutil.copy(checkpoint, tmp_path / "elsewhere.pt")
    other = tmp_path / "other.safetensors"
    save_tensors(other, DigitsNet(10, 1, 4, "batch", "relu").state_dict())
    first, again, different = (planned(tmp_path, f"init={path}") for path in (checkpoint, moved, other))
    assert first.fingerprint == again.fingerprint != different.fingerprint
    assert first.stage_runs[0].fingerprint == again.stage_runs[0].fingerprint != different.stage_runs[0].fingerprint
    assert first.fingerprint != planned(tmp_path).fingerprint


def test_a_content_that_changed_since_is_refused(checkpoint, tmp_path):
    path = tmp_path / "robust.pt"
    shutil.copy(checkpoint, path)
    run = planned(tmp_path, f"init={path}")
    run.freeze()
    torch.save({name: value + 1 for name, value in torch.load(checkpoint).items()}, path)
    frozen = load(run.folder)
    assert frozen.fingerprint == run.fingerprint
    with pytest.raises(UserError, match="has changed"):
        train_stage(frozen, frozen.stage_runs[0], Watch())


def test_double_standardisation_is_found_before_training(checkpoint, tmp_path):
    run = planned(tmp_path, f"init={checkpoint}", "model.mean=[3.0]", "model.std=[0.1]")
    with pytest.raises(UserError, match=r"standardised otherwise.*init_accuracy=0"):
        train_stage(run, run.stage_runs[0], Watch())
    assert not run.stage_runs[0].done
    asked_for = planned(tmp_path, f"init={checkpoint}", "model.mean=[3.0]", "model.std=[0.1]", "init_accuracy=0")
    train_stage(asked_for, asked_for.stage_runs[0], Watch())


def test_without_validation_images_it_is_tried_on_training_images(digits_net):
    class Whole(Digits):
        def length(self, split):
            return 0 if split == "validation" else super().length(split)

    (run,) = api.plan("method=at")
    run = Run(replace(run.config, init_accuracy=99.9))
    run.__dict__["data"] = Whole()
    with pytest.raises(UserError, match="train images only"):
        check_accuracy(run, digits_net())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["method=pretrained"], ["needs weights", "init=PATH"]),
        (["init=nowhere.pt"], ["nowhere.pt", "no such file", "init=null"]),
        (["init={checkpoint}", "model.width=8"], ["does not fit", "conv0.weight"]),
        (["init=pyproject.toml"], ["pyproject.toml"]),
    ],
)
def test_what_cannot_be_begun_from_is_refused_before_anything_is_written(arguments, parts, checkpoint, type_, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    before = list(tmp_path.iterdir())
    status, out, err = type_(*(a.format(checkpoint=checkpoint) for a in arguments))
    assert status == 2
    assert all(part in err for part in parts), err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == before


def test_pretrained_is_judged_without_training(checkpoint, tmp_path):
    (run,) = api.plan("method=pretrained", *QUICK, f"init={checkpoint}", f"runs={tmp_path}")
    assert run.stage_runs == []
    run.freeze()
    record = execute(run, Watch())
    assert (record.state, record.init) == ("done", run.init)
    assert record.scores["clean_accuracy"].value > 50
    assert record.cost is not None and record.cost.training_seconds == 0
    assert not (tmp_path / "stages").exists()
    with torch.no_grad():
        logits = api.load(run.folder)(torch.zeros(1, 1, 8, 8))
    assert logits.shape == (1, 10)
