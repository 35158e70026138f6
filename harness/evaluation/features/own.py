"""Own features for fidelity metrics: a small classifier of the dataset's training split, for images of any kind.

The Inception network expects photographs of 299 pixels; its features say little of small or unusual images. For a
dataset of ours the weights are shipped, and were made by benchmarks/own_features.py; for any other dataset the
classifier is trained on first use and kept in the cache, under the digest of the training split.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_fidelity.registry import register_feature_extractor

from harness.core import loader
from harness.core.dataset import Dataset
from harness.core.errors import Damaged, UserError
from harness.core.files import locked_file
from harness.core.random import seed_global
from harness.core.tensors import load_tensors, save_tensors
from harness.evaluation.features import Source, shipped
from harness.evaluation.features.classifier import ClassifierFeatures
from harness.evaluation.reference import split_digest

log = logging.getLogger(__name__)

NAME = "own-features"

EPOCHS, BATCH, RATE = 5, 128, 4e-3

FEWEST, MOST = 600, 3_000
"""Bounds of the number of training steps, for small and for large splits."""

LARGEST, SMALLEST, POOLED = 64, 7, 5
"""Sides: what a larger image is reduced to first, the most that convolutions leave, and what that is pooled to."""


class Own(Source):
    """64 features of a small classifier of the dataset itself."""

    extractor = NAME
    distance = ("FD (own features)", "fd_own")
    suffix, key = " (own)", "_own"
    dims = 64
    layers: ClassVar[dict[str, str]] = {"features": "features", "logits": "logits"}
    channels = 1

    def ready(self, given: str | None, data: Dataset) -> None:
        """UserError unless the data have two classes or more, and images enough to train on."""
        if len(data.classes) < 2 or data.length("train") < BATCH:
            raise UserError(
                f"features=own are those of a classifier of the training split, which needs 2 classes and {BATCH} "
                f"images or more; there are {len(data.classes)} and {data.length('train')}."
            )

    def file(self, data: Dataset, cache: Path) -> Path:
        """The shipped weights of a dataset of ours; else those in the cache, trained if it has none."""
        name = type(data).__name__
        if not shipped("own", name):
            return in_cache(data, cache)
        return Path(__file__).with_name(f"own-{name.lower()}.safetensors")

    def warnings(self, file: Path) -> list[str]:
        """That distances in features which were trained on this machine compare only with each other."""
        if file.parent == Path(__file__).parent:
            return []
        return [f"the features are of {file.stem}, trained in this folder of runs: compare only distances in these"]


class Classifier(nn.Module):
    """64 features of images, N x C x H x W in [0, 1], and a head of one logit per class.

    halvings: number of strided convolutions. The features are normalised to unit variance on the training split, so
    none of them is dead.
    """

    def __init__(self, channels: int, classes: int, halvings: int) -> None:
        super().__init__()
        widths = [32, *[64] * halvings]
        layers = [_convolution(channels, 32, 1), *(_convolution(a, 64, 2) for a in widths[:-1])]
        pool, pooled = [nn.AdaptiveAvgPool2d(POOLED), nn.Flatten()], POOLED**2 * widths[-1]
        self.trunk = nn.Sequential(*layers, *pool, nn.Linear(pooled, 64), nn.BatchNorm1d(64, affine=False))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, classes))

    def features(self, x: Tensor) -> Tensor:
        """The features, N x 64."""
        return self.trunk(nn.functional.adaptive_avg_pool2d(x, LARGEST) if max(x.shape[2:]) > LARGEST else x)


def _convolution(channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def in_cache(data: Dataset, cache: Path) -> Path:
    """The weights of a dataset's classifier in the cache; trained if there are none, by one process."""
    path = cache / f"own-{split_digest(data, 'train')}.safetensors"
    with locked_file(path):
        try:
            if path.exists():
                load_tensors(path, torch.device("cpu"))
                return path
        except Damaged as error:
            log.warning("%s It is trained again.", error)
        log.info("The features of %s are trained, once: %s", type(data).__name__, path)
        save_tensors(path, train(data).state_dict())
    return path


def train(data: Dataset) -> Classifier:
    """A classifier of the training split, as samples are compared with it; in evaluation mode.

    It is trained on the CPU by one thread from one seed, so a machine always gives the same weights.
    """
    view, n, (channels, height, width) = data.view("train", "reference"), data.length("train"), data.shape
    steps = min(max(EPOCHS * n // BATCH, FEWEST), MOST)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with seed_global(0), torch.enable_grad():
            classifier = Classifier(channels, len(data.classes), halvings(min(LARGEST, max(height, width))))
            optimizer = torch.optim.AdamW(classifier.parameters(), RATE, weight_decay=1e-2)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
            for x, y in loader.batches(view, n, BATCH, seed=0, start=0, stop=steps):
                loss = nn.functional.cross_entropy(classifier.head(classifier.features(x)), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    finally:
        torch.set_num_threads(threads)
    return classifier.eval()


def halvings(side: int) -> int:
    """The number of strided convolutions that reduce a side to SMALLEST or less."""
    return 0 if side <= SMALLEST else 1 + halvings(-(-side // 2))


class OwnFeatures(ClassifierFeatures):
    """64 features and the logits of uint8 images, N x C x H x W, for torch-fidelity; the weights tell the net."""

    @staticmethod
    def untrained(weights: Mapping[str, Tensor]) -> Classifier:
        """The net whose channels, classes and depth are those of the weights."""
        convolutions = [tensor for tensor in weights.values() if tensor.ndim == 4]
        channels, classes = weights["trunk.0.0.weight"].shape[1], len(weights["head.1.bias"])
        return Classifier(channels, classes, len(convolutions) - 1)


register_feature_extractor(NAME, OwnFeatures)
