"""What a stage trains on: the batches of its streams, and of each the part that is this process's."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.core import loader
from harness.core.dataset import Dataset, Outliers, OutlierView
from harness.core.distributed import ALONE, World
from harness.core.errors import UserError
from harness.core.method import Batch, Stage, Stream
from harness.core.random import derive


@dataclass(frozen=True)
class StageInputs:
    """What a stage trains on, and with; `key` is the root of all its randomness, `workers` load images.

    world: the processes that share each batch. accumulate: in how many pieces, one after the other, a process works
    through its part. code_version: the code that trains, in words. compile: the net, while it learns. recompute: its
    activations, where memory is short.
    """

    data: Dataset
    outliers: Outliers | None
    key: tuple[int | str, ...]
    device: torch.device
    workers: int = 0
    world: World = ALONE
    accumulate: int = 1
    code_version: str = ""
    compile: bool = False
    recompute: bool = False


def batches(
    stage: Stage, inputs: StageInputs, start: int, steps: int, skipped: set[str]
) -> Iterator[tuple[int, Batch]]:
    """The steps from `start` on, with this process's parts of their batches; unreadable files go to `skipped`."""
    streams: dict[Stream, Iterator[tuple[Tensor, Tensor]]] = {
        name: _stream(name, stage, inputs, start, steps, skipped) for name in stage.streams
    }
    for step in range(start, steps):
        images: dict[Stream, Tensor] = {}
        labels: dict[Stream, Tensor] = {}
        for stream, pairs in streams.items():
            x, y = next(pairs)
            images[stream] = x.to(inputs.device, non_blocking=True)
            labels[stream] = y.to(inputs.device, non_blocking=True)
        yield step, Batch(images, labels)


def _stream(
    stream: Stream, stage: Stage, inputs: StageInputs, start: int, steps: int, skipped: set[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    source, world = inputs.outliers if stream == "outliers" else inputs.data, inputs.world
    if source is None:
        raise UserError("This stage needs outliers, and none are configured: choose some with outliers=…")
    view = OutlierView(source) if isinstance(source, Outliers) else source.view("train", stream)
    length = len(source) if isinstance(source, Outliers) else source.length("train")
    seed, size = derive(*inputs.key, "stream", stream), stage.training.size(stream)
    part = size // world.size
    own = range(world.rank * part, (world.rank + 1) * part)
    pinned = inputs.device.type == "cuda"
    return loader.batches(
        view, length, size, seed, start, steps, inputs.workers, source.on_bad_image, skipped, own, pinned
    )


def check_shares(stage: Stage, processes: int, pieces: int) -> None:
    """UserError where a stage's batches cannot be split into equal parts."""
    for stream in stage.streams:
        if (size := stage.training.size(stream)) % (processes * pieces):
            raise UserError(
                f"A batch of {size} images cannot be shared equally by {processes} processes with accumulate={pieces}: "
                f"let their product divide {size}."
            )
