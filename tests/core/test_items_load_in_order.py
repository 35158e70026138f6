"""Items of an evaluation are loaded in the given order, the same with and without worker processes."""

import on_disk
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.core.dataset import BadImage, TensorView
from harness.core.errors import UserError
from harness.core.loader import PIECE, in_order
from harness.datasets.imagenet import ImageNet
from harness.evaluation.metric import Subject
from harness.evaluation.reference import load_images

LABELS = torch.arange(50)
VIEW = TensorView(LABELS.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2), LABELS)


class Noting:
    """A view that notes which items were loaded."""

    def __init__(self):
        self.loaded = []

    def __getitem__(self, key):
        self.loaded.append(key)
        return VIEW[key]


@given(indices=st.lists(st.integers(0, 49), max_size=60), batch=st.integers(1, 70))
def test_batches_are_those_of_the_indices(indices, batch):
    batches = [*in_order(VIEW, indices, batch)]
    assert [len(labels) for _, labels in batches[:-1]] == [batch] * (len(batches) - 1)
    assert [int(label) for _, labels in batches for label in labels] == indices
    assert all(torch.equal(images[:, 0, 0, 0].long(), labels) for images, labels in batches)


@pytest.mark.parametrize("batch", [7, PIECE, 3 * PIECE + 1])
def test_workers_change_nothing(batch):
    indices = [*range(49, -1, -1), 3, 3]
    alone, shared = ([*in_order(VIEW, indices, batch, workers)] for workers in (0, 2))
    assert len(alone) == len(shared)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_no_more_items_are_held_than_a_batch():
    view = Noting()
    batches = in_order(view, range(50), 8)
    for number in range(1, 4):
        next(batches)
        assert view.loaded == [(index, 0) for index in range(8 * number)]


@pytest.fixture
def imagenet(tmp_path):
    return ImageNet(root=str(on_disk.imagenet(tmp_path / "imagenet")), size=16, validation=0)


def subject(data, tmp_path, workers):
    return Subject(None, data, torch.device("cpu"), samples=None, cache=tmp_path, workers=workers)


def test_metrics_and_references_get_the_same_photographs(imagenet, tmp_path):
    indices = [*range(imagenet.length("train"))]
    assert len(indices) > PIECE
    alone, shared = (subject(imagenet, tmp_path, workers) for workers in (0, 2))
    for one, other in zip(alone.images("train", indices), shared.images("train", indices), strict=True):
        assert torch.equal(one, other)
    by_hand = torch.stack([imagenet.view("train", "reference")[index, 0][0] for index in indices])
    loaded = torch.cat([*load_images(imagenet.view("train", "reference"), indices)])
    assert torch.equal(loaded, (255 * by_hand).to(torch.uint8))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_photograph_that_cannot_be_read_is_named_in_one_line(imagenet, tmp_path, workers):
    view = imagenet.view("train", "plain")
    path = view.listing.path(3)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadImage if workers == 0 else UserError) as caught:
        subject(imagenet, tmp_path, workers).images("train", [*range(imagenet.length("train"))])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
