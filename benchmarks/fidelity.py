"""Time the Fréchet distance of samples, by the harness and by a folder of PNG files: python benchmarks/fidelity.py [N].

Both store N random 32x32 samples, read them again, and compare the same features (a random projection onto 2,048
numbers) with the same statistics; the time of the projection is not counted. They take turns. Prints a markdown table.
"""

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import harness  # isort: skip # noqa: F401 - before anything that imports torchvision
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch_fidelity.datasets import ImagesPathDataset
from torch_fidelity.metric_fid import fid_features_to_statistics

from harness.evaluation.features import BATCH
from harness.evaluation.reference import Statistics, frechet
from harness.evaluation.samples import Samples, Sampling

ROUNDS, CHUNK = 3, 1000
PROJECTION = torch.randn(3 * 32 * 32, 2048, generator=torch.Generator().manual_seed(0))


class Extractor:
    """A random projection that measures its own time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images."""
        started = time.perf_counter()
        features = images.flatten(1).float() @ PROJECTION
        self.seconds += time.perf_counter() - started
        return features

    def of(self, batches: Iterable[Tensor]) -> Tensor:
        """Return the features of all batches."""
        return torch.cat([self(batch) for batch in batches])


def as_chunks(images: Tensor, folder: Path, extractor: Extractor) -> Tensor:
    """Store and read samples as the harness does: 8-bit chunks, each read as a whole."""
    samples = Samples(folder, Sampling(len(images), CHUNK, 0))
    for chunk in range(len(samples)):
        samples.write(chunk, images[samples.indices(chunk)[0] : samples.indices(chunk)[-1] + 1])
    return extractor.of(batch for chunk in samples for batch in chunk.split(BATCH))


def as_pictures(images: Tensor, folder: Path, extractor: Extractor) -> Tensor:
    """Store and read samples in the usual way: a PNG for each, read by torch-fidelity's dataset."""
    paths = [folder / f"{number:05d}.png" for number in range(len(images))]
    for path, image in zip(paths, (images * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy(), strict=True):
        Image.fromarray(image).save(path)
    return extractor.of(DataLoader(ImagesPathDataset(paths), batch_size=BATCH))


def main() -> None:
    """Time both ways, and check that they give the same distance."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 32, 32, generator=generator)
    other = (torch.rand(count, 3, 32, 32, generator=generator) * 255).to(torch.uint8)
    against: Statistics = fid_features_to_statistics(Extractor().of(other.split(BATCH)))
    # Time both ways in turn, without the projection.
    ways = {"chunks, as the harness": as_chunks, "PNG files": as_pictures}
    store: dict[str, list[float]] = {name: [] for name in ways}
    total: dict[str, list[float]] = {name: [] for name in ways}
    distances: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                extractor, started = Extractor(), time.perf_counter()
                features = way(images, Path(folder), extractor)
                stored = time.perf_counter() - started - extractor.seconds
                distances[name] = frechet(features, against)
                store[name].append(stored)
                total[name].append(time.perf_counter() - started - extractor.seconds)
    # Both must give the same distance.
    ours, reference = ways
    assert np.isclose(distances[ours], distances[reference]), distances
    print(f"| {count:,} samples | written and read, s | with the distance, s |\n| --- | --- | --- |")
    for name in ways:
        print(f"| {name} | {median(store[name]):.2f} | {median(total[name]):.2f} |")
    ratios = [median(seconds[reference]) / median(seconds[ours]) for seconds in (store, total)]
    print("| ratio | {:.1f} | {:.2f} |".format(*ratios))


if __name__ == "__main__":
    main()
