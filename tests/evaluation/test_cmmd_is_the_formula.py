"""CMMD is the squared maximum mean discrepancy of CLIP's embeddings, as its authors compute both."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.stats import t
from torch_fidelity.feature_extractor_clip import VisionTransformer

from harness.core.errors import UserError
from harness.evaluation import neighbours
from harness.evaluation.features import clip, features, missing, vit
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.cmmd import CMMD
from harness.evaluation.reference import reference
from harness.evaluation.samples import Samples, Sampling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    drawn = Samples(tmp_path_factory.mktemp("samples"), Sampling(count=60, chunk=25, seed=0))
    generator = torch.Generator().manual_seed(5)
    for chunk in range(len(drawn)):
        drawn.write(chunk, torch.rand(len(drawn.indices(chunk)), 1, 8, 8, generator=generator))
    return drawn


def mean_kernel(x, y, sigma):
    """The mean of the kernel over all pairs, each computed by itself."""
    return np.mean([[np.exp(-((a - b) ** 2).sum() / (2 * sigma**2)) for b in y] for a in x])


def discrepancy(x, y, sigma):
    return 1000 * (mean_kernel(x, x, sigma) + mean_kernel(y, y, sigma) - 2 * mean_kernel(x, y, sigma))


@pytest.mark.parametrize("sigma", [10.0, 4.0])
def test_the_score_and_its_interval_are_those_of_the_formula(digits, samples, tmp_path, sigma, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 17)  # so that sums are taken over several blocks
    subject, metric = Subject(None, digits, CPU, samples, tmp_path), CMMD(features="digits", sigma=sigma)
    # Few training images, so that pairs can be counted one by one.
    few = digits.labels("train")[:40]
    monkeypatch.setattr(type(digits), "labels", lambda self, split: few)
    parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
    (score,) = metric.merge(subject, parts).scores.values()
    x = np.concatenate([part["features"] for part in parts]).astype(np.float64)
    y = reference(subject.features("digits"), digits, "train", tmp_path).features.double().numpy()
    assert len(y) == 40 and score.value == pytest.approx(discrepancy(x, y, sigma)) and score.n == 60
    left_out = [discrepancy(np.delete(x, slice(6 * group, 6 * group + 6), 0), y, sigma) for group in range(10)]
    half = t.ppf(0.975, 9) * np.sqrt(9 * np.var(left_out))
    assert (score.low, score.high) == pytest.approx((max(0, score.value - half), score.value + half))
    # What was kept in the cache gives the same.
    assert metric.merge(subject, parts).scores["mmd_digits"] == score


@pytest.fixture
def small(monkeypatch):
    """CLIP's tower with two narrow layers."""
    narrow = {"embed_dim": 64, "depth": 2, "num_heads": 1}
    made = SimpleNamespace(create_model=lambda name, **fields: timm.create_model(name, **fields, **narrow))
    monkeypatch.setattr(vit, "timm", made)
    monkeypatch.setattr(clip.CLIP, "published", "")


@torch.no_grad()
def test_the_embeddings_are_those_of_openais_net(small, tmp_path):
    torch.manual_seed(0)
    net = VisionTransformer(336, 14, 64, 2, 1, 768).eval()
    for parameter in net.parameters():
        parameter.normal_(std=0.2)
    weights = {f"visual.{name}": tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(
        {**weights, "logit_scale": torch.ones(1), "ln_final.weight": torch.ones(8)}, tmp_path / "clip.safetensors"
    )
    images = torch.randint(0, 256, (2, 3, 336, 336), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    expected = net((images / 255 - mean) / std)
    extractor = features("clip", None, str(tmp_path / "clip.safetensors"), CPU, tmp_path)
    found = extractor(images)["features"]
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    # Grey images are repeated, and small ones enlarged by Keys' cubic with a = −1/2, whose weights at the rim sum to 1.
    ramp = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8)
    weights = _cubic(8, 336)
    enlarged = (weights @ ramp[0, 0].double() / 255 @ weights.T).float().expand(1, 3, -1, -1)
    expected = net((enlarged - mean) / std)
    torch.testing.assert_close(extractor(ramp)["features"], expected / expected.norm(), rtol=1e-3, atol=1e-4)


def _cubic(small, large, a=-0.5):
    places = (torch.arange(large, dtype=torch.double) + 0.5) * small / large - 0.5
    d = (places[:, None] - torch.arange(small)).abs()
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    weights = torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
    return weights / weights.sum(1, keepdim=True)


def test_weights_that_are_not_here_are_told_with_their_address(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (line,) = missing("clip", None)
    assert "open_clip_model.safetensors" in line and "extractors.clip=PATH" in line
    with pytest.raises(UserError, match="there is no such file"):
        CMMD(features="clip").ready(digits, Sampling(count=60, chunk=25, seed=0), {"clip": str(tmp_path / "none")})
