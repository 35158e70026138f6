"""How a step number becomes a batch: order and augmentation are functions of (seed, step), so nothing is saved."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from harness.data import Items, Key
from harness.randomness import derive


def batches(
    view: Items, length: int, batch: int, seed: int, start: int, stop: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The (images, labels) of steps start … stop − 1 of one stream; any start costs nothing."""
    loader = DataLoader(
        view,
        batch_sampler=Order(length, batch, seed, start, stop),  # pyright: ignore[reportArgumentType] - keys are pairs
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # of seeds for worker processes, which nothing here uses: not the global one
    )
    return iter(loader)


class Order(Sampler[list[Key]]):
    """The keys of each step from `start` on: endless shuffled epochs, a function of (seed, step) alone.

    Position p of the stream is item p mod n of the permutation of epoch p // n, so no state needs saving and
    no image is dropped at an epoch's end.
    """

    def __init__(self, length: int, batch: int, seed: int, start: int, stop: int) -> None:
        self.length, self.batch, self.seed, self.start, self.stop = length, batch, seed, start, stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.stop):
            yield [self.key(step * self.batch + i) for i in range(self.batch)]

    def key(self, position: int) -> Key:
        """The item at a position of the endless stream."""
        epoch, place = divmod(position, self.length)
        return _permutation(self.length, self.seed, epoch)[place], (self.seed + position) % 2**63


@lru_cache(maxsize=8)
def _permutation(length: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(derive(seed, "epoch", epoch))
    return torch.randperm(length, generator=generator).tolist()


def _collate(items: object) -> object:
    """Batches that come whole pass through; single items are stacked."""
    return torch.utils.data.default_collate(items) if isinstance(items, list) else items
