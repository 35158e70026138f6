"""Time `status` and `plan` with thousands of run folders: python benchmarks/many_folders.py [FOLDERS].

Prints a markdown table. Each run folder holds the files of a real run in its state, with a record of about 10 kB; there
are as many folders of stages, each with its pace.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from harness.evaluation.score import Score
from harness.runs.compose import compose
from harness.runs.record import Cost, Origin, ProtocolTag, Record, StageCost, write

STATES = ("done", "done", "done", "diverged", "failed", "interrupted", "queued")
COMMANDS = ("status", "plan", "plan -m method=atjem,jem,at,generative seed=0,1,2")


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
    """Make the folders and time each command three times; the fastest time counts, as the machine may be busy."""
    folders = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch) / "runs", folders)
        print(f"| command, beside {folders:,} runs and {folders:,} stages | seconds |\n| --- | --- |")
        for command in COMMANDS:
            times = []
            for _ in range(3):
                started = time.monotonic()
                line = [sys.executable, "-m", "harness", *command.split()]
                subprocess.run(line, cwd=scratch, check=True, capture_output=True)
                times.append(time.monotonic() - started)
            print(f"| `{command}` | {min(times):.1f} |", flush=True)


if __name__ == "__main__":
    main()
