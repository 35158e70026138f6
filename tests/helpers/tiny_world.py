"""A folder in which pages of the documentation are tested, with the files that they show, tiny settings and no data."""

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest
import torch

from harness import datasets, methods, models
from harness.cli import request
from harness.core.extra import Extra
from harness.core.optim import Training
from harness.core.providers import FOLDERS
from harness.datasets import outliers
from harness.datasets.cifar import CIFAR10, CIFAR100
from harness.datasets.fashion_mnist import FashionMNIST
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers.cifar import CIFAR10 as Cars
from harness.datasets.outliers.cifar import CIFAR100 as Apples
from harness.datasets.outliers.folder import Folder
from harness.datasets.outliers.svhn import SVHN
from harness.datasets.outliers.tinyimages import TinyImages
from harness.evaluation import features, metrics
from harness.runs import compose, reopen
from harness.runs.config import Config

PACKAGES = {
    "methods": methods,
    "datasets": datasets,
    "datasets/outliers": outliers,
    "harness/evaluation/metrics": metrics,
    "harness/evaluation/features": features,
    "harness/models": models,
}
"""The packages that find the files shown on a page, by folder."""

METRICS = {
    "accuracy": {"split": "test"},
    "robustness": {"split": "test", "norm": "L2", "eps": 3, "targets": 9, "chunk": 10, "seed": 0},
    "fidelity": {"features": "digits", "kid_subset": 20, "seed": 0},
}
TINY = {
    "data": {"test": 20, "validation": 70},
    "model": {"width": 4},
    "outliers": {"count": 200},
    "protocol": {"metrics": METRICS, "selection": None, "samples": {"count": 70, "chunk": 35, "seed": 0}},
}
"""Settings that replace those of configs with the net for digits; at this radius an attack ends soon."""

STEPS = 4
"""Training steps of each stage."""


class World:
    """The folder; `patch` makes the harness tiny in this process and undoes it at the end."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.configs, self.composed = folder, folder / "configs", compose.compose
        self.modules: list[str] = []
        self.typed: set[tuple[str, ...]] = set()
        self.configs.mkdir()
        patch.chdir(folder)
        patch.setenv(FOLDERS, "")
        for path, package in PACKAGES.items():
            (folder / path).mkdir(parents=True, exist_ok=True)  # before it is first looked at
            patch.setattr(package, "__path__", [*package.__path__, str(folder / path)])
        for module in (compose, request, reopen):
            patch.setattr(module, "compose", self.compose)
        patch.setattr(Training, "steps", lambda training, images: STEPS)
        _no_files(patch)

    def compose(self, arguments: list[str], *more: object, **others: object) -> list[Config]:
        """Compose a command line with the configs that the pages show."""
        given = any(argument.startswith("--config-dir") for argument in arguments)
        where = [] if given else [f"--config-dir={self.configs}"]
        return [_tiny(config) for config in self.composed([*arguments, *where], *more, **others)]

    def write(self, file: str, text: str) -> None:
        """Write a file that a page shows to its place."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        invalidate_caches()
        if package := PACKAGES.get(Path(file).parent.as_posix()):
            self.modules.append(f"{package.__name__}.{path.stem}")

    def close(self) -> None:
        """Unload the modules that pages showed."""
        for module in self.modules:
            sys.modules.pop(module, None)


def _tiny(config: Config) -> Config:
    if config.model["name"] == "digits":
        kept = config.protocol.get("metrics", ())
        small = {**TINY["protocol"], "metrics": {name: METRICS[name] for name in METRICS if name in kept}}
        for part, fields in {**TINY, "protocol": small}.items():
            whole = getattr(config, part)
            whole |= {key: value for key, value in fields.items() if key in whole}
    return config


def _no_files(patch: pytest.MonkeyPatch) -> None:
    """Pretend that data and weights missing from this machine are complete; nothing can be trained on them."""
    for kind in (CIFAR10, CIFAR100, FashionMNIST, ImageNet, Cars, Apples, Folder, SVHN, TinyImages):
        patch.setattr(kind, "ready", lambda source: None)
    for kind in (CIFAR10, CIFAR100, FashionMNIST, ImageNet):
        patch.setattr(kind, "labels", lambda data, split: torch.zeros(45_000, dtype=torch.int64))
    patch.setattr(Folder, "require_apart", lambda source: None)
    patch.setattr(Extra, "ready", lambda extra, shape: None)
    patch.setattr(ImageNet, "classes", tuple(map(str, range(1000))))
    patch.setattr("harness.runs.run.digest", lambda path: path)
    patch.setattr("harness.runs.fetch.local", Path)
    patch.setattr("harness.training.weights.read", lambda path, choice="": {})
    patch.setattr("harness.training.weights.mark", lambda path, choice: "")
    patch.setattr("harness.training.weights.check", lambda weights, net, path: None)
