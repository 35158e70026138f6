"""Measured run times: written to pace.json beside a result, and read to predict the cost of planned runs."""

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic import BaseModel

from harness.core.errors import Unreadable
from harness.core.files import read_checked, read_lines, write_json
from harness.core.reading import read_file
from harness.evaluation.score import Count, Number
from harness.runs.origin import hardware
from harness.runs.run import Run, StageRun, fingerprint, placeless


@dataclass(frozen=True)
class Pace:
    """Seconds that one process takes for a training step or an evaluation; upper: it may also take less."""

    seconds: float
    device: str
    upper: bool = False

    def __str__(self) -> str:
        return f"{'at most ' * self.upper}{self.seconds:.3g} s, {self.device}"


def stage_key(run: Run, stage_run: StageRun) -> str:
    """Key of what a step's time depends on, besides the device: stage without its budget, net, shape of the data."""
    stage: Any = run.recipe.stages[stage_run.name]  # a run of another budget has the same pace
    fields = asdict(stage)
    fields["training"] = {k: v for k, v in fields["training"].items() if k not in ("epochs", "milestones")}
    return fingerprint([type(stage).__module__, type(stage).__name__, fields, *_net(run)])


def evaluation_key(run: Run) -> str:
    """Key of what the time of an evaluation depends on, besides the device."""
    method, protocol, data = run.config.method, run.config.protocol, run.config.data
    return fingerprint([method["name"], method.get("sampler"), *map(placeless, (protocol, data)), *_net(run)])


def note(folder: Path, key: str, device: torch.device, processes: int, **took: float) -> None:
    """Write a measurement to pace.json: `seconds_per_step` and `steps` of a stage, or `seconds` of an evaluation.

    `upper=1` marks an upper bound.
    """
    write_json(folder / "pace.json", {"key": key, "device": name(device), "processes": processes, **took})


def note_stage(run: Run, stage_run: StageRun, device: torch.device) -> None:
    """Keep what a step of a trained stage took."""
    took = read_checked(stage_run.folder / "done.json")
    each, steps = took["seconds"] / took["steps"], took["steps"]
    note(stage_run.folder, stage_key(run, stage_run), device, took["processes"], seconds_per_step=each, steps=steps)


def name(device: torch.device) -> str:
    """A device's name for comparing speeds: the GPU's name, or the CPU's with its number of threads."""
    threads = torch.get_num_threads()
    return hardware(device) + (f", {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else "")


class Noted(BaseModel):
    """What pace.json holds: a measurement of a stage or of an evaluation."""

    key: str
    device: str
    processes: Count
    seconds_per_step: Number | None = None
    seconds: Number | None = None
    upper: bool = False


class Paces:
    """Paces by key: all in a folder of runs, and those that are added to `known` later."""

    def __init__(self, root: Path) -> None:
        self.known: dict[str, list[Pace]] = defaultdict(list)
        for path in (*root.glob("stages/*/pace.json"), *root.glob("bench/*/pace.json"), *root.glob("*/pace.json")):
            with suppress(OSError, ValueError, Unreadable):  # ignore files with other contents
                noted = Noted.model_validate_json(read_file(path))
                seconds = noted.seconds if noted.seconds_per_step is None else noted.seconds_per_step
                if seconds is not None:
                    self.known[noted.key].append(Pace(seconds * noted.processes, noted.device, noted.upper))

    def find(self, key: str, device: str | None) -> Pace | None:
        """Median pace for a key on a device; if the device is None, on the one with the most measurements."""
        paces = self.known.get(key, [])
        device = device or next((name for name, _ in Counter(pace.device for pace in paces).most_common(1)), None)
        chosen = [pace for pace in paces if pace.device == device]
        if not chosen:
            return None
        return Pace(median(pace.seconds for pace in chosen), chosen[0].device, any(pace.upper for pace in chosen))


def stage_seconds(run: Run, stage_run: StageRun, paces: Paces, device: str | None, processes: int) -> float | None:
    """Estimated seconds that are left of a stage's training; None if its pace is unknown."""
    if stage_run.ended:
        return 0.0
    pace = paces.find(stage_key(run, stage_run), device)
    return pace and steps_left(run, stage_run) * pace.seconds / processes


def evaluation_seconds(run: Run, paces: Paces, device: str | None, processes: int) -> float | None:
    """Estimated seconds of a run's evaluation; None if its pace is unknown."""
    pace = paces.find(evaluation_key(run), device)
    return pace and pace.seconds / processes


def steps_left(run: Run, stage_run: StageRun) -> int:
    """Number of steps of a stage that no process has logged yet."""
    logged = read_lines(stage_run.folder / "metrics.jsonl")
    return stage_run.stage.training.steps(run.data.length("train")) - (logged[-1]["step"] if logged else 0)


def _net(run: Run) -> list[Any]:
    return [run.config.model, list(run.data.shape), len(run.data.classes)]
