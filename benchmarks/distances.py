"""Time the Fréchet distance, its jackknife, and precision and recall: python benchmarks/distances.py [--images 50000].

Of random features, with as many images as samples. The distance is timed in turn with torch-fidelity's, and with the
classical formula by SciPy's sqrtm, from the same statistics. Prints a markdown table with processor seconds, so that
other work on the machine counts less, and the largest difference between the values.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import harness  # isort: skip # noqa: F401 - before anything that imports torchvision
import numpy as np
import scipy
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from harness.evaluation.metrics.fidelity import closed_radii, distance, in_closed_balls
from harness.evaluation.reference import Statistics, frechet


def features(images: int, dims: int, seed: int) -> Tensor:
    """Features with a full covariance, N x D."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dims, dims, generator=generator) / dims**0.5
    return torch.randn(images, dims, generator=generator) @ mixing


def by_sqrtm(found: Tensor, against: Statistics) -> float:
    """‖μ − m‖² + tr(Σ + S − 2 (Σ S)^½) with SciPy's root of the product."""
    own = fid_features_to_statistics(found)
    offset = own["mu"] - against["mu"]
    root = scipy.linalg.sqrtm(own["sigma"] @ against["sigma"]).real
    return float(offset @ offset + np.trace(own["sigma"]) + np.trace(against["sigma"]) - 2 * np.trace(root))


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result of some work, its processor seconds and its seconds."""
    started, own = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - own, time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 50_000), ("dims", 2048), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("distance", "jackknife", "neighbours"))
    args = parser.parse_args()
    found, real = (features(args.images, args.dims, seed) for seed in (0, 1))
    statistics = fid_features_to_statistics(real)
    against = {name: np.asarray(array) for name, array in statistics.items()}
    frechet(found[: 2 * args.dims], against)  # the root of the reference's covariance is taken once
    works: dict[str, list[tuple[str, Callable[[], Any]]]] = {
        "distance": [
            ("statistics alone", lambda: fid_features_to_statistics(found)),
            ("distance, harness", lambda: frechet(found, against)),
            ("distance, torch-fidelity", lambda: fidelity(found, statistics)),
            ("distance, sqrtm", lambda: by_sqrtm(found, against)),
        ],
        "jackknife": [("distance with jackknife, harness", lambda: distance("", found, against).value)],
        "neighbours": [("precision and recall, harness", lambda: neighbours(found, real))],
    }
    print(f"{args.images} x {args.dims}, {torch.get_num_threads()} threads\n")
    print("| work | value | processor seconds | seconds |\n| --- | --- | --- | --- |")
    for name, group in works.items():
        for title, work in group * args.rounds if args.only in (None, name) else []:
            value, own, whole = timed(work)
            shown = f"{value:.9g}" if isinstance(value, float) else ""
            print(f"| {title} | {shown} | {own:.1f} | {whole:.1f} |", flush=True)


def fidelity(found: Tensor, statistics: Any) -> float:  # noqa: ANN401 - torch-fidelity's
    """The distance by torch-fidelity."""
    return float(next(iter(fid_statistics_to_metric(fid_features_to_statistics(found), statistics, False).values())))


def neighbours(found: Tensor, real: Tensor) -> None:
    """What precision and recall take: two sets of radii, and two matrices of distances."""
    in_closed_balls(found, real, closed_radii(real))
    in_closed_balls(real, found, closed_radii(found))


if __name__ == "__main__":
    main()
