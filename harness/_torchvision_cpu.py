"""Lets the CUDA wheel of torchvision import beside a CPU build of torch.

The wheel's native library then cannot load, and `import torchvision` stops at an operator it would have
defined. Declaring that operator's signature is enough: images are decoded by PIL here, and no method uses
`torchvision.ops.nms`. torch calls `autoload` at import (entry point `torch.backends`), so worker processes
and submitted jobs are covered too.
"""


def autoload() -> None:
    """Declare torchvision's missing operators on a CPU build of torch; do nothing on any other build."""
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
