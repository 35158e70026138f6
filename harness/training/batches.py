"""The batches that a stage trains on: each stream's batch, and this rank's part of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from harness.core import loader
from harness.core.dataset import Dataset, ExtendedView, Outliers, OutlierView
from harness.core.distributed import ALONE, World
from harness.core.errors import UserError
from harness.core.method import Batch, Stage, Stream
from harness.core.random import derive


@dataclass(frozen=True)
class StageInputs:
    """The data, device and settings that a stage trains with.

    key: the root of all its random numbers. workers: data loader processes, shared by the streams. world: the processes
    that share each batch. accumulate: number of pieces into which a process splits its part of a batch. code_version:
    description of the running code. code: the digests of it that are kept with the weights. parent: digest of the
    weights that the stage begins from; empty if unknown. trained: whether these are trained. compile: whether to
    compile the net for training, or for its walks alone. recompute: whether to recompute activations in the backward
    pass, which saves memory.
    """

    data: Dataset
    outliers: Outliers | None
    key: tuple[int | str, ...]
    device: torch.device
    workers: int = 0
    world: World = ALONE
    accumulate: int = 1
    code_version: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    parent: str = ""
    trained: bool = False
    compile: bool | Literal["walk"] = False
    recompute: bool = False


def batches(
    stage: Stage, inputs: StageInputs, start: int, steps: int, skipped: set[str]
) -> Iterator[tuple[int, Batch]]:
    """Yield steps start … steps − 1 with this rank's part of each batch; unreadable files are added to `skipped`."""
    streams: dict[Stream, Iterator[tuple[Tensor, Tensor]]] = {
        name: _stream(name, stage, inputs, workers, start, steps, skipped)
        for name, workers in _workers_by_stream(stage, inputs.workers).items()
    }
    for step in range(start, steps):
        images: dict[Stream, Tensor] = {}
        labels: dict[Stream, Tensor] = {}
        for stream, pairs in streams.items():
            x, y = next(pairs)
            images[stream] = x.to(inputs.device, non_blocking=True)
            labels[stream] = y.to(inputs.device, non_blocking=True)
        yield step, Batch(images, labels)


def _workers_by_stream(stage: Stage, workers: int) -> dict[Stream, int]:
    """The data loader processes of each stream: equal shares, where the first streams take what is left over.

    Each stream has at least one, unless `workers` is 0, so that all images are loaded beside the training.
    """
    share, rest = divmod(workers, len(stage.streams))
    return {stream: max(share + (place < rest), min(workers, 1)) for place, stream in enumerate(stage.streams)}


def _stream(
    stream: Stream, stage: Stage, inputs: StageInputs, workers: int, start: int, steps: int, skipped: set[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    if stream == "outliers":
        if inputs.outliers is None:
            raise UserError("This stage needs outliers, and none are configured: choose some with outliers=…")
        source, view, length = inputs.outliers, OutlierView(inputs.outliers), len(inputs.outliers)
    else:
        source, view, length = inputs.data, inputs.data.view("train", stream), inputs.data.length("train")
    world = inputs.world
    seed, size = derive(*inputs.key, "stream", stream), stage.training.size(stream)
    # Extra images follow those of the training split, and take their share of each batch.
    extra = share = 0
    if stream == "labelled" and inputs.data.extra is not None:
        view = ExtendedView(inputs.data, inputs.data.extra)
        extra, share = len(view.labels), inputs.data.extra.share(size)
    part = size // world.size
    own = range(world.rank * part, (world.rank + 1) * part)
    pinned, bad = inputs.device.type == "cuda", source.on_bad_image
    return loader.batches(view, length, size, seed, start, steps, workers, bad, skipped, own, pinned, extra, share)


def check_shares(stage: Stage, processes: int, pieces: int) -> None:
    """Raise UserError if a stage's batches cannot be split equally over `processes` times `pieces`."""
    for stream in stage.streams:
        if (size := stage.training.size(stream)) % (processes * pieces):
            raise UserError(
                f"A batch of {size} images cannot be shared equally by {processes} processes with accumulate={pieces}: "
                f"let their product divide {size}."
            )
