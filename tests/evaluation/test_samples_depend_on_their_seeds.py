"""Sample i has class i mod K, start i and seed i for any chunk size; existing chunks are not drawn again."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.core.random import derive
from harness.core.walk import Walk
from harness.datasets.outliers.fields import Fields
from harness.evaluation.evaluator import chunks
from harness.evaluation.samples import Samples, Sampling, draw, eight_bits, save_grid
from harness.evaluation.workers import run_local
from harness.methods.at import AT, Robust
from harness.methods.jem import JEM, Chains, Energy

CPU = torch.device("cpu")
SGLD = Walk(steps=3, step=0.25, direction="raw", noise=0.05, clamp=False)
UNIT = Walk(steps=3, step=0.2)
BUFFER = {"buffer": torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def methods(training):
    robust = Robust(Walk(steps=1, step=0.1, eps=0.5), training(1))
    return {
        "atjem": (AT(robust, UNIT), {}),
        "noisy": (AT(robust, Walk(steps=3, step=0.2, noise=0.05)), {}),
        "jem": (JEM(Energy(Chains(SGLD, buffer=50), training(1)), SGLD), BUFFER),
    }


NAMES = ["atjem", "noisy", "jem"]


class Recorder:
    """A method that records its arguments and returns images computed from the starts."""

    def __init__(self):
        self.labels, self.starts, self.noise = [], [], []

    def sample(self, model, starts, labels, state, rng):
        self.labels += labels.tolist()
        self.starts += starts[:, 0, 0, 0].tolist()
        self.noise += rng.normal(torch.zeros(len(starts), 1))[:, 0].tolist()
        return starts / 255 + 0.5 / 255


class Numbered:
    """Outliers whose start i is filled with the value i."""

    def starts(self, indices):
        return torch.tensor([float(i) for i in indices]).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)


def make(method, how, folder, classes=3, model=None, state=None, outliers=None, watch=lambda _: None):
    """The samples of a run, drawn chunk by chunk as in an evaluation."""
    samples, outliers = Samples(folder, how), outliers or Numbered()

    def made(indices):
        return draw(method, model, state or {}, outliers, classes, how.seed, indices, CPU)

    silent = SimpleNamespace(summary=lambda name: "", tell=None)
    run_local(silent, list(chunks("samples", samples, made)), lambda name, done, total, words: watch(done))
    return torch.cat(list(samples))


@settings(max_examples=20)
@given(st.integers(4, 20), st.integers(1, 25), st.integers(1, 5))
def test_labels_go_round_and_starts_go_in_order(tmp_path_factory, count, chunk, classes):
    recorder, told = Recorder(), []
    folder = tmp_path_factory.mktemp("samples")
    images = make(recorder, Sampling(count, chunk, seed=5), folder, classes, watch=told.append)
    assert recorder.labels == [i % classes for i in range(count)]
    assert recorder.starts == [float(i) for i in range(count)]
    assert images[:, 0, 0, 0].tolist() == list(range(count))
    assert images.dtype == torch.uint8
    expected = [torch.randn(1, generator=torch.Generator().manual_seed(derive(5, "sample", i))) for i in range(count)]
    assert recorder.noise == torch.cat(expected).tolist()
    assert told == list(range(-(-count // chunk) + 1))
    assert len(list(folder.glob("*.npy"))) == len(list(folder.glob("*.json"))) == told[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_alike_whatever_chunk_it_is_made_in(name, digits, digits_net, training):
    method, state = methods(training)[name]
    model, outliers = digits_net(width=8).eval(), Fields(digits, count=10)

    def made(first, last):
        return draw(method, model, state, outliers, 10, 0, range(first, last), CPU)

    whole = made(0, 12)
    for chunk in (1, 5):
        apart = torch.cat([made(i, min(i + chunk, 12)) for i in range(0, 12, chunk)])
        torch.testing.assert_close(apart, whole, rtol=0, atol=1e-6)
    assert len({tuple(image.flatten().tolist()) for image in whole}) == 12
    assert whole.min() >= 0
    assert whole.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_chunk_size_changes_no_stored_sample_by_more_than_rounding(name, digits, digits_net, training, tmp_path):
    method, state = methods(training)[name]
    model, outliers = digits_net(width=8).eval(), Fields(digits, count=10)
    whole, apart = (
        make(method, Sampling(12, chunk, seed=1), tmp_path / f"{chunk}", 10, model, state, outliers)
        for chunk in (12, 5)
    )
    assert (whole.int() - apart.int()).abs().max() <= 1
    assert (whole != apart).float().mean() < 0.01


@pytest.mark.parametrize(("name", "matters"), [(name, name != "atjem") for name in NAMES])
def test_the_seed_decides_the_noise(name, matters, digits, digits_net, training, tmp_path):
    method, state = methods(training)[name]
    model, outliers = digits_net(width=8).eval(), Fields(digits, count=10)
    first, again, other = (
        make(method, Sampling(4, 4, seed=seed), tmp_path / folder, 10, model, state, outliers)
        for seed, folder in ((1, "first"), (1, "again"), (2, "other"))
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) != matters


def test_chunks_that_are_there_are_not_made_again(tmp_path):
    how = Sampling(count=10, chunk=4, seed=0)
    make(Recorder(), how, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["0000000.npy", "0000004.npy", "0000008.npy"]
    Samples(tmp_path, how).write(1, torch.full((4, 1, 2, 2), 77.5 / 255))
    (tmp_path / "0000008.json").unlink()
    recorder = Recorder()
    images = make(recorder, how, tmp_path)
    assert recorder.starts == [8.0, 9.0], "only the missing chunk must be drawn"
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 77, 77, 77, 77, 8, 9]


def test_eight_bits_truncate():
    values = torch.tensor([0.0, 0.999 / 255, 1 / 255, 254.999 / 255, 0.999, 1.0])
    assert eight_bits(values).tolist() == [0, 0, 1, 254, 254, 255]
    grey = torch.linspace(0, 1, 10_001)
    assert eight_bits(grey).tolist() == np.floor(grey.numpy() * np.float32(255)).astype(int).tolist()


@pytest.mark.parametrize(("classes", "n", "columns", "rows"), [(3, 40, 3, 10), (3, 7, 3, 3), (1000, 200, 10, 10)])
def test_the_grid_has_a_column_for_each_class_unless_they_are_a_thousand(classes, n, columns, rows, tmp_path):
    save_grid(torch.zeros(n, 1, 48, 48, dtype=torch.uint8), classes, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (2 + 50 * columns, 2 + 50 * rows)
