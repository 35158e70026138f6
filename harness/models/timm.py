"""Every architecture that timm knows, untrained."""

from difflib import get_close_matches
from typing import Any

import timm
from torch import nn

from harness.core.errors import UserError


def timm_net(classes: int, channels: int, architecture: str, options: dict[str, Any]) -> nn.Module:
    """timm's own net, its weights under timm's names; `options` go to timm.create_model.

    UserError for an architecture that timm lacks, and for options that its architecture refuses.
    """
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models(), n=5)  # not errors.near: over 1,000 names
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UserError(f"timm has no model called '{architecture}'. {hint}All of them: timm.list_models()")
    if given := {"pretrained", "checkpoint_path", "num_classes", "in_chans"} & options.keys():
        raise UserError(f"model.options: {', '.join(sorted(given))} cannot be set here; the run sets what it needs.")
    try:
        return timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise UserError(f"model.options: timm's {architecture} refuses {options}: {error}") from error
