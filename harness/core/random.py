"""The source of every random number: seeds derived from keys, never from the clock or a global state."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def derive(*key: int | str) -> int:
    """A seed in [0, 2^63) for a key such as (seed, "noise", step); equal keys give equal seeds on any machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(device: torch.device, *key: int | str) -> torch.Generator:
    """A torch generator seeded by a key."""
    return torch.Generator(device).manual_seed(derive(*key))


@contextmanager
def seed_global(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator within the context and restore it after; for code that uses no other."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed the accelerators
        yield


class PerImage:
    """One generator per image, so that an image's noise does not depend on its batch.

    Draws on the CPU, so the numbers are the same on every device.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def normal(self, x: Tensor) -> Tensor:
        """Standard normal noise with the shape of x; N is the first dimension."""
        return torch.stack([torch.randn(x.shape[1:], generator=g) for g in self.generators]).to(x)

    def integers(self, high: int) -> Tensor:
        """N integers in [0, high)."""
        return torch.stack([torch.randint(high, (), generator=g) for g in self.generators])
