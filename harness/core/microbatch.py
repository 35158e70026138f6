"""A net called on few images at a time, where memory is short."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class InMicroBatches(nn.Module):
    """A net that takes `size` images at a time, forward and backward.

    Nothing of one micro-batch is kept while the next is computed; where a gradient is wanted, each is computed again
    on the way back. In evaluation mode no image depends on its neighbours, so results are those of the whole batch.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, x: Tensor) -> Tensor:
        """The net's output, N first."""
        if len(x) <= self.size:
            return self.net(x)
        return torch.cat([self._part(part) for part in x.split(self.size)])

    def _part(self, part: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and part.requires_grad):
            return self.net(part)
        found = checkpoint(self.net, part, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(found, Tensor)
        return found
