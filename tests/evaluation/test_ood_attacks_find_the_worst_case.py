"""Attacks on outliers: the published one equals its formula, APGD is stronger, and none is weaker than no attack."""

import by_hand
import numpy as np
import pytest
import torch
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.random import derive
from harness.datasets.outliers.noise import Noise
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.ood import OOD
from harness.evaluation.ood_scores import APGD, PGD, ood_score

CPU = torch.device("cpu")
SETS = {"noise": {"name": "noise"}, "patches": {"name": "patches"}}
SCORERS = ("energy", "msp")
WEAK, STRONG = PGD(steps=20, step=0.1, eps=1.0), APGD(steps=25, restarts=5, eps=1.0)


@pytest.fixture(scope="module")
def model(digits):
    """A small net with normalisation and dropout, trained for about a second and left in training mode."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 10)]
    model = EnergyModel(nn.Sequential(*layers), [0.5], [0.5])
    images, labels = digits.tensors("train")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(5):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def of(model, digits):
    return Subject(model, digits, CPU, samples=None, cache=None)


@pytest.fixture(scope="module")
def outliers(digits):
    return torch.rand(20, *digits.shape, generator=torch.Generator().manual_seed(4))


def metric(pgd=WEAK, apgd=None, **changes):
    fields = {"split": "test", "sets": SETS, "scores": SCORERS, "count": 16, "chunk": 8, "seed": 0} | changes
    return OOD(**fields, pgd=pgd, apgd=apgd)


def attacked(how, of):
    """The scores of all outliers, keyed by set and by score and attack."""
    parts = [how.score(of, shard) for shard in range(1, how.shards(of))]
    half = len(parts) // 2
    sets = {"noise": parts[:half], "patches": parts[half:]}
    return {(name, key): np.concatenate([p[key] for p in ps]) for name, ps in sets.items() for key in ps[0]}


@pytest.mark.parametrize("steps", [1, 20])
def test_the_published_attack_walks_by_its_formula(net, images, steps):
    small, how = by_hand.Net(net), PGD(steps, step=0.1, eps=1.0)
    ascents = {"energy": by_hand.ascent_of_marginal(small), "msp": by_hand.ascent_of_confidence(small)}
    for scorer, gradient in ascents.items():
        ours = how.attacked(net, images, scorer, seed=0)
        theirs = by_hand.pgd(gradient, images.numpy(), images.numpy(), steps, 0.1, 1.0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    assert steps == 1 or (by_hand.norm(theirs - images.numpy(), 2) > 0.9).any(), "the walk must reach the ball"


@pytest.mark.parametrize("how", [WEAK, STRONG, PGD(1, 9.0, 0.5), APGD(1, 1, 9.0)])
@pytest.mark.parametrize("scorer", SCORERS)
def test_attacked_images_stay_in_the_ball_and_are_images(model, outliers, how, scorer):
    found = how.attacked(model, outliers, scorer, seed=1)
    assert found.shape == outliers.shape
    assert ((found - outliers).flatten(1).norm(dim=1) <= how.eps * (1 + 1e-5)).all()
    assert 0 <= found.min() <= found.max() <= 1
    assert not torch.equal(found, outliers)


@pytest.mark.parametrize("scorer", SCORERS)
def test_apgd_is_stronger_than_the_published_attack(model, outliers, scorer):
    clean, weak, strong = (
        ood_score(model, x, scorer)
        for x in (outliers, WEAK.attacked(model, outliers, scorer, 0), STRONG.attacked(model, outliers, scorer, 0))
    )
    assert clean.mean() < weak.mean() < strong.mean()


class Linear(nn.Module):
    """A net with logits w · x and −10⁴, so that the energy score is w · x."""

    def __init__(self, w):
        super().__init__()
        self.w = w

    def forward(self, x):
        score = (x * self.w).flatten(1).sum(1)
        return torch.stack([score, torch.full_like(score, -1e4)], 1)


@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e3])
def test_apgd_reaches_the_maximum_however_steep_the_score(slope):
    # With a slope of 1e3 a random start scores up to 300 less than the clean image: a softmax would be flat there.
    w = slope * torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    model, clean = EnergyModel(Linear(w), [0.0], [1.0]), torch.full((8, 1, 4, 4), 0.5)
    found = APGD(steps=20, restarts=1, eps=0.3).attacked(model, clean, "energy", seed=0)
    gained = ood_score(model, found, "energy") - ood_score(model, clean, "energy")
    assert gained.numpy() == pytest.approx(0.3 * w.norm().item(), rel=1e-3)


class Decoy(nn.Module):
    """The first logit's odds rise with the right column; KL( U ‖ p ) rises faster as the left column falls."""

    def forward(self, x):
        columns = x.sum((1, 2))
        return torch.stack([columns[:, -1], torch.zeros(len(x)), -90 + 9 * columns[:, 0]], 1)


def test_apgd_on_msp_raises_the_largest_probability_itself():
    model, clean = EnergyModel(Decoy(), [0.0], [1.0]), torch.full((4, 1, 4, 4), 0.5)
    found = APGD(steps=20, restarts=1, eps=0.3).attacked(model, clean, "msp", seed=0)
    gained = ood_score(model, found, "msp") - ood_score(model, clean, "msp")
    assert gained.numpy() == pytest.approx(0.3 * 2, rel=1e-3)  # 2 is the norm of (1, 1, 1, 1)


@pytest.mark.parametrize("how", [{"apgd": STRONG}, {"pgd": PGD(3, step=1.5, eps=0.5)}, {"pgd": PGD(1, 9.0, 9.0)}])
def test_an_outlier_scores_at_least_as_high_as_without_the_attack(of, how):
    found = attacked(metric(**how), of)
    for (name, key), values in found.items():
        clean = found[name, key.partition("/")[0]]
        assert (values >= clean).all()
        assert "/" not in key or (values > clean).any()


class Peak(nn.Module):
    """A net whose score is highest for a grey image and falls with the distance from it."""

    def forward(self, x):
        score = -((x - 0.5) ** 2).sum((1, 2, 3))
        return torch.stack([score, torch.full_like(score, -100)], 1)


def test_where_an_attack_lowers_the_score_the_outlier_stays_as_it_was(digits):
    overshooting, peak = PGD(1, step=9.0, eps=9.0), EnergyModel(Peak(), [0.0], [1.0])
    part = metric(pgd=overshooting).score(Subject(peak, digits, CPU, samples=None, cache=None), 1)
    images = Noise(digits).starts(range(8))
    for scorer in SCORERS:
        there = ood_score(peak, overshooting.attacked(peak, images, scorer, 0), scorer).numpy()
        assert (there < part[scorer]).all(), "the attack itself must lower the score"
        assert np.array_equal(part[f"{scorer}/pgd"], part[scorer])


def test_shards_do_not_depend_on_their_order_or_on_the_global_generator(of):
    how = metric(apgd=APGD(steps=5, restarts=2, eps=1.0))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = [how.score(of, shard) for shard in range(how.shards(of))]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    for shard in reversed(range(how.shards(of))):
        again = how.score(of, shard)
        assert all(np.array_equal(again[key], first[shard][key]) for key in first[shard])


def test_every_attack_has_random_numbers_of_its_own_fixed_by_the_protocol(of, monkeypatch):
    seeds = []

    def spy(self, model, images, scorer, seed):
        seeds.append((len(images), scorer, seed))
        return images

    monkeypatch.setattr(APGD, "attacked", spy)
    how = metric(pgd=None, apgd=STRONG, count=12)
    for shard in range(how.shards(of)):
        how.score(of, shard)
    named = [(name, chunk, scorer) for name in SETS for chunk in (0, 1) for scorer in SCORERS]
    assert seeds == [(8 - 4 * chunk, scorer, derive(0, name, scorer, chunk)) for name, chunk, scorer in named]


def test_the_seed_is_that_of_apgd_s_starts(model, outliers):
    how = APGD(steps=1, restarts=1, eps=1.0)
    found = [how.attacked(model, outliers, "energy", seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_more_restarts_are_never_weaker(model, outliers):
    one, five = (APGD(3, restarts, 1.0).attacked(model, outliers, "energy", 0) for restarts in (1, 5))
    few, many = ood_score(model, one, "energy"), ood_score(model, five, "energy")
    assert (many >= few).all()
    assert (many > few).any()


@pytest.mark.parametrize("how", [WEAK, STRONG])
def test_the_net_is_attacked_in_evaluation_mode_and_left_as_it_was(model, outliers, how):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert model.training
    found = how.attacked(model, outliers, "msp", 0)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.eval()
    assert torch.equal(how.attacked(model, outliers, "msp", 0), found)
    model.train()


def test_a_chunk_may_hold_one_image(of):
    found = attacked(metric(apgd=APGD(5, 1, 1.0), count=3, chunk=2), of)
    assert {len(values) for values in found.values()} == {3}


def test_the_area_falls_under_attack(of):
    how = metric(apgd=APGD(steps=10, restarts=1, eps=1.0))
    scores = how.merge(of, [how.score(of, shard) for shard in range(how.shards(of))]).scores
    for name in SETS:
        for scorer in SCORERS:
            areas = [scores[f"ood/{name}/{scorer}{attack}/auroc"].value for attack in ("", "/pgd", "/apgd")]
            false = [scores[f"ood/{name}/{scorer}{attack}/fpr95"].value for attack in ("", "/pgd", "/apgd")]
            assert areas[0] > max(areas[1:])
            assert false[0] <= min(false[1:])
    assert scores["ood_auroc_attacked"].value < scores["ood_auroc"].value


def test_alone_the_attacked_score_counts_even_where_the_clean_one_is_higher(of, monkeypatch):
    """As in the authors' code of DAT, whose last iterate may have lost what the clean image had."""
    monkeypatch.setattr(PGD, "attacked", lambda self, model, images, *_: 1 - images)  # an attack that fails
    worst, alone = attacked(metric(), of), attacked(metric(alone=True), of)
    lower = 0
    for (name, key), values in alone.items():
        scorer, _, attack = key.partition("/")
        clean = alone[name, scorer]
        expected = np.maximum(values, clean) if attack else values
        np.testing.assert_array_equal(worst[name, key], expected)
        lower += int((values < clean).sum())
    assert lower > 0
