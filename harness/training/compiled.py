"""A net compiled by torch, for training alone: the same weights under the same names, and the same mathematics."""

import logging

import torch

from harness.core.energy import EnergyModel
from harness.core.method import Stage

log = logging.getLogger(__name__)


def compiled(model: EnergyModel, stage: Stage) -> None:
    """Have the net compiled at its next passes, of which each kind takes a while; what cannot be runs as it is."""
    if stage.twice:
        log.warning("compile=true is left out: torch cannot compile gradients of gradients, which this stage needs.")
        return
    torch._dynamo.config.suppress_errors = True  # torch then says what it could not compile, and runs it as it is
    model.compile(dynamic=False)  # not the net, which torch passes over where it is one of its own containers
