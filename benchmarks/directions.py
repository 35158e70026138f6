"""Compare directions of walks in bf16 and in fp32, for trained runs: python benchmarks/directions.py RUN RUN.

The cosine between both directions at the first step of the attack (up the cross-entropy, from test images) and of the
sampler (up the joint logit, from outliers): mean and lowest over images. Prints a markdown table.
"""

import sys
from pathlib import Path

import harness
from harness.core.walk import cross_entropy, joint_logit
from harness.cost.agreement import agreement
from harness.runs.build import outliers


def main() -> None:
    """Compare both directions for each named run."""
    print("| run | net | attack: mean | lowest | sampler: mean | lowest |\n| --- | --- | --- | --- | --- | --- |")
    for word in sys.argv[1:]:
        model = harness.load(Path(word))
        device, data = model.mean.device, model.run.data
        x, y = (part.to(device) for part in data.tensors("test"))
        starts = outliers(model.run).starts(range(len(x))).to(device)
        values = agreement(model, x, cross_entropy(y), "bf16") + agreement(model, starts, joint_logit(y), "bf16")
        cosines = " | ".join(f"{cosine:.4f}" for cosine in values)
        print(f"| {model.run.name} | {model.run.config.model['name']} | {cosines} |", flush=True)


if __name__ == "__main__":
    main()
