"""The acceptance studies go from a checkpoint in a published format to figures compared with the published ones.

Stand-ins in the real formats: small files of CIFAR-10, a small net, projections in place of Inception.
"""

import on_disk
import pytest
import torch

import harness
from harness.evaluation.features.inception import Inception
from harness.evaluation.features.pytorchfid import PytorchFID
from harness.models.wrn import WRN
from harness.runs.compose import compose

STUDIES = {"acceptance_dat_cifar10": "l2_0.5", "acceptance_dat_imagenet256": "l2_3"}


class Projected:
    """Features and logits in place of Inception's: random projections of the pixels."""

    source = PytorchFID()
    digest, warnings = "0" * 64, ()

    def __call__(self, images):
        weights = torch.randn(3 * 32**2, 10, generator=torch.Generator().manual_seed(0))
        rows = images.flatten(1).float() @ weights / 1000
        return {"features": rows[:, :4].contiguous(), "logits": rows[:, 4:].contiguous()}

    def require(self, parts):
        assert {part["extractor"] for part in parts} == {self.digest}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The words of the CIFAR-10 study, at a size for tests."""
    monkeypatch.setattr("harness.evaluation.metric.features", lambda *_: Projected())
    monkeypatch.setattr(PytorchFID, "dims", 4)
    monkeypatch.setattr(Inception, "ready", lambda *_: None)
    on_disk.cifar10(tmp_path / "data")
    torch.manual_seed(0)
    net = WRN(classes=10, channels=3, depth=10, widen=1, variant="standard", norm="batch", momentum=0.1)
    checkpoint = tmp_path / "model_bestfid.pth"
    torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, checkpoint)
    small = ["model.depth=10", "model.widen=1", "method.sampler.steps=1", "data.validation=10", "outliers=noise"]
    small += ["protocol.samples.count=20", "protocol.samples.chunk=20", "protocol.metrics.robustness.count=2"]
    small += ["protocol.metrics.fidelity.kid_subset=5", "workers=0", "tracking=off", "init_accuracy=0"]
    places = [f"init={checkpoint}", f"data.root={tmp_path / 'data'}", f"runs={tmp_path / 'runs'}"]
    return ["experiment=acceptance_dat_cifar10", *small, *places]


def test_figures_are_compared_and_a_missed_one_is_told_with_status_1(words, type_):
    status, out, _ = type_(*words)
    assert status == 1, "a net without training misses every figure"
    for key in ("clean_accuracy", "robust_accuracy/l2_0.5", "fid_pytorch"):
        assert f": {key} is " in out
    assert out.count(": missed") == 3 and "expected 90.72 ± 0.7" in out


def test_figures_that_are_met_are_told_with_status_0(words, type_):
    wide = ["expected.clean_accuracy=[50,51]", "expected.fid_pytorch=[0,1e9]"]
    status, out, _ = type_(*words, *wide)
    assert status == 1 and out.count(": met") == 2 and out.count(": missed") == 1
    both = [word for word in words if not word.startswith("experiment=")]
    status, out, _ = type_("method=pretrained", "data=cifar10", "protocol=acceptance", *both, *(f"+{w}" for w in wide))
    assert status == 0 and out.count(": met") == 2


@pytest.mark.parametrize("study", STUDIES)
def test_each_expected_score_is_one_that_the_protocol_gives(study):
    config = compose([f"experiment={study}", "init=null"])[0]
    assert config.expected.keys() == {"clean_accuracy", f"robust_accuracy/{STUDIES[study]}", "fid_pytorch"}
    assert config.protocol["id"] == "acceptance-1" and config.init_accuracy


def test_an_expected_score_needs_a_value_and_a_tolerance():
    with pytest.raises(harness.core.errors.UserError, match=r"expected\.x must be \[value, tolerance\]"):
        compose(["+expected.x=[1]"])
