"""The disk that runs need, from the sizes of their nets and the counts of their protocols: at most, not about."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from harness.evaluation import evaluator
from harness.runs import build
from harness.runs.run import Run
from harness.training.checkpoint import KEPT

FEATURES = 3_100
"""Numbers that are kept of a sample: Inception's features and logits; other extractors give fewer."""


@dataclass(frozen=True)
class Disk:
    """Bytes: what each stage keeps, by its fingerprint, what the run keeps besides, and what its training takes too."""

    stages: dict[str, int]
    run: int
    meanwhile: int


def disk(run: Run) -> Disk:
    """What a run will need: weights and replay buffers, checkpoints while it trains, samples and their features."""
    tensors = build.untrained(run, "meta").state_dict().values()
    weights, pixels = sum(t.numel() * t.element_size() for t in tensors), torch.Size(run.data.shape).numel()
    stages: dict[str, int] = {}
    meanwhile = 0
    for training in run.stage_runs:
        stage: Any = training.stage
        how, buffer = training.stage.training, 4 * pixels * _buffer_images(asdict(stage))
        moments = 2 if how.optimizer != "sgd" else int(how.momentum > 0)
        stages[training.fingerprint] = weights + buffer
        # Those that are kept, and the next one while it is written.
        meanwhile = max(meanwhile, (KEPT + 1) * (weights * (1 + (how.ema is not None) + moments) + buffer))
    return Disk(stages, _samples(run, pixels), meanwhile)


def free(root: Path) -> int:
    """The bytes that are free where a folder is, or will be."""
    return shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def _buffer_images(fields: dict[str, Any]) -> int:
    """The images of a replay buffer, which a field of that name counts, at any depth of a stage's settings."""
    inner = sum(_buffer_images(value) for value in fields.values() if isinstance(value, dict))
    return inner + int(fields.get("buffer") or 0)


def _samples(run: Run, pixels: int) -> int:
    """The samples, in 8 bits, with their features, and those that the sampler's steps are chosen by."""
    protocol = run.config.protocol
    count, choice = evaluator.sampling(protocol).count, evaluator.selection(protocol)
    tried = len(choice.candidates(run.method.sampler.steps)) * choice.count if choice else 0
    return (count + tried) * pixels + 4 * FEATURES * count
