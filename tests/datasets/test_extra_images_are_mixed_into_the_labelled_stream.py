"""data.extra: each labelled batch has its share of images of an .npz file, a function of seed, step and index alone."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import on_disk
import pytest
import torch
from commandline import bare
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.core import extra as module
from harness.core.dataset import ExtendedView
from harness.core.distributed import World
from harness.core.errors import UserError
from harness.core.extra import Extra
from harness.core.files import read_json
from harness.core.loader import Mixed
from harness.datasets.cifar import CIFAR10
from harness.datasets.digits import Digits
from harness.runs.build import stage_inputs
from harness.runs.compose import compose
from harness.runs.execute import described, train_stage
from harness.runs.progress import Watch
from harness.runs.run import Run, load
from harness.training.batches import batches

CPU = torch.device("cpu")


def written(path, n=30, side=8, **changed):
    return on_disk.generated(path, n, side, **changed)


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "1m.npz")


def overrides(path, ratio=0.7, method="trades", steps=3):
    return [*bare(method, steps), f"+data.extra.root={path}", f"+data.extra.ratio={ratio}"]


def planned(path, *more, **choices):
    return Run(*compose([*overrides(path, **choices), *more]))


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 17), st.data(), st.integers(0, 2**62), st.integers(0, 9))
def test_each_batch_has_its_share_and_any_start_gives_the_same(length, extra, batch, data, seed, start):
    share = data.draw(st.integers(1, batch))
    stop = start + 3 * max(length, extra)
    whole = list(Mixed(length, extra, share, batch, seed, 0, stop))
    assert all(sum(index >= length for index, _ in keys) == share and len(keys) == batch for keys in whole)
    assert whole[start:] == list(Mixed(length, extra, share, batch, seed, start, stop))
    # Each half of a batch has half of the share, or one image more or less, and whole epochs have every image once.
    half = sum(index >= length for index, _ in whole[0][: batch // 2])
    assert abs(half - share * (batch // 2) / batch) < 1
    second = [index - length for keys in whole for index, _ in keys if index >= length]
    first = [index for keys in whole for index, _ in keys if index < length]
    for indices, size in ((second, extra), (first, length)):
        for epoch in range(len(indices) // size):
            assert sorted(indices[epoch * size : (epoch + 1) * size]) == list(range(size))
    assert len({seed for keys in whole for _, seed in keys}) == len(whole) * batch, "each visit has its augmentation"


def batch_of(run, ranks=1, step=2):
    (stage_run,) = run.stage_runs
    parts = []
    for rank in range(ranks):
        inputs = replace(stage_inputs(run, stage_run.name, stage_run.stage, CPU), world=World(rank, ranks))
        parts.append(next(batches(stage_run.stage, inputs, step, step + 1, set()))[1])
    return tuple(torch.cat([getattr(part, what)["labelled"] for part in parts]) for what in ("images", "labels"))


@pytest.mark.parametrize("ratio, expected", [(0.7, 11), (0.99, 16)])
def test_the_images_and_labels_of_a_batch_are_those_of_the_file_and_of_the_data(file, ratio, expected):
    run = planned(file, "data.pad=0", ratio=ratio)
    images, labels = batch_of(run)
    with np.load(file) as content:
        pairs = zip(content["image"], content["label"], strict=True)
        theirs = {(image[..., 0].tobytes(), int(label)) for image, label in pairs}
    ours = {(image.numpy().tobytes(), int(y)) for image, y in zip(*run.data.tensors("train"), strict=True)}
    sources = Counter(
        "file" if ((255 * image).round().byte().numpy()[0].tobytes(), int(y)) in theirs else
        "data" if (image.numpy().tobytes(), int(y)) in ours else "none"
        for image, y in zip(images, labels, strict=True)
    )  # fmt: skip
    assert sources == Counter({"file": expected, "data": 16 - expected}) - Counter()
    for ranks in (2, 4):
        shared = batch_of(run, ranks)
        assert torch.equal(shared[0], images) and torch.equal(shared[1], labels)


def test_the_real_stream_and_the_number_of_steps_stay(file):
    (run,) = harness.plan(*bare("atjem", 3))
    stage, plain = run.method.stages["joint"], run.data
    mixed = replace(plain, extra=Extra(str(file), 0.7))
    one, other = (
        next(batches(stage, replace(stage_inputs(run, "joint", stage, CPU), data=data), 0, 1, set()))[1].images
        for data in (plain, mixed)
    )
    assert torch.equal(one["real"], other["real"]) and not torch.equal(one["labelled"], other["labelled"])
    assert stage.training.steps(plain.length("train")) == stage.training.steps(mixed.length("train"))


def test_they_are_augmented_as_the_labelled_images_of_cifar_are(tmp_path):
    on_disk.cifar10(tmp_path, 40)
    data = CIFAR10(root=str(tmp_path), validation=10, check=False)
    extra = Extra(str(written(tmp_path / "1m.npz", side=32)), 0.5)
    view = ExtendedView(data, extra)
    image, label = view[(data.length("train") + 4, 12345)]
    pixels = torch.from_numpy(view.images[4]).permute(2, 0, 1)
    assert torch.equal(image, data.labelled(pixels, 12345)) and label == view.labels[4]
    assert torch.equal(view[(3, 99)][0], data.view("train", "labelled")[(3, 99)][0])


def test_a_run_is_named_by_the_content_of_the_file_and_keeps_to_it(file, tmp_path):
    moved = shutil.copy(file, tmp_path / "other.npz")
    run = planned(file, f"runs={tmp_path / 'runs'}")
    plain, half = Run(*compose(bare("trades", 3))), planned(file, ratio=0.5)
    assert planned(moved).fingerprint == run.fingerprint
    assert len({run.fingerprint, plain.fingerprint, half.fingerprint}) == 3
    assert run.stage_runs[0].fingerprint != plain.stage_runs[0].fingerprint
    run.freeze()
    written(file, seed=1)
    assert planned(file).fingerprint != run.fingerprint
    begun = load(run.folder)
    assert begun.fingerprint == run.fingerprint
    with pytest.raises(UserError, match="has changed since this run was begun"):
        batch_of(begun)


def test_a_stage_is_trained_and_the_record_says_what_it_saw(file, tmp_path):
    run = planned(file, f"runs={tmp_path / 'runs'}", steps=2)
    run.freeze()
    train_stage(run, run.stage_runs[0], Watch())
    assert read_json(run.stage_runs[0].folder / "done.json")["steps"] == 2
    assert described(run)["notes"]["extra images"].startswith("70% of each labelled batch are images of 1m.npz (sha256")


def no_file(path):
    path.unlink()


BAD = {
    "there is no such file": no_file,
    "an .npz with `image` and `label` is needed": lambda path: path.write_bytes(b"PK no archive"),
    "is needed .*label": lambda path: np.savez(path, image=np.zeros((3, 8, 8, 3), np.uint8)),
    "image should be N x 8 x 8 x 3 in uint8, but is uint8 of": lambda path: written(path, side=9),
    "but is float64 of": lambda path: written(path, image=np.zeros((30, 8, 8, 3))),
    "but is object of": lambda path: written(path, image=np.array([print] * 30)),
    "label should be 30 whole numbers, but is int64 of": lambda path: written(path, label=np.zeros(29, np.int64)),
    "but is float64 of \\(30,\\)": lambda path: written(path, label=np.zeros(30)),
    "label must hold a class of 0 … 9": lambda path: written(path, label=np.full(30, 10)),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_refused(message, file):
    BAD[message](file)
    with pytest.raises(UserError, match=message):
        Extra(str(file), 0.5).read((1, 8, 8), 10)


def test_they_are_bounded_and_only_the_header_says_so(file, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 30 * 8 * 8 * 3)
    Extra(str(file), 0.5).ready(Digits().shape)
    monkeypatch.setattr(module, "LARGEST", 30 * 8 * 8 * 3 - 1)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(UserError, match="take a part of them"):
        Extra(str(file), 0.5).ready(Digits().shape)


def test_settings_that_cannot_be_are_told_by_the_command(type_, tmp_path, file):
    for more, message in (
        ([f"+data.extra.root={file}"], "data.extra.ratio: this field is missing"),
        ([f"+data.extra.root={file}", "+data.extra.ratio=1"], "data.extra.ratio"),
        ([f"+data.extra.root={tmp_path / 'none.npz'}", "+data.extra.ratio=0.5"], "there is no such file"),
    ):
        status, _, error = type_(*bare("trades", 3), *more)
        assert status == 2 and message in error and not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="of a batch of 16 is no image"):
        batch_of(planned(file, ratio=0.01))
