"""What `import harness` changes about imports in this process: old names say where they went, torchvision loads.

The finder below acts when a module is looked for, so `import harness` itself stays light. Nothing outside programs
that import harness is touched.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "harness.bench": "harness.cost",
    "harness.build": "harness.runs.build",
    "harness.checkpoint": "harness.training.checkpoint",
    "harness.compare": "harness.reports.compare",
    "harness.compose": "harness.runs.compose",
    "harness.counterfactual": "harness.evaluation.counterfactual",
    "harness.data": "harness.core.dataset",
    "harness.detector": "harness.evaluation.ood_scores",
    "harness.device": "harness.core.device",
    "harness.dispatch": "harness.launch",
    "harness.energy": "harness.core.energy",
    "harness.errors": "harness.core.errors",
    "harness.evaluate": "harness.evaluation.evaluator",
    "harness.execute": "harness.runs.execute",
    "harness.features": "harness.evaluation.features",
    "harness.files": "harness.core.files",
    "harness.intervals": "harness.evaluation.intervals",
    "harness.loader": "harness.core.loader",
    "harness.method": "harness.core.method",
    "harness.metric": "harness.evaluation.metric",
    "harness.metrics": "harness.evaluation.metrics",
    "harness.optimise": "harness.core.optim",
    "harness.outcomes": "harness.evaluation.intervals",
    "harness.parts": "harness.evaluation.parts",
    "harness.pgd": "harness.core.walk",
    "harness.pictures": "harness.evaluation.pictures",
    "harness.precision": "harness.core.device",
    "harness.randomness": "harness.core.random",
    "harness.ranks": "harness.core.distributed",
    "harness.record": "harness.runs.record",
    "harness.reference": "harness.evaluation.reference",
    "harness.registry": "harness.core.registry",
    "harness.replay": "harness.methods.replay",
    "harness.rows": "harness.runs.row",
    "harness.sample": "harness.evaluation.samples",
    "harness.select": "harness.evaluation.selection",
    "harness.settings": "harness.core.settings",
    "harness.share": "harness.core.shard",
    "harness.streams": "harness.training.batches",
    "harness.terminal": "harness.cli.tables",
    "harness.train": "harness.training.loop",
    "harness.trained": "harness.runs.trained",
}
"""Modules that version 0.1 had elsewhere."""


class Finder(MetaPathFinder):
    """Asked before Python's own finders; finds nothing itself."""

    def __init__(self) -> None:
        self.torchvision_loads = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Prepare torchvision's import; ModuleNotFoundError, with the new name, for a module of ours that moved."""
        if name == "torchvision" and not self.torchvision_loads:
            self.torchvision_loads = True  # first: looking for its files comes here again
            declare_operators()
        if name in MOVED:
            raise ModuleNotFoundError(f"{name} has moved: import {MOVED[name]} instead", name=name)
        return None


def install() -> None:
    """Put the finder in place, once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def declare_operators() -> None:
    """Let the CUDA wheel of torchvision import beside a CPU build of torch; do nothing beside any other build.

    The wheel's native library cannot load there, and `import torchvision` stops at an operator that the library would
    have defined. Declaring the operator's signature is enough: images are decoded by PIL, and nothing here calls
    `torchvision.ops.nms`.
    """
    import importlib.util
    from pathlib import Path

    import torch

    if torch.version.cuda or torch.version.hip:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return  # a CPU build of torchvision defines the operators itself
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
