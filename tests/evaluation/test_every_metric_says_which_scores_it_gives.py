"""Every metric says before training exactly which scores its merge will give."""

import pkgutil

import numpy as np
import pytest
import torch

from harness.core.registry import find, make
from harness.evaluation import metrics
from harness.evaluation.features.digits import Digits as Extractor
from harness.evaluation.metric import Subject
from harness.evaluation.samples import Samples, Sampling

CPU = torch.device("cpu")
WALKS = {"split": "test", "radii": [1, 2], "steps": 1, "chunk": 180, "seed": 0}
OOD = {"split": "test", "sets": {"a": {"name": "noise"}, "b": {"name": "patches", "tile": 2}}, "count": 6, "chunk": 4}
ATTACKS = {"pgd": {"steps": 1, "step": 0.1, "eps": 1}, "apgd": {"steps": 2, "restarts": 1, "eps": 1}}
FIDELITY = {"features": "digits", "kid_subset": 20, "seed": 0}

CASES = {
    "accuracy": [{"split": "test"}],
    "calibration": [{"split": "test", "bins": 4}],
    "corruptions": [{"split": "test", "corruptions": ["contrast", "fog"], "constants": "cifar", "seed": 0}],
    "suites": [
        {**OOD, "near": ["a"], "far": ["b"], "scores": scores, "neighbours": 3, "fitted": 50}
        for scores in (["energy", "msp", "gradient", "knn", "mahalanobis"], ["msp"])
    ],
    "classwise": [{"features": "digits"}],
    "cmmd": [{"features": "digits"}],
    "explanations": [
        {"split": "train", "norm": norm, "eps": 1.5, "steps": 1, "features": "digits", "noise": 0.1, "starts": 2}
        | {"chunk": 200, "seed": 0, "count": 200}
        for norm in ("L2", "L1.5", "L1")
    ],
    "infinity": [{"features": "digits", "least": 66, "seed": 0, "points": 2}],
    "likelihood": [{"split": "test", "fit": "validation", "bins": 4}],
    # At this radius the first attack breaks every image.
    "robustness": [
        {"split": "test", "norm": norm, "eps": 3, "targets": 1, "chunk": 10, "seed": 0, "count": 10}
        for norm in ("L2", "Linf")
    ],
    "searched": [
        {"split": "test", "norm": "L2", "eps": 3, "targets": 1, "chunk": 10, "seed": 0, "count": 10}
        | {"search_precision": precision}
        for precision in ("tf32", "bf16")
    ],
    "fidelity": [
        FIDELITY,
        {**FIDELITY, "density": 3},
        {**FIDELITY, "density": 3, "statistics": "bare.npz"},
        {**FIDELITY, "density": 3, "statistics": "images.npz"},
        {**FIDELITY, "statistics": "images.npz"},
    ],
    "long_chains": [{"factors": [1, 2], "count": 66, "chunk": 40, "features": "digits", "against": "test"}],
    "masking": [
        {"split": "test", "norm": norm, "eps": 0.1, "large": 3, "steps": 2, "restarts": 1}
        | {"count": 10, "chunk": 5, "seed": 0}
        for norm in ("L2", "Linf")
    ],
    "memorisation": [{"features": "digits", "against": "test"}],
    "ood": [
        {**OOD, "scores": ["energy", "msp", "gradient"], "seed": 0, **ATTACKS},
        {**OOD, "scores": ["gradient"], "seed": 0},
    ],
    # So low a confidence is reached, which gives the distance at it.
    "counterfactuals": [{**WALKS, "features": "digits", "confidence": 0.01}, {**WALKS, "features": None}],
}
"""For each metric, entries that give all the scores that it can give."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of reference files: with statistics alone, and with images beside them."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    statistics = {"mu": np.zeros(64, np.float32), "sigma": np.eye(64)}
    np.savez(folder / "bare.npz", **statistics)
    np.savez(folder / "images.npz", **statistics, arr_0=rng.integers(0, 256, (30, 8, 8, 1), np.uint8))
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    drawn = Samples(tmp_path_factory.mktemp("samples"), Sampling(count=80, chunk=40, seed=0))
    generator = torch.Generator().manual_seed(5)
    for chunk in range(len(drawn)):
        drawn.write(chunk, torch.rand(40, 1, 8, 8, generator=generator))
    return drawn


def test_every_metric_is_tried_here():
    # RobustBench's images are in ImageNet alone: a test of its own has a small one.
    assert {module.name for module in pkgutil.iter_modules(metrics.__path__)} - {"robustbench"} == CASES.keys()


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, cases in CASES.items() for i in range(len(cases))])
def test_the_keys_that_a_metric_says_are_those_that_it_gives(
    name, number, digits, digits_net, files, samples, tmp_path
):
    fields = CASES[name][number] | ({"root": str(files)} if "statistics" in CASES[name][number] else {})
    metric = make(find("metric", name), name, fields)
    model = digits_net().eval().requires_grad_(False)

    def draw(factor, indices):
        return torch.cat([*samples])[indices] / (255 * factor)

    subject = Subject(model, digits, CPU, samples, tmp_path, draw=draw)
    given = metric.merge(subject, [metric.score(subject, shard) for shard in range(metric.shards(subject))])
    said = metric.keys(digits)
    assert sorted(said) == sorted(given.scores)


@pytest.mark.parametrize(
    ("attribute", "value", "absent"),
    [("layers", {"features": "features"}, {"is_digits"}), ("neighbours", False, {"kid_digits", "recall_digits"})],
)
def test_an_extractor_without_logits_or_neighbours_gives_fewer_scores(
    digits, digits_net, samples, tmp_path, monkeypatch, attribute, value, absent
):
    monkeypatch.setattr(Extractor, attribute, value)
    metric = make(find("metric", "fidelity"), "fidelity", FIDELITY)
    subject = Subject(digits_net().eval(), digits, CPU, samples, tmp_path)
    given = metric.merge(subject, [metric.score(subject, shard) for shard in range(metric.shards(subject))])
    assert sorted(metric.keys(digits)) == sorted(given.scores) and not absent & given.scores.keys()
