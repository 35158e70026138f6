"""Time `report` over thousands of runs: python benchmarks/leaderboard.py [RUNS].

Prints a markdown table: a first report, one with ten new runs, and the largest process. Each run folder holds the files
of a real run on the digits: a config, a record of about 20 kB, curves and pictures. There are three seeds each, of ten
methods with many overrides; some runs diverged or never ended.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from commands import taken
from matplotlib.image import imsave

from harness.evaluation.score import Score, Selection
from harness.runs.compose import compose
from harness.runs.record import Cost, Origin, Record, StageCost, write
from harness.runs.run import Run

METHODS = ("at", "atjem", "ebjdat", "generative", "jem", "jempp", "ratio", "sadajem", "standard", "trades")
PICTURES = ("samples.png", "reliability.png", "counterfactuals.png")


def scores(rng: random.Random) -> dict[str, Score]:
    """Return as many scores as a run on the digits has."""
    # All scores share these fields; their values are random.
    counted = {"n": 360, "unit": "%", "better": "higher"}

    def score(title: str, table: str = "") -> Score:
        value = rng.uniform(20, 95)
        return Score(title=title, value=value, low=value - 4, high=value + 4, table=table, **counted)

    main = {
        "clean_accuracy": score("Clean accuracy"),
        "robust_accuracy/l2_0.5": score("Robust accuracy (L2 0.5)"),
        "fd_digits": Score(title="FD (digits features)", value=rng.uniform(0.5, 30), n=1000, better="lower"),
        **{f"main/{i}": score(f"Main score {i}") for i in range(8)},
    }
    tables = {"OOD detection, noise": 14, "OOD detection, patches": 14, "Counterfactuals, L2 1": 20}
    return main | {f"{table}/{i}": score(f"Score {i}", table) for table, n in tables.items() for i in range(n)}


def record(run: Run, rng: random.Random, state: str) -> Record:
    """Return a record of the same size as those of the digits protocol."""

    stage = StageCost(
        name="robust", fingerprint="0" * 12, steps=294, images=37632, seconds=31.5, images_per_second=1194.7,
        peak_memory_mb=812, resumed=0,
    )  # fmt: skip
    origin = Origin(
        command="python -m harness", created="", commit="0" * 40, dirty=False, python="3.11",
        packages={f"package{i}": "1.2.3" for i in range(30)}, hardware="CPU", device="cpu", threads=1, precision="fp32",
    )  # fmt: skip
    # A run that is not done has no scores and no outcomes.
    done = state == "done"
    return Record(
        fingerprint=run.fingerprint, series=run.series, state=state, reason="" if done else "loss nan at step 7",
        **{key: getattr(run.config, key)["name"] for key in ("method", "data", "model")}, seed=run.config.seed,
        overrides=run.config.overrides, protocol=run.protocol, origin=origin, parameters=75434,
        scores=scores(rng) if done else {}, outcomes={f"attack/{i}": "10" * 180 for i in range(12)} if done else {},
        selection={"stage: rate": Selection(by="accuracies, seed 0", split=["validation"])},
        cost=Cost(
            stages=[stage, stage], training_seconds=63, evaluation_seconds=80, peak_memory_mb=812, training_flop=1e15,
        ),
    )  # fmt: skip


def fill(root: Path, numbers: range) -> None:
    """Make the folders of the runs with these numbers."""
    rng = random.Random(numbers.start)
    bases = {method: compose([f"method={method}"])[0] for method in METHODS}
    # Pictures of this call alone: a further link to a file changes its time, and so the state of all folders with it.
    pictures = root / f"pictures-{numbers.start}"
    pictures.mkdir()
    for name in PICTURES:
        imsave(pictures / name, np.random.default_rng(0).random((100, 100)))
    for number in numbers:
        # Three seeds for each method and width of the net.
        series, seed = divmod(number, 3)
        variant, method = divmod(series, len(METHODS))
        base = bases[METHODS[method]]
        weights = {**base.model, "width": 8 + variant}
        overrides = [f"model.width={8 + variant}"] if variant else []
        run = Run(replace(base, model=weights, overrides=overrides, seed=seed, runs=str(root / "runs")))
        run.freeze()
        # Most runs are done; an interrupted one has no record.
        state = rng.choices(("done", "diverged", "interrupted"), (90, 5, 5))[0]
        if state == "interrupted":
            (run.folder / "started").touch()
            continue
        write(run.folder / "record.json", record(run, rng, state))
        lines = [json.dumps({"images": 128 * i, "robust/ce": 2 / (i + 1), "robust/accuracy": 0.5}) for i in range(200)]
        (run.folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        for name in PICTURES:
            os.link(pictures / name, run.folder / name)


def main() -> None:
    """Make the folders and time both reports; on a busy machine only the processor seconds are meaningful."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as scratch:
        print("| runs | seconds | of one processor |\n| --- | --- | --- |")
        for what, numbers in (("", range(count)), (", ten of them new", range(count, count + 10))):
            fill(Path(scratch), numbers)
            time.sleep(3)  # or the last files would be too new to be relied on
            seconds, busy, _ = taken(["-m", "harness", "report"], Path(scratch), Path(scratch, "kept"))
            print(f"| {numbers.stop:,}{what} | {seconds:.1f} | {busy:.1f} |", flush=True)
        sizes = [path.stat().st_size for path in (Path(scratch) / "reports").rglob("*") if path.is_file()]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(f"\n{len(sizes):,} files of {sum(sizes) / 1e6:.1f} MB. The largest process took {peak:.1f} GB.")


if __name__ == "__main__":
    main()
