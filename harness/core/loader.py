"""Load images: the batches of training steps, and items in a given order; in this process or in worker processes.

Order and augmentation of a step depend on (seed, step) only, so no state is saved.
"""

import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info
from torch.utils.data import Dataset as View

from harness.core.dataset import BadImage, Items, Key, OnBadImage, gather
from harness.core.errors import UserError, first_line
from harness.core.random import derive
from harness.core.signals import detach

KILLED = "DataLoader worker (pid"
"""Start of torch's message about a data loader worker process that died; its signal handler may raise it anywhere."""

GONE = "A process that loads images was ended from outside. Often memory is short: let there be fewer, workers=N."

UNSHARED = (
    "Processes that load images hand them over in shared memory, /dev/shm, which cannot be used here, or is too small "
    "({reason}). Have it mounted with more room, let there be fewer, workers=N, or none, workers=0."
)

NO_ROOM = "unable to allocate shared memory"
"""What torch says of it."""

GIANT = 1 << 24
"""From this many items on, a stream draws with replacement, to avoid a permutation of, say, 79 million indices."""


PIECE = 16
"""Number of items that a worker hands over at a time, in order: its share of memory stays small for large images."""


def in_order(view: Items, indices: Sequence[int], batch: int, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) of items in the given order, not augmented, `batch` of them at a time.

    workers: processes that load them, at most; each has up to two pieces of PIECE items loaded in advance. An image
    that cannot be read raises BadImage here, or UserError with its text where a worker met it.
    """
    groups = [[(index, 0) for index in indices[first : first + batch]] for first in range(0, len(indices), batch)]
    # With few items, starting processes costs more than they save.
    if workers == 0 or len(indices) <= PIECE:
        for keys in groups:
            yield gather(view, keys)
        return
    # Hand each group over in pieces, and join them here.
    check_sharing()
    pieces = [[keys[first : first + PIECE] for first in range(0, len(keys), PIECE)] for keys in groups]
    order = [piece for group in pieces for piece in group]
    loader = DataLoader(
        _Readable(view, max(indices) + 1),
        batch_sampler=order,  # pyright: ignore[reportArgumentType] - keys are pairs
        num_workers=min(workers, len(order)),
        collate_fn=_hand_over,
        worker_init_fn=detach,
        generator=torch.Generator(),
    )
    loaded = _guard(loader)
    for group in pieces:
        parts: list[tuple[Tensor, Tensor]] = []
        for images, labels, bad in islice(loaded, len(group)):
            if bad:
                raise UserError(f"{next(iter(bad.values()))}.")
            parts.append((images, labels))
        images, labels = zip(*parts, strict=True)
        yield torch.cat(images), torch.cat(labels)


def batches(
    view: Items,
    length: int,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    workers: int = 0,
    on_bad_image: OnBadImage = "fail",
    skipped: set[str] | None = None,
    own: range | None = None,
    pinned: bool = False,
    extra: int = 0,
    share: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the (images, labels) of steps start … stop − 1 of one stream; any start costs nothing.

    own: the positions within a batch to load; all by default. pinned: page-locked memory, for asynchronous GPU copies.
    extra: the number of items that follow the first `length` ones; each batch has `share` of them.

    An image that cannot be read raises UserError; with on_bad_image="skip" the next readable one replaces it, and
    its path is added to `skipped`.
    """
    if workers:
        check_sharing()
    # Whole batches come from the view; the sampler alone decides which items.
    order = Mixed(length, extra, share, batch, seed, start, stop, own) if share else None
    loader = DataLoader(
        _Readable(view, length + extra),
        batch_sampler=order or Order(length, batch, seed, start, stop, own),  # pyright: ignore[reportArgumentType] - keys are pairs
        num_workers=workers,
        collate_fn=_hand_over,
        worker_init_fn=detach,
        pin_memory=pinned,
        generator=torch.Generator(),  # seeds worker processes, which do not use it: spares the global generator
    )
    for images, labels, bad in _guard(loader):
        # Unreadable images: fail, or record them and continue.
        if bad and not len(images):
            raise UserError(f"Not one image can be read: {next(iter(bad.values()))}.")
        if bad and on_bad_image == "fail":
            advice = "or go on without it, by data.on_bad_image=skip or outliers.on_bad_image=skip."
            raise UserError(f"{next(iter(bad.values()))}, {advice}")
        if skipped is not None:
            skipped.update(bad)
        yield images, labels


def check_sharing() -> None:
    """UserError if processes cannot hand images over here: shared memory is missing, read-only or full."""
    try:
        multiprocessing.Semaphore()
        torch.empty(1).share_memory_()
    except (OSError, RuntimeError, ImportError) as error:
        raise UserError(UNSHARED.format(reason=first_line(error))) from None


def _guard(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader; UserError if one of its processes has died, which shows in several ways."""
    items = iter(loader)
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        # A dead worker closes its pipe, or torch's signal handler raises RuntimeError.
        except (EOFError, ConnectionError):
            with suppress(RuntimeError):
                time.sleep(1)  # torch's signal handler raises at about this time too: catch it here
            raise UserError(GONE) from None
        except RuntimeError as error:
            if KILLED in str(error):
                raise UserError(GONE) from None
            if NO_ROOM in str(error):
                raise UserError(UNSHARED.format(reason=NO_ROOM)) from None
            raise
        yield item


class Order(Sampler[list[Key]]):
    """The keys of each step from `start` on: endless shuffled epochs, a function of (seed, step) alone.

    Position p of the stream is item p mod n of the permutation of epoch p // n, so no state needs saving and
    no image is dropped at the end of an epoch. From GIANT items on each position is an independent draw.
    """

    def __init__(self, length: int, batch: int, seed: int, start: int, stop: int, own: range | None = None) -> None:
        self.length, self.batch, self.seed, self.start, self.stop = length, batch, seed, start, stop
        self.own = range(batch) if own is None else own

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.stop):
            yield [self.key(step * self.batch + i) for i in self.own]

    def key(self, position: int) -> Key:
        """The item and the augmentation seed at a position of the endless stream."""
        augmentation = (self.seed + position) % 2**63
        if self.length >= GIANT:
            return derive(self.seed, "draw", position) % self.length, augmentation
        epoch, place = divmod(position, self.length)
        return _permutation(self.length, self.seed, epoch)[place], augmentation


class Mixed(Order):
    """An order over two sets: `share` items of each batch, evenly spaced in it, are of the second set.

    The items of the second set follow the `length` ones of the first. Each set has its own endless shuffled epochs.
    """

    def __init__(
        self,
        length: int,
        extra: int,
        share: int,
        batch: int,
        seed: int,
        start: int,
        stop: int,
        own: range | None = None,
    ) -> None:
        super().__init__(length, batch, seed, start, stop, own)
        self.share = share
        self.first = Order(length, batch - share, seed, start, stop)
        self.second = Order(extra, share, derive(seed, "extra"), start, stop)

    def key(self, position: int) -> Key:
        """The item and the augmentation seed at a position of the endless stream."""
        step, place = divmod(position, self.batch)
        before, upto = (end * self.share // self.batch for end in (place, place + 1))
        if before == upto:
            return self.first.key(step * (self.batch - self.share) + place - before)
        index, augmentation = self.second.key(step * self.share + before)
        return self.length + index, augmentation


class _Readable(View[tuple[Tensor, Tensor, dict[str, str]]]):
    """Batches of a view, each with the images that could not be read, as path → problem."""

    def __init__(self, view: Items, length: int) -> None:
        self.view, self.length = view, length

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor, dict[str, str]]:
        bad: dict[str, str] = {}
        try:
            return *gather(self.view, keys), bad
        except BadImage:
            items = [self._next_readable(key, bad) for key in keys]
        if None in items:  # the caller raises the error: raised here, it would come with a worker process's traceback
            return torch.empty(0), torch.empty(0), bad
        images, labels = zip(*items, strict=True)
        return torch.cat(images), torch.cat(labels), bad

    def _next_readable(self, key: Key, bad: dict[str, str]) -> tuple[Tensor, Tensor] | None:
        """The item of a key, or the first readable one after it; None if there is none."""
        index, seed = key
        for following in range(self.length):
            try:
                return gather(self.view, [((index + following) % self.length, seed)])
            except BadImage as error:
                bad[str(error.path)] = str(error)
        return None


def _hand_over(whole: Any) -> Any:  # noqa: ANN401 - images, labels, and the images that could not be read
    """A batch, which is collated already, in the memory that a worker shares with its parent.

    torch would move it there itself, but in a thread: where room is lacking, the parent would wait without end.
    """
    if get_worker_info():
        for tensor in whole[:2]:
            tensor.share_memory_()
    return whole


@lru_cache(maxsize=8)
def _permutation(length: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(derive(seed, "epoch", epoch))
    return torch.randperm(length, generator=generator).tolist()
