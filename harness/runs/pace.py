"""How long work of a kind took: noted beside its result by who did it, in pace.json, and looked up by who plans."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from harness.core.files import read_json, write_json
from harness.runs.origin import hardware
from harness.runs.run import Run, StageRun, fingerprint, placeless


@dataclass(frozen=True)
class Pace:
    """What a step of a stage, or an evaluation, takes one process, in seconds; upper: or less."""

    seconds: float
    device: str
    upper: bool = False

    def __str__(self) -> str:
        return f"{'at most ' * self.upper}{self.seconds:.3g} s, {self.device}"


def stage_key(run: Run, training: StageRun) -> str:
    """The key of what the time of a step depends on, the device apart: the stage but for its budget, net and images."""
    stage: Any = training.stage
    fields = asdict(stage)
    fields["training"] = {k: v for k, v in fields["training"].items() if k not in ("epochs", "milestones")}
    return fingerprint([type(stage).__module__, type(stage).__name__, fields, *_net(run)])


def evaluation_key(run: Run) -> str:
    """The key of what the time of an evaluation depends on, the device apart."""
    method, protocol, data = run.config.method, run.config.protocol, run.config.data
    return fingerprint([method["name"], method.get("sampler"), *map(placeless, (protocol, data)), *_net(run)])


def note(folder: Path, key: str, device: torch.device, processes: int, **took: float) -> None:
    """Keep what was measured: `seconds_per_step` and `steps` of a stage, or the `seconds` of an evaluation; upper: 1
    where it may also take less."""
    write_json(folder / "pace.json", {"key": key, "device": name(device), "processes": processes, **took})


def note_stage(run: Run, training: StageRun, device: torch.device) -> None:
    """Keep what a step of a trained stage took."""
    took = read_json(training.folder / "done.json")
    each, steps = took["seconds"] / took["steps"], took["steps"]
    note(training.folder, stage_key(run, training), device, took["processes"], seconds_per_step=each, steps=steps)


def name(device: torch.device) -> str:
    """A device as far as its speed goes: a GPU's name, or a CPU's with its threads."""
    threads = torch.get_num_threads()
    return hardware(device) + (f", {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else "")


class Paces:
    """All that was noted in a folder of runs, and what was measured since, by their keys."""

    def __init__(self, root: Path) -> None:
        self.known: dict[str, list[Pace]] = defaultdict(list)
        for path in (*root.glob("stages/*/pace.json"), *root.glob("bench/*/pace.json"), *root.glob("*/pace.json")):
            try:
                seen = read_json(path)
                seconds = seen["seconds_per_step"] if "seconds_per_step" in seen else seen["seconds"]
                upper = bool(seen.get("upper"))
                self.known[seen["key"]].append(Pace(seconds * seen["processes"], seen["device"], upper))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # what is of another make tells nothing of ours

    def find(self, key: str, device: str | None) -> Pace | None:
        """The usual pace of work of a kind on a device; where that is left open, on the one that was noted most."""
        found = self.known.get(key, [])
        device = device or next((of for of, _ in Counter(pace.device for pace in found).most_common(1)), None)
        there = [pace for pace in found if pace.device == device]
        if not there:
            return None
        return Pace(median(pace.seconds for pace in there), there[0].device, any(pace.upper for pace in there))


def _net(run: Run) -> list[Any]:
    return [run.config.model, list(run.data.shape), len(run.data.classes)]
