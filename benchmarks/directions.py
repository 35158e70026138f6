"""How near the steps of walks in bf16 are to those in fp32, for trained runs: python benchmarks/directions.py RUN RUN.

The cosine of both directions for each test image, as the attack (up the cross-entropy) and the sampler (up the joint
logit, from outliers) first go; the mean and the lowest of all images. Prints a markdown table.
"""

import sys
from pathlib import Path

import harness
from harness.core.walk import cross_entropy, joint_logit
from harness.cost.agreement import agreement
from harness.runs.build import outliers


def main() -> None:
    """Compare both for each of the runs that are named."""
    print("| run | net | attack: mean | lowest | sampler: mean | lowest |\n| --- | --- | --- | --- | --- | --- |")
    for word in sys.argv[1:]:
        model = harness.load(Path(word))
        device, data = model.mean.device, model.run.data
        x, y = (part.to(device) for part in data.tensors("test"))
        starts = outliers(model.run).starts(range(len(x))).to(device)
        found = agreement(model, x, cross_entropy(y), "bf16") + agreement(model, starts, joint_logit(y), "bf16")
        cosines = " | ".join(f"{cosine:.4f}" for cosine in found)
        print(f"| {model.run.name} | {model.run.config.model['name']} | {cosines} |", flush=True)


if __name__ == "__main__":
    main()
