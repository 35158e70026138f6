"""A classifier used as an energy-based model; the only place where pixels are standardised."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

FAR = 1e6
"""Pixels lie in [0, 1]; a larger mean or std, or a smaller std than its inverse, leaves nothing of them in fp32."""


class EnergyModel(nn.Module):
    """A classifier's logits f(x) as energies: E(x, y) = −f_y(x) and E(x) = −logsumexp_y f_y(x) (JEM, section 3).

    Images enter as float [0, 1], NCHW. `net` sees them standardised by the channels' `mean` and `std`.
    """

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not std or min(std) <= 0:
            raise ValueError(f"mean and std need one value per channel, std above 0: got {mean} and {std}")
        if max(map(abs, mean)) > FAR or not 1 / FAR < min(std) <= max(std) < FAR:
            raise ValueError(f"mean and std are those of pixels in [0, 1], not {mean} and {std}")
        self.net = net
        self.freeze_norm = False
        self.mean: Tensor
        self.std: Tensor
        # Not persistent: external checkpoints contain only the net, and these constants belong to the config.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits f(x), N x K, of images x."""
        pixels = (x - self.mean) / self.std
        if torch.is_autocast_enabled(x.device.type):  # channels-last is faster in bf16
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.net(pixels).to(pixels.dtype)

    def energy(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Energies, N: E(x, y) if labels are given, else E(x)."""
        logits = self(x)
        return -logits.logsumexp(1) if y is None else -logits.gather(1, y[:, None])[:, 0]

    def train(self, mode: bool = True) -> "EnergyModel":
        """Set the training mode; with `freeze_norm`, batch normalisation stays in evaluation mode (DAT, stage 2).

        Only the running statistics are frozen: the affine parameters γ and β still train.
        """
        super().train(mode)
        if self.freeze_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


class InMicroBatches(nn.Module):
    """A network that processes `size` images at a time, forward and backward.

    Activations of a micro-batch are not kept while the next one is computed; the backward pass recomputes them.
    In evaluation mode no image depends on its neighbours, so results equal those of the whole batch.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, x: Tensor) -> Tensor:
        """The network's output, with N as the first dimension."""
        if len(x) <= self.size:
            return self.net(x)
        return torch.cat([self._part(part) for part in x.split(self.size)])

    def _part(self, part: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and part.requires_grad):
            return self.net(part)
        output = checkpoint(self.net, part, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(output, Tensor)
        return output
