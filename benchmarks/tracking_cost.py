"""Measure how much MLflow slows training: python benchmarks/tracking_cost.py [STEPS] [ROUNDS].

Trains one stage of AT on digits in turn without MLflow, with a database, with a server that delays each request by two
seconds, and with a server that is unreachable. A checkpoint, and so a push, is due every two seconds, thirty times as
often as by default. Prints a markdown table of medians, and of ratios to the training without MLflow in the same round.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from mlflow_server import Gate, mlflow_server

import harness
from harness.core.files import read_json
from harness.runs.execute import train_stage
from harness.runs.progress import Watch
from harness.tracking.sender import Sender

SLOW, AWAY = 2.0, "http://127.0.0.1:9"


def seconds(folder: Path, steps: int, tracking: str | None) -> float:
    """Return the seconds of a step; `tracking`: as in the config, or "none" for no mirror at all."""
    epochs = f"method.robust.training.epochs={steps * 128 / 1257}"
    uri = f"tracking={tracking}" if tracking not in (None, "none") else "tracking=null"
    (run,) = harness.plan("method=at", epochs, f"runs={folder}", "threads=1", "checkpoint_seconds=2", uri)
    run.freeze()
    with Watch() if tracking == "none" else Sender(run, None) as watch:
        train_stage(run, run.stage_runs[0], watch)
    report = read_json(run.stage_runs[0].folder / "done.json")
    return report["seconds"] / report["steps"]


def main() -> None:
    """Measure the stores in turn, in several rounds."""
    steps, rounds = (int(text) for text in (*sys.argv[1:], *("150", "3")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with mlflow_server(root, f"sqlite:///{root}/server.db") as url:
            stores = {"no MLflow": "none", "database": None, "server, 2 s a request": Gate(url, SLOW).url, "away": AWAY}
            seconds(root / "first", 5, None)  # warm up: create and import everything once
            times = {name: [] for name in stores}
            for number in range(rounds):
                for name, store in stores.items():
                    times[name].append(seconds(root / f"{number}-{name.partition(',')[0]}", steps, store))
    # Compare each store with the training without MLflow of the same round.
    print("| store | ms a step, median | ratio to none, median of rounds |\n| --- | --- | --- |")
    for name, store_times in times.items():
        ratio = median(own / none for own, none in zip(store_times, times["no MLflow"], strict=True))
        print(f"| {name} | {1000 * median(store_times):.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
