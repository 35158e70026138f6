"""The evaluator: every method's checkpoint under one protocol, shard by shard."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.files import read_json, write_json
from harness.metric import Metric, Part, Result, Subject
from harness.record import ProtocolTag
from harness.registry import find, make
from harness.runs import fingerprint
from harness.sample import Sampling


def tag(protocol: dict[str, Any]) -> ProtocolTag:
    """A protocol's id and the hash of its contents."""
    return ProtocolTag(id=protocol["id"], hash=fingerprint(protocol))


def metrics(protocol: dict[str, Any]) -> dict[str, Metric]:
    """The metrics of a protocol, by name."""
    fields = protocol["metrics"].items()
    return {name: make(find("metric", name), f"protocol.metrics.{name}", given) for name, given in fields}


def sampling(protocol: dict[str, Any]) -> Sampling:
    """How a protocol samples."""
    return make(Sampling, "protocol.samples", protocol["samples"])


def evaluate(
    subject: Subject, protocol: dict[str, Any], folder: Path, watch: Callable[[str, int, int], None]
) -> tuple[Result, float]:
    """All scores and outcomes of a protocol, and the seconds that they took.

    A shard's part is a file in the folder; those that are there are not computed again, so an interrupted
    evaluation continues, to the same answer. `watch` hears the metric's name, shards done and shards in all.
    """
    total, seconds = Result({}), 0.0
    for name, metric in metrics(protocol).items():
        shards = metric.shards(subject)
        parts: list[Part] = []
        for shard in range(shards):
            watch(name, shard, shards)
            parts.append(_part(metric, subject, shard, folder / name / f"{shard:05d}.json"))
        seconds += sum(part["seconds"] for part in parts)
        result = metric.merge(subject, parts)
        total.scores.update(result.scores)
        total.outcomes.update(result.outcomes)
    return total, seconds


def _part(metric: Metric, subject: Subject, shard: int, path: Path) -> Part:
    if not path.exists():
        started = time.monotonic()
        part = metric.score(subject, shard)
        write_json(path, {"seconds": round(time.monotonic() - started, 2), **part})
    return read_json(path)
