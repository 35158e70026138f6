"""Every architecture that timm provides, with random weights."""

from difflib import get_close_matches
from typing import Any

import timm
from torch import nn

from harness.core.errors import UserError


def timm_net(classes: int, channels: int, architecture: str, options: dict[str, Any]) -> nn.Module:
    """Build timm's network, with timm's weight names; `options` are passed to timm.create_model.

    UserError for an architecture that timm lacks, and for options that the architecture rejects.
    """
    if not timm.is_model(architecture):
        # Not errors.near, which would list all of over 1,000 names.
        close = get_close_matches(architecture, timm.list_models(), n=5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UserError(f"timm has no model called '{architecture}'. {hint}All of them: timm.list_models()")
    if given := {"pretrained", "checkpoint_path", "num_classes", "in_chans"} & options.keys():
        raise UserError(f"model.options: {', '.join(sorted(given))} cannot be set here; the run sets what it needs.")
    try:
        return timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise UserError(f"model.options: timm's {architecture} refuses {options}: {error}") from error
