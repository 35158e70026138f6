"""Time the commands that people wait for: python benchmarks/many_folders.py [FOLDERS] [TIMES].

Prints a markdown table: medians and ranges, of one processor too, as the machine may be busy. Each run folder holds the
files of a real run in its state, with a record of about 10 kB; there are as many folders of stages, each with its pace.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml
from commands import taken

from harness.evaluation.score import Score
from harness.runs.compose import compose
from harness.runs.record import Cost, Origin, ProtocolTag, Record, StageCost, write

STATES = ("done", "done", "done", "diverged", "failed", "interrupted", "queued")
COMMANDS = (
    "--help",
    "list",
    "status",
    "plan",
    "plan -m method=atjem,jem,at,generative seed=0,1,2",
    f"plan -m method=atjem,jem,at,generative,standard seed={','.join(map(str, range(20)))}",
)


def record(state: str) -> Record:
    """Return a record of the same size as those of the digits protocol."""
    title = "Robust accuracy, L2, eps 0.5"
    score = Score(title=title, value=71.2, low=66.3, high=75.7, n=360, unit="%", better="higher")
    # The texts and counts give the record its real size.
    stage = StageCost(
        name="robust", fingerprint="0" * 12, steps=294, images=37632, seconds=31.5, images_per_second=1194.7,
        peak_memory_mb=812, resumed=0,
    )  # fmt: skip
    packages = {f"package{i}": "1.2.3" for i in range(30)}
    origin = Origin(
        command="python -m harness", created="", commit="0" * 40, dirty=False, python="3.11", packages=packages,
        hardware="", device="cpu", threads=1, precision="fp32",
    )  # fmt: skip
    return Record(
        fingerprint="0" * 12, series="1" * 12, state=state, method="atjem", data="digits", model="digits", seed=0,
        protocol=ProtocolTag(id="digits-2", hash="0"), origin=origin,
        scores={f"robust_accuracy/{i}": score for i in range(24)},
        outcomes={f"robust_accuracy/{i}": "10" * 180 for i in range(8)},
        cost=Cost(stages=[stage, stage], training_seconds=63, evaluation_seconds=80, peak_memory_mb=812),
    )  # fmt: skip


def fill(root: Path, folders: int) -> None:
    """Make the folders of runs and stages."""
    config = yaml.safe_dump(compose([])[0].mapping(), sort_keys=False)
    progress = {
        "what": "train joint", "done": 120, "total": 540, "seconds_left": 33.1, "words": "bce 0.31 T 12", "host": "n1",
        "pid": 123, "job": None, "attempt": 1,
    }  # fmt: skip
    pace = {"key": "0" * 12, "device": "NVIDIA H200", "processes": 1, "seconds_per_step": 0.12, "steps": 589}
    for number in range(folders):
        run, stage = root / f"atjem-digits-s{number}-{number:08x}", root / "stages" / f"robust-{number:08x}"
        run.mkdir(parents=True)
        stage.mkdir(parents=True)
        (run / "config.yaml").write_text(config)
        (stage / "pace.json").write_text(json.dumps({**pace, "key": f"{number:012x}"}))
        # Write the files that belong to the state.
        state = STATES[number % len(STATES)]
        if state in ("done", "diverged"):
            write(run / "record.json", record(state))
        elif state != "queued":
            (run / "started").touch()
            (run / "lock").touch()
            (run / "progress.json").write_text(json.dumps(progress))
        if state == "failed":
            (run / "failure.md").write_text("# it failed\n\nUserError: out of memory\n")


def main() -> None:
    """Make the folders and time each command, a plan also with no answers kept by earlier ones."""
    folders = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as scratch:
        place, kept = Path(scratch), Path(scratch, "kept")
        fill(place / "runs", folders)
        print(f"| command, beside {folders:,} runs and {folders:,} stages | seconds | of one processor |")
        print("| --- | --- | --- |")
        for what, command in [("", command) for command in COMMANDS] + [(", nothing kept", "plan")]:
            new = [place / f"new{number}" if what else kept for number in range(repeats)]
            words = ["-m", "harness", *command.split()]
            times = zip(*(taken(words, place, answers)[:2] for answers in new), strict=True)
            cells = [f"{median(each):.2f} [{min(each):.2f}, {max(each):.2f}]" for each in times]
            print(f"| `{command}`{what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
