"""Batches, augmentation, splits and outliers depend only on seeds and indices: no state, no network access."""

import socket
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch.utils.data import Dataset as View

import harness
from harness.core.dataset import OutlierView, TensorView
from harness.core.distributed import World
from harness.core.loader import Order, batches
from harness.datasets.digits import Digits
from harness.datasets.outliers.fields import Fields
from harness.datasets.outliers.patches import Patches
from harness.runs.build import stage_inputs
from harness.training import batches as of_stages

CPU = torch.device("cpu")


class Singles(View):
    """A view without `__getitems__`; each item holds its index and the seed of its augmentation."""

    def __getitem__(self, key):
        return torch.tensor(key), torch.tensor(key[0])


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**62), st.integers(0, 40), st.integers(0, 10))
def test_any_start_gives_the_batches_of_a_run_from_the_beginning(length, batch, seed, start, more):
    whole = list(Order(length, batch, seed, 0, start + more))
    assert whole[start:] == list(Order(length, batch, seed, start, start + more))
    assert all(len(keys) == batch for keys in whole)
    assert len(Order(length, batch, seed, start, start + more)) == more


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**62))
def test_every_epoch_visits_every_image_once(length, batch, seed):
    keys = [key for keys in Order(length, batch, seed, 0, 3 * length) for key in keys]
    epochs = [[index for index, _ in keys[e * length : (e + 1) * length]] for e in range(3)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    assert len({augmentation for _, augmentation in keys}) == len(keys), "each visit must have its own augmentation"


def test_epochs_and_seeds_shuffle_differently():
    def order(seed, epoch):
        return next(iter(Order(50, 50, seed, epoch, epoch + 1)))

    orders = [tuple(index for index, _ in order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def drawn(view, length, workers, start=3):
    return list(batches(view, length, 16, 7, start, 9, workers))


def test_the_number_of_workers_changes_nothing(digits):
    view = digits.view("train", "labelled")
    alone, shared = drawn(view, len(view), 0), drawn(view, len(view), 2)
    assert len(alone) == len(shared) == 6
    for (x, y), (other_x, other_y) in zip(alone, shared, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_batches_from_any_start_are_alike_in_pixels_too(digits):
    view = digits.view("train", "labelled")
    for (x, y), (other_x, other_y) in zip(drawn(view, len(view), 0, 0)[5:], drawn(view, len(view), 0, 5), strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_ranks_take_their_parts_of_a_batch_without_asking_each_other(monkeypatch):
    """Each step would wait for a collective."""

    def fail(*arguments, **options):
        pytest.fail("a collective in fetching a batch")

    for name in ("all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object", "broadcast_object_list"):
        monkeypatch.setattr(dist, name, fail)
    (run,) = harness.plan("method=atjem", "outliers.count=200", "tracking=off")
    stage = run.method.stages["joint"]

    def batch_of(world):
        inputs = replace(stage_inputs(run, "joint", stage, CPU), world=world)
        return next(of_stages.batches(stage, inputs, 0, 1, set()))[1]

    whole, parts = batch_of(World()), [batch_of(World(rank, 2)) for rank in range(2)]
    for stream in stage.streams:
        assert torch.equal(torch.cat([part.images[stream] for part in parts]), whole.images[stream])
        assert torch.equal(torch.cat([part.labels[stream] for part in parts]), whole.labels[stream])


def test_items_that_come_one_by_one_are_stacked():
    keys, labels = next(batches(Singles(), 10, 4, 0, 0, 1))
    assert keys.shape == (4, 2)
    assert torch.equal(keys[:, 0], labels)


def test_augmentation_is_a_shift_that_depends_on_its_seed_alone(digits):
    images, labels = digits.tensors("train")
    view = TensorView(images, labels, pad=1)
    keys = [(i % 3, seed) for i, seed in enumerate(range(200))]
    together, _ = view.__getitems__(keys)
    windows = torch.nn.functional.pad(images[:3], [1] * 4)
    found = set()
    for (index, seed), image in zip(keys, together, strict=True):
        assert torch.equal(image, view[(index, seed)][0]), "it must not depend on the batch"
        places = [(r, c) for r in range(3) for c in range(3)]
        shifts = [p for p in places if torch.equal(image[0], windows[index, 0, p[0] : p[0] + 8, p[1] : p[1] + 8])]
        assert shifts
        found.update(shifts if len(shifts) == 1 else [])
    assert len(found) == 9, "all shifts must occur"


def test_only_the_labelled_branch_is_augmented(digits):
    plain, _ = digits.tensors("train")
    for branch, same in (("plain", True), ("real", True), ("labelled", False)):
        images, _ = digits.view("train", branch).__getitems__([(i, 1000 + i) for i in range(50)])
        assert torch.equal(images, plain[:50]) == same


def test_the_splits_partition_all_digits_by_class_and_need_no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    digits = Digits()
    parts = {split: digits.tensors(split) for split in ("train", "validation", "test")}
    assert {split: len(y) for split, (_, y) in parts.items()} == {"train": 1257, "validation": 180, "test": 360}
    images, labels = (torch.cat([part[i] for part in parts.values()]) for i in (0, 1))
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float
    assert (images.min(), images.max()) == (0, 1)

    source = load_digits()
    theirs = torch.cat([torch.from_numpy(source.images).flatten(1), torch.from_numpy(source.target)[:, None]], 1)
    ours = torch.cat([16 * images.double().flatten(1), labels[:, None]], 1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist()), "each digit must be in exactly one split"
    shares = labels.bincount() / 1797
    for _, y in parts.values():
        assert (y.bincount(minlength=10) - shares * len(y)).abs().max() <= 1


def test_splits_depend_on_their_seed_alone():
    first, again, other = Digits(), Digits(), Digits(split_seed=1)
    assert torch.equal(first.tensors("test")[0], again.tensors("test")[0])
    assert not torch.equal(first.tensors("test")[0], other.tensors("test")[0])


@settings(max_examples=15, deadline=None)
@given(st.integers(10, 890), st.integers(10, 890))
def test_the_length_of_a_split_is_that_of_its_labels(validation, test):
    data = Digits(validation=validation, test=test)
    for split in ("train", "validation", "test"):
        assert data.length(split) == len(data.labels(split)) == len(data.view(split, "plain"))


def keys(count):
    return [(index, 0) for index in range(count)]


def rows(images):
    return {tuple(image.flatten().tolist()) for image in images}


@pytest.mark.parametrize("kind", [Fields, Patches])
def test_starts_are_fixed_and_disjoint_from_the_training_outliers(digits, kind):
    outliers, again = kind(digits, count=300), kind(digits, count=300)
    assert len(outliers) == 300
    starts = outliers.starts(range(300))
    trained = outliers.images(keys(300))
    for images in (starts, trained):
        assert images.shape == (300, 1, 8, 8)
        assert images.min() >= 0
        assert images.max() <= 1
    assert torch.equal(starts, again.starts(range(300)))
    assert torch.equal(trained, again.images(keys(300)))
    assert torch.equal(outliers.starts([7, 3]), starts[[7, 3]]), "each must depend only on its index"
    assert torch.equal(outliers.images([(7, 0), (3, 1)]), trained[[7, 3]])
    assert len(rows(starts)) == len(rows(trained)) == 300
    assert not rows(starts) & rows(trained)
    assert not torch.equal(kind(digits, count=300, seed=1).starts([0]), starts[:1])


def test_patches_keep_the_pixels_of_a_training_image_and_its_tiles(digits):
    def pixels(images):
        return rows(images.flatten(1).sort(1).values)

    def tiles(image):
        return sorted(
            tuple(image[0, r : r + 2, c : c + 2].flatten().tolist()) for r in range(0, 8, 2) for c in range(0, 8, 2)
        )

    shuffled = Patches(digits, tile=2, count=60).images(keys(60))
    sources = digits.tensors("train")[0]
    assert pixels(shuffled) <= pixels(sources)
    assert not rows(shuffled) & rows(sources)
    of_sources = [tiles(image) for image in sources]
    assert all(tiles(image) in of_sources for image in shuffled[:10])


def test_outliers_are_loaded_like_images_labelled_minus_one(digits):
    outliers = Fields(digits, count=30)
    x, y = next(batches(OutlierView(outliers), 30, 12, 0, 4, 5))
    keys = next(iter(Order(30, 12, 0, 4, 5)))
    assert torch.equal(x, outliers.images(keys))
    assert y.tolist() == [-1] * 12
