"""Edits by an energy: hidden pixels alone change, walks climb what they are to climb, and ends of a way stay."""

import pytest
import torch
from torch import nn

from harness.core.walk import Walk, joint_logit, marginal_score
from harness.evaluation import edits

HOW = Walk(steps=15, step=0.2)
LABELS = torch.tensor([0, 1, 2, 3])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.Tanh(), nn.Linear(32, 4)).eval()


@pytest.fixture
def images():
    return torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("part", "inside", "outside", "pixels"),
    [("left", (3, 0), (3, 5), 18), ("right", (0, 3), (0, 2), 18), ("top", (2, 2), (3, 2), 18),
     ("bottom", (3, 0), (2, 0), 18), ("centre", (2, 2), (0, 0), 16)],
)  # fmt: skip
def test_the_hidden_part_is_where_its_name_says(part, inside, outside, pixels):
    mask = edits.hidden(part, (1, 1, 6, 6))[0, 0]
    assert mask[inside] and not mask[outside] and mask.sum() == pixels


def test_other_parts_are_refused():
    with pytest.raises(ValueError, match="left, right"):
        edits.hidden("middle", (1, 1, 6, 6))


@pytest.mark.parametrize("part", edits.SIDES)
def test_inpainting_changes_hidden_pixels_alone_and_makes_the_class_likelier(net, images, part):
    mask, starts = edits.hidden(part, images.shape), torch.full_like(images, 0.5)
    objective = joint_logit(LABELS)
    filled = edits.inpaint(net, images, mask, starts, objective, HOW)
    kept = ~mask.expand_as(images)
    assert torch.equal(filled[kept], images[kept])
    assert filled.min() >= 0 and filled.max() <= 1
    assert (objective(net(filled)) > objective(net(torch.where(mask, starts, images)))).all()


def test_what_was_hidden_has_no_influence(net, images):
    mask = edits.hidden("left", images.shape)
    other = torch.where(mask, 1 - images, images)
    starts = torch.full_like(images, 0.5)
    both = [edits.inpaint(net, given, mask, starts, marginal_score, HOW) for given in (images, other)]
    assert torch.equal(*both)


def test_combined_classes_are_all_likelier_together(net, images):
    drawn = edits.combine(net, images, [0, 2], HOW)
    with torch.no_grad():
        before, after = (net(x)[:, [0, 2]].sum(1) for x in (images, drawn))
    assert (after > before).all()


def test_the_ends_of_a_way_are_the_images_and_what_lies_between_has_a_higher_score(net, images):
    way = edits.between(net, images[0], images[1], 5, marginal_score, HOW)
    mixed = torch.stack([(1 - t) * images[0] + t * images[1] for t in torch.linspace(0, 1, 5)])
    assert torch.equal(way[0], images[0]) and torch.equal(way[-1], images[1])
    with torch.no_grad():
        assert (marginal_score(net(way[1:-1])) > marginal_score(net(mixed[1:-1]))).all()
