"""How near the steps of walks in bf16 are to those in fp32, for trained runs: python benchmarks/directions.py RUN RUN.

The cosine of both directions for each test image, as the attack (up the cross-entropy) and the sampler (up the joint
logit, from outliers) first go; the mean and the lowest of all images. Prints a markdown table.
"""

import sys
from pathlib import Path

from torch import Tensor
from torch.nn.functional import cosine_similarity

import harness
from harness.build import outliers
from harness.energy import EnergyModel
from harness.pgd import Objective, cross_entropy, joint_logit, slope
from harness.precision import Precision, computing


def direction(model: EnergyModel, x: Tensor, objective: Objective, precision: Precision) -> Tensor:
    """∇_x of the objective, N x pixels, computed in a precision."""
    with computing(precision, x.device):
        gradient, _ = slope(model, x, objective)
    return gradient.flatten(1).double()


def agreement(model: EnergyModel, x: Tensor, objective: Objective) -> str:
    """The mean cosine and the lowest, over images."""
    exact, rounded = (direction(model, x, objective, precision) for precision in ("fp32", "bf16"))
    cosines = cosine_similarity(exact, rounded)
    return f"{float(cosines.mean()):.4f} | {float(cosines.min()):.4f}"


def main() -> None:
    """Compare both for each of the runs that are named."""
    print("| run | net | attack: mean | lowest | sampler: mean | lowest |\n| --- | --- | --- | --- | --- | --- |")
    for word in sys.argv[1:]:
        model = harness.load(Path(word))
        device, data = model.mean.device, model.run.data
        x, y = (part.to(device) for part in data.tensors("test"))
        starts = outliers(model.run).starts(range(len(x))).to(device)
        found = agreement(model, x, cross_entropy(y)), agreement(model, starts, joint_logit(y))
        print("|", " | ".join([model.run.name, model.run.config["model"]["name"], *found]), "|", flush=True)


if __name__ == "__main__":
    main()
