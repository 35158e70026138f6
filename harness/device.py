"""Which device a run computes on."""

import torch

from harness.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device of a name; auto is the first GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used here ({str(error).splitlines()[0]}). Try device=cpu.") from None
    return device
