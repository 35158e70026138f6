"""A run on a GPU goes from plan to record with the CPU's scores; so do all attacks and all extractors."""

import pkgutil

import pytest
import timm
import torch
from commandline import MORE, quick
from pretended_gpu import CPU, GPU, PretendedGPU
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

import harness
from harness.evaluation import metrics
from harness.evaluation.features import dinov2, source
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustness import STANDARD, Robustness
from harness.runs.build import untrained

STEPS = 3
ELSEWHERE = {"classwise", "cmmd", "robustbench", "searched"}
"""Metrics of features alone, of which only the extractor uses the device; and two that attack as `robustness` does."""

METRICS = {module.name for module in pkgutil.iter_modules(metrics.__path__)} - ELSEWHERE
EXTRACTORS = ("digits", "inception", "pytorchfid", "dinov2")


def evaluated(folder, device):
    """A tiny run under a protocol with all metrics and a selection of the sampler's steps, and its record."""
    (run,) = harness.plan(*quick("standard", STEPS), *MORE, f"runs={folder}", f"device={device}")
    return run, harness.run(run)


def test_a_run_goes_from_plan_to_record(tmp_path):
    _, here = evaluated(tmp_path / "cpu", "cpu")
    with PretendedGPU() as gpu:
        run, there = evaluated(tmp_path / "gpu", "cuda")
        assert gpu.waits_in_walks() == []
    assert {entry.get("metric", name) for name, entry in run.config.protocol["metrics"].items()} == METRICS
    assert there.state == "done" and there.scores.keys() == here.scores.keys()
    for key, score in here.scores.items():
        assert there.scores[key].value == pytest.approx(score.value, rel=1e-2, abs=1e-2), key


class Short(Robustness):
    """AutoAttack with all its attacks, each of a few passes."""

    def autoattack(self, subject):
        attack = super().autoattack(subject)
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 3
        attack.square.n_queries = 5
        return attack


class Agreed(Subject):
    """A subject with the labels that its model gives: at a tiny radius every image meets every attack."""

    def images(self, split, indices):
        x, _ = super().images(split, indices)
        return x, self.model(x).argmax(1)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_every_attack_of_autoattack_runs(norm):
    (run,) = harness.plan("method=standard", "model.width=4", "threads=1", "tracking=off")
    begun = []
    with PretendedGPU():
        model = untrained(run).to(GPU).eval().requires_grad_(False)
        subject = Agreed(model, run.data, GPU, None, None, tell=begun.append)
        part = Short("test", norm, 1e-6, targets=2, chunk=2, seed=0, count=2).score(subject, 0)
    assert part["outcomes"] == dict.fromkeys(("clean", *STANDARD), "11")
    assert begun == [f"{attack}: 2 of 2 stand" for attack in STANDARD]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_runs(name, digits, tmp_path, monkeypatch):
    # The weights of Inception are random, and the transformer is a tiny one.
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    monkeypatch.setattr(dinov2.DINOv2Features, "architecture", "vit_tiny_patch16_224")
    weights = (
        timm.create_model(dinov2.DINOv2Features.architecture, num_classes=0).state_dict() if name == "dinov2" else {}
    )
    torch.save(weights, tmp_path / "weights.pth")
    given = {} if name == "digits" else {name: str(tmp_path / "weights.pth")}
    images = torch.randint(0, 256, (2, source(name).channels, 8, 8), dtype=torch.uint8)

    def features(device):
        torch.manual_seed(0)
        return Subject(None, digits, device, None, tmp_path, given).features(name)(images)["features"]

    here = features(CPU)
    with PretendedGPU():
        there = features(GPU)
    assert here.std() > 0
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)
