"""Time AT-JEM's joint step on a net of the papers: python benchmarks/training_step.py wrn-34-10 --batch 128 --T 40.

Compares it with a plain step and with the bare passes of its net, as `python -m harness bench` does, but needs only
torch, torchvision and timm, for machines that are borrowed for their GPU. Prints a markdown table; random images stand
in for the data.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

import torch
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import harness  # noqa: E402 - from this checkout, which keeps its packages side by side

harness.__path__.append(str(ROOT))

from harness.core.energy import EnergyModel  # noqa: E402
from harness.core.optim import Training  # noqa: E402
from harness.core.walk import Walk, joint_logit  # noqa: E402
from harness.cost.agreement import agreement  # noqa: E402
from harness.cost.rounds import OURS, Timing, cost  # noqa: E402
from harness.methods.atjem import Contrast, Joint  # noqa: E402
from harness.runs.standin import RandomImages, RandomOutliers  # noqa: E402
from harness.training.batches import StageInputs  # noqa: E402
from harness.training.step import Step  # noqa: E402

PHOTOGRAPHS = ("resnet50", "convnext-base")
"""The nets that take photographs of 256 pixels."""


def net(name: str, classes: int) -> nn.Module:
    """Build an untrained net of the papers: one of PHOTOGRAPHS, or wrn-DEPTH-WIDTH."""
    if name == "resnet50":
        import timm

        return timm.create_model(name, num_classes=classes)
    if name == "convnext-base":
        from harness.models.convnext_cvst import ConvNeXtCvSt

        return ConvNeXtCvSt(classes, 3, "base")
    from harness.models.wrn import WRN

    _, depth, widen = name.split("-")
    return WRN(classes, 3, int(depth), int(widen), variant="standard", norm="batch", momentum=0.1)


def joint(asked: argparse.Namespace) -> Joint:
    """Build AT-JEM's second stage, as published except for the requested settings."""
    photographs = asked.net in PHOTOGRAPHS
    walk = Walk(asked.T, 2.0 if photographs else 0.1, precision=asked.walk_precision)
    steps, step, eps = (3, 2.0, 3.0) if photographs else (10, 0.1, 0.5)
    attack = Walk(steps, step, eps, precision=asked.walk_precision)
    training = Training(1, asked.batch, "sgd", 1e-3, ema=0.999, freeze_norm=True, precision=asked.precision)
    return Joint(Contrast(walk, None), attack, training)


def measured(asked: argparse.Namespace) -> Timing:
    """Measure the step on the requested device."""
    torch.manual_seed(0)
    device = torch.device(asked.device)
    shape, classes = ((3, 256, 256), 1000) if asked.net in PHOTOGRAPHS else ((3, 32, 32), 10)
    data = RandomImages(shape, classes)
    model = EnergyModel(net(asked.net, classes), (0.5,) * 3, (0.25,) * 3).to(device)
    inputs = StageInputs(data, RandomOutliers(data), ("benchmark",), device, compile=asked.compile)
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    if asked.walk_precision != "fp32":
        x, y = (part[: asked.batch].to(device) for part in data.tensors("train"))
        cosines = agreement(model.eval(), x, joint_logit(y), asked.walk_precision)
        print("Cosine with fp32 of the directions of a step, mean and lowest: {:.4f}, {:.4f}".format(*cosines))
    return cost(asked.net, Step(joint(asked), model, inputs), asked.rounds, device_name, True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", help="resnet50 or convnext-base, at 256 pixels, or wrn-DEPTH-WIDTH, at 32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--T", type=int, default=40, help="steps of the contrastive walk")
    for name in ("--precision", "--walk-precision"):
        parser.add_argument(name, choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--compile", nargs="?", choices=("walk",), const=True, default=False, help="walk: only walks")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    # Measure, then print the variants and the sections of our step.
    asked = parser.parse_args()
    timing = measured(asked)
    print(f"First step, which also compiles: {timing.first:.3g} s")
    print(f"{' '.join(sys.argv[1:])}: {timing.device}, torch {torch.__version__}\n")
    print("| step | images/s | ms | times ours | memory, MB |\n| --- | --- | --- | --- | --- |")
    for name, seconds in timing.seconds.items():
        usual, ratio = median(seconds), timing.ratio(name)
        times = "1" if name == OURS or ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)
        print(f"| {name} | {asked.batch / usual:.4g} | {1e3 * usual:.4g} | {times} | {timing.memory[name] / 1e6:.0f} |")
    print("\n| section | ms |\n| --- | --- |")
    for name, usual in timing.sections.items():
        print(f"| {name} | {1e3 * usual:.4g} |")


if __name__ == "__main__":
    main()
