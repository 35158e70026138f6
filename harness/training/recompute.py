"""Activations that are computed again for gradients, in place of being kept: less memory for a third more passes."""

from harness.core.energy import EnergyModel
from harness.core.errors import UserError


def recompute(model: EnergyModel, statistics: str) -> None:
    """Have the net's blocks keep their inputs alone, as timm can; UserError where that cannot be, or is not exact.

    statistics: what batch normalisation sees. Where it learns, each pass that is made again would count again.
    """
    switch = getattr(model.net, "set_grad_checkpointing", None)
    if switch is None:
        raise UserError("recompute=true is for nets of timm's that can do it: leave it out, or try accumulate=N.")
    if statistics != "frozen":
        raise UserError(
            "recompute=true would count each batch twice in running statistics: use it where normalisation is frozen "
            "(freeze_norm) or has none, and accumulate=N elsewhere."
        )
    switch(True)
