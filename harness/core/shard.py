"""One rank's share of a step: its images' random numbers, and their rows of a replay buffer."""

import torch
from torch import Tensor

from harness.core.distributed import ALONE, World


class Shard:
    """One of the equal parts of a step's batch: part `piece` of the `pieces` that this rank processes.

    Every rank draws the random numbers of the whole batch from `rng`, and each part keeps those of its own
    images; so they do not depend on how a batch is split.
    """

    def __init__(self, rng: torch.Generator, world: World = ALONE, piece: int = 0, pieces: int = 1) -> None:
        self.rng, self.world, self.piece, self.pieces = rng, world, piece, pieces

    @property
    def parts(self) -> int:
        """The number of parts of the whole batch."""
        return self.world.size * self.pieces

    def own(self, whole: Tensor) -> Tensor:
        """This part's rows of a tensor that has one row per image of the whole batch."""
        return whole.view(self.parts, -1, *whole.shape[1:])[self.world.rank * self.pieces + self.piece]

    def normal(self, x: Tensor) -> Tensor:
        """Standard normal noise with the shape of this part's x."""
        shape = (len(x) * self.parts, *x.shape[1:])
        return self.own(torch.randn(shape, generator=self.rng, device=x.device, dtype=x.dtype))

    def uniform(self, x: Tensor) -> Tensor:
        """Uniform noise in [0, 1) with the shape of this part's x."""
        shape = (len(x) * self.parts, *x.shape[1:])
        return self.own(torch.rand(shape, generator=self.rng, device=x.device, dtype=x.dtype))

    def integers(self, high: int, x: Tensor) -> Tensor:
        """One integer in [0, high) for each image of this part's x."""
        return self.own(torch.randint(high, (len(x) * self.parts,), generator=self.rng, device=x.device))

    def take(self, buffer: Tensor, places: Tensor) -> Tensor:
        """Read this part's rows of a buffer that is split over the ranks; `places` are those of the whole batch."""
        wanted = self._current_places(places)
        if self.world.size == 1:
            return buffer[wanted[0]]
        local, held = self._find_local_rows(wanted)
        rows = buffer.new_zeros(len(held), *buffer.shape[1:])
        rows[held] = buffer[local]
        return self.world.sum(rows).view(*wanted.shape, *buffer.shape[1:])[self.world.rank]

    def put(self, buffer: Tensor, places: Tensor, x: Tensor) -> None:
        """Write this part's rows back to their places."""
        wanted = self._current_places(places)
        if self.world.size == 1:
            buffer[wanted[0]] = x
            return
        local, held = self._find_local_rows(wanted)
        buffer[local] = self.world.gather(x)[held]

    def _current_places(self, places: Tensor) -> Tensor:
        """The places of the parts that the ranks process at present: ranks x images."""
        return places.view(self.world.size, self.pieces, -1)[:, self.piece]

    def _find_local_rows(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted places that this rank holds: their local row numbers, and a mask over all the wanted places."""
        held = wanted.flatten() % self.world.size == self.world.rank
        return wanted.flatten()[held] // self.world.size, held
