"""Time the loading of photographs for an evaluation: python benchmarks/photographs.py --images 400 --workers 2.

Writes random JPEGs of ImageNet's usual size, 500x375, in its folders. All ways take turns: `decode` only opens each
file as RGB in a pool of processes; `prepare` also resizes, crops and converts it, which is the work of the others;
`harness` is what metrics get of a split, and `alone` the same without workers; `reference` is what references are made
of; `ImageFolder` is torchvision's, with torch's DataLoader. Prints a markdown table of photographs a second, and the
most memory of this process and of a worker.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import harness  # isort: skip # noqa: F401 - before anything that imports torchvision
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from harness.core.energy import EnergyModel
from harness.datasets.imagenet import ImageNet
from harness.datasets.pictures import open_rgb
from harness.evaluation.metric import BATCH, Subject
from harness.evaluation.reference import load_images
from harness.evaluation.samples import Samples, Sampling

HEIGHT, WIDTH, QUALITY = 375, 500, 85
DISTINCT = 20
"""Number of different pictures; the other files repeat them."""


def write(root: Path, images: int) -> None:
    """Write the photographs of two classes to train and val."""
    generator = torch.Generator().manual_seed(0)
    for number in range(images):
        for part in ("train", "val"):
            folder = root / part / f"n0144076{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{number:05d}.JPEG"
            if number >= DISTINCT or part == "val":
                source = root / "train" / f"n0144076{number % DISTINCT % 2}" / f"{number % DISTINCT:05d}.JPEG"
                path.write_bytes(source.read_bytes())
                continue
            # Coarse random colours with fine noise, which compress about as well as a photograph.
            coarse = torch.rand(1, 3, HEIGHT // 25, WIDTH // 25, generator=generator)
            smooth = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")[0]
            pixels = 255 * (smooth + 0.08 * torch.randn(3, HEIGHT, WIDTH, generator=generator)).clamp(0, 1)
            Image.fromarray(pixels.byte().permute(1, 2, 0).numpy()).save(path, "JPEG", quality=QUALITY)


def decode(path: Path) -> None:
    """Decode a file, as the dataset does."""
    open_rgb(path)


def prepare(data: ImageNet, path: Path) -> None:
    """Decode and prepare a file as the classifier sees it."""
    torch.set_num_threads(1)
    data.prepare(open_rgb(path), "plain", 0)


def exhaust(items: Iterable[object]) -> None:
    """Take all items."""
    for _ in items:
        pass


def in_pool(work: Callable[[Path], None], paths: list[Path], workers: int) -> None:
    """Do the work for all files in a pool of processes."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        exhaust(pool.imap_unordered(work, paths, chunksize=16))


def main() -> None:
    """Time all ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 400), ("workers", 2), ("rounds", 5), ("size", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.workers)
    with tempfile.TemporaryDirectory() as scratch:
        write(root := Path(scratch), args.images)
        data = ImageNet(root=str(root), size=args.size, validation=0, check=False)
        paths = sorted((root / "val").glob("*/*"))
        model = EnergyModel(nn.Identity(), [0.5], [0.5])
        samples = Samples(root / "samples", Sampling(4, 4, 0))
        subject = Subject(model, data, torch.device("cpu"), samples, root / "cache", workers=args.workers)
        convert = transforms.Compose(
            [
                transforms.Resize(int(256 / 224 * args.size), transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(args.size),
                transforms.ToTensor(),
            ]
        )
        folder = ImageFolder(str(root / "val"), convert)
        indices = list(range(args.images))
        ways: dict[str, Callable[[], None]] = {
            "decode": lambda: in_pool(decode, paths, args.workers),
            "prepare": lambda: in_pool(partial(prepare, data), paths, args.workers),
            "harness": lambda: exhaust(subject.batches("test", indices, BATCH)),
            "alone": lambda: exhaust(replace(subject, workers=0).batches("test", indices, BATCH)),
            "reference": lambda: exhaust(load_images(data.view("test", "reference"), indices)),
            "ImageFolder": lambda: exhaust(DataLoader(folder, batch_size=BATCH, num_workers=args.workers)),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(args.rounds):
            for way in list(ways) if turn % 2 else list(reversed(ways)):
                started = time.perf_counter()
                ways[way]()
                rates[way].append(args.images / (time.perf_counter() - started))
        kb = sum(path.stat().st_size for path in paths) / len(paths) / 1000
    print(f"{args.images} files of {kb:.0f} kB, {args.workers} workers, {args.rounds} rounds\n")
    print("| way | photographs a second | to decode | to prepare | to ImageFolder |\n| --- | --- | --- | --- | --- |")
    for way in ways:
        ratios = [ratio(rates[way], rates[to]) for to in ("decode", "prepare", "ImageFolder")]
        print(f"| {way} | {median(rates[way]):.0f} | {' | '.join(ratios)} |")
    used = [resource.getrusage(who).ru_maxrss / 1000 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\nmost memory: {used[0]:.0f} MB of this process, {used[1]:.0f} MB of its largest worker")


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of all rounds, with the lowest and the highest."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


if __name__ == "__main__":
    main()
