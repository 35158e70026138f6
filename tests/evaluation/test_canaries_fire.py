"""Checks before each evaluation find what would falsify its numbers, and a sound run passes them."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import harness
from harness.core.dataset import TensorView
from harness.core.errors import CanaryFailed, Diverged, UserError
from harness.core.method import Method
from harness.datasets.digits import Digits
from harness.evaluation import canaries
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.fidelity import Fidelity
from harness.evaluation.reference import Reference, reference
from harness.runs import build
from harness.runs.build import untrained
from harness.runs.run import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run():
    (run,) = harness.plan("method=standard", "model.width=8", "model.mean=[0.3]", "model.std=[0.4]")
    return run


@pytest.fixture(scope="module")
def trained(run):
    """The run's net after a few seconds of training."""
    torch.manual_seed(0)
    model = untrained(run)
    images, labels = run.data.tensors("train")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def subject(model, data, cache=None, run=None, **fields):
    """The subject of an evaluation; with `run`, it has the fields that the canaries need."""
    if run is not None:
        constants = {key: run.config.model[key] for key in ("mean", "std")}
        fields = {"untrained": lambda: untrained(run), "constants": constants, "held_out": True} | fields
    return Subject(model, data, CPU, None, cache, **fields)


class Changed(Digits):
    """Digits with changed test images or test labels."""

    def __init__(self, images=lambda x: x, labels=lambda y: y):
        super().__init__()
        object.__setattr__(self, "of", (images, labels))

    def tensors(self, split):
        images, labels = Digits().tensors(split)
        return (self.of[0](images), self.of[1](labels)) if split == "test" else (images, labels)

    def view(self, split, branch):
        return TensorView(*self.tensors(split))

    def labels(self, split):
        return self.tensors(split)[1]


def test_a_sound_run_passes_and_its_figures_are_kept(run, trained):
    found = canaries.check_classifier(subject(trained, run.data, run=run))
    assert found["accuracy"] == found["accuracy, standardised by hand"] > 90
    assert found["accuracy, untrained"] < 40
    assert found["accuracy on other images"] > 90


def test_a_model_that_standardises_twice(run, trained):
    twice = copy.deepcopy(trained)
    once = type(twice).forward
    twice.__class__ = type("Twice", (type(twice),), {"forward": lambda self, x: once(self, (x - self.mean) / self.std)})
    with pytest.raises(CanaryFailed, match="twice"):
        canaries.check_classifier(subject(twice, run.data, run=run))


def test_a_net_that_standardises_its_pixels_itself(run, trained):
    class Itself(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = trained.net

        def forward(self, x):
            return self.net((x - 0.3) / 0.4)

    model = copy.deepcopy(trained)
    model.net = Itself()
    model.mean.fill_(2.0)  # far enough for the second standardisation to cost accuracy: every pixel becomes −10 or
    model.std.fill_(0.1)  # lower, where all digits look alike to a net and its accuracy is close to chance
    config = replace(run.config, model={**run.config.model, "mean": [2.0], "std": [0.1]})
    with pytest.raises(CanaryFailed, match="raw pixels"):
        canaries.check_classifier(subject(model, run.data, run=Run(config)))


def test_data_that_are_standardised_already(run, trained):
    with pytest.raises(UserError, match=r"values in \[0, 1\]"):
        canaries.check_classifier(subject(trained, Changed(images=lambda x: (x - 0.3) / 0.4), run=run))


def test_shuffled_labels(run, trained):
    with pytest.raises(CanaryFailed, match="labels of one split do not belong"):
        canaries.check_classifier(subject(trained, Changed(labels=lambda y: y[torch.randperm(len(y))]), run=run))


@pytest.mark.parametrize("others", [True, False], ids=["trained by others", "trained here"])
def test_a_net_that_knows_its_training_images_by_heart_is_no_fault_of_the_evaluation(run, trained, others):
    some = torch.arange(360) % 2 == 0  # the net cannot classify every other test image

    def hard(images):
        return torch.where(some[:, None, None, None], images.flip(-1).transpose(2, 3), images)

    judged = subject(trained, Changed(images=hard), run=run, held_out=not others)
    if others:
        canaries.check_classifier(judged)
    else:
        with pytest.raises(CanaryFailed, match="prepared otherwise"):
            canaries.check_classifier(judged)


def test_test_images_that_are_easier_than_those_trained_on(run, trained):
    class Hard(Digits):
        def view(self, split, branch):
            images, labels = Digits().tensors(split)
            return TensorView(images if split == "test" else images.flip(-1).transpose(2, 3), labels)

    with pytest.raises(CanaryFailed, match="prepared otherwise"):
        canaries.check_classifier(subject(trained, Hard(), run=run))


def test_images_that_tell_their_labels(run, trained):
    with pytest.raises(CanaryFailed, match="untrained copy"):
        canaries.check_classifier(subject(trained, run.data, run=run, untrained=lambda: trained))


def test_an_untrained_net_passes_the_checks_of_the_labels(run):
    canaries.check_classifier(subject(untrained(run).eval(), run.data, run=run))  # no fault of the evaluation


def test_statistics_of_other_images(run, digits, tmp_path):
    features = subject(None, digits, tmp_path).features("digits")
    right = reference(features, digits, "train", tmp_path)
    (figure,) = canaries.check_reference(subject(None, digits), features, right).values()
    assert figure < 1e-3, "the images are the same"
    of_test = reference(features, Changed(images=lambda x: 1 - x), "test", tmp_path)
    with pytest.raises(CanaryFailed, match="statistics are of other images"):
        canaries.check_reference(subject(None, digits), features, of_test)
    wide = Reference({"mu": right.statistics["mu"], "sigma": 3 * right.statistics["sigma"]}, None)
    with pytest.raises(CanaryFailed, match="variance"):
        canaries.check_reference(subject(None, digits), features, wide)


def test_a_statistics_file_of_other_images(digits, tmp_path):
    of = subject(None, digits, tmp_path)
    for name, split in (("right", "train"), ("wrong", "test")):
        data = digits if name == "right" else Changed(images=lambda x: 1 - x)
        np.savez(tmp_path / f"{name}.npz", **reference(of.features("digits"), data, split, tmp_path).statistics)
    right, wrong = (
        Fidelity(features="digits", kid_subset=50, seed=0, statistics=str(tmp_path / f"{name}.npz"))
        for name in ("right", "wrong")
    )
    (figure,) = right.check(of).values()
    assert figure < 1e-3
    with pytest.raises(CanaryFailed, match=r"check protocol\.metrics\.fidelity\.statistics"):
        wrong.check(of)


def test_the_figure_of_the_reference_is_one_on_average_for_images_of_its_distribution(digits, tmp_path, monkeypatch):
    features = subject(None, digits, tmp_path).features("digits")
    right = reference(features, digits, "train", tmp_path)
    root = np.linalg.cholesky(right.statistics["sigma"])
    rng, figures = np.random.default_rng(0), []
    for _ in range(400):
        drawn = right.statistics["mu"] + rng.normal(size=(200, 64)) @ root.T
        monkeypatch.setattr(canaries, "load_images", lambda view, indices, drawn=drawn: [torch.from_numpy(drawn)])
        of_images = type("Drawn", (), {"__call__": lambda self, x: {"features": x}, "source": features.source})()
        figures += canaries.check_reference(subject(None, digits), of_images, right).values()
    # For Gaussian images the figure is Σ λ z² / Σ λ, with λ the eigenvalues of Σ and z standard normal: its mean is 1
    # and its variance 2 Σ λ² / (Σ λ)² = 2 ‖Σ‖² / (tr Σ)². For any extractor that a CPU trains, the mean of this many
    # figures is off by more than four standard errors (here about 0.1) in 1 of 16,000 cases.
    sigma = right.statistics["sigma"]
    error = np.sqrt(2 * np.square(sigma).sum() / len(figures)) / np.trace(sigma)
    assert abs(np.mean(figures) - 1) < 4 * error
    assert max(figures) < canaries.OFF


class Small(Method):
    """A method whose samples have the wrong size."""

    def __init__(self, of):
        self.of, self.sampler = of, of.sampler

    stages = property(lambda self: self.of.stages)

    def sample(self, model, starts, labels, state, rng):
        return starts[:, :, :4, :4]


def test_samples_of_the_wrong_size_are_found_before_the_attacks(run, trained, tmp_path):
    judged, protocol = subject(trained, run.data, tmp_path, run), run.config.protocol
    evaluation = Evaluation(judged, Small(run.method), {}, build.outliers(run), protocol, tmp_path)
    with pytest.raises(CanaryFailed, match=r"\(2, 1, 4, 4\), but should be \(2, 1, 8, 8\)"):
        evaluation.canaries()


@pytest.mark.parametrize(("logits", "reason"), [(torch.nan, "not finite"), (1.0, "same for every image")])
def test_logits_that_say_nothing_end_the_run_as_diverged(run, trained, logits, reason):
    class Says(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 10), logits)

    model = copy.deepcopy(trained)
    model.net = Says()
    with pytest.raises(Diverged, match=reason):
        canaries.check_classifier(subject(model, run.data, run=run))
