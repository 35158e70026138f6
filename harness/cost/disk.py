"""Upper bound on the disk space of runs, from the sizes of their nets and the counts in their protocols."""

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
"""Numbers stored for a sample: Inception's features and logits; other extractors give fewer."""


@dataclass(frozen=True)
class Disk:
    """Bytes: what each stage keeps, by its fingerprint; what the run keeps besides; what training needs temporarily."""

    stages: dict[str, int]
    run: int
    meanwhile: int


def disk(run: Run) -> Disk:
    """Bound the disk of a run: weights and replay buffers, checkpoints while it trains, samples and their features."""
    tensors = build.untrained(run, "meta").state_dict().values()
    weights, pixels = sum(t.numel() * t.element_size() for t in tensors), torch.Size(run.data.shape).numel()
    stages: dict[str, int] = {}
    meanwhile = 0
    for stage_run in run.stage_runs:
        stage: Any = stage_run.stage
        settings, buffer = stage_run.stage.training, 4 * pixels * _buffer_images(asdict(stage))
        moments = 2 if settings.optimizer != "sgd" else int(settings.momentum > 0)
        stages[stage_run.fingerprint] = weights + buffer
        # The checkpoints that are kept, and the next one while it is written.
        meanwhile = max(meanwhile, (KEPT + 1) * (weights * (1 + (settings.ema is not None) + moments) + buffer))
    return Disk(stages, _samples(run, pixels), meanwhile)


def free(root: Path) -> int:
    """Return the free bytes on the disk of a folder, which may not exist yet."""
    return shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free


def size(count: float) -> str:
    """Format a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def _buffer_images(fields: dict[str, Any]) -> int:
    """Images in replay buffers: the sum of the fields named `buffer`, at any depth of a stage's settings."""
    inner = sum(_buffer_images(value) for value in fields.values() if isinstance(value, dict))
    return inner + int(fields.get("buffer") or 0)


def _samples(run: Run, pixels: int) -> int:
    """Bytes of the samples, in 8 bits, with their features, and of the samples for choosing the sampler's steps."""
    protocol = run.config.protocol
    count, choice = evaluator.sampling(protocol).count, evaluator.selection(protocol)
    extra = len(choice.candidates(run.method.sampler.steps)) * choice.count if choice else 0
    return (count + extra) * pixels + 4 * FEATURES * count
