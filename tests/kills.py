"""kill -9 at random moments: python tests/kills.py N [seed] kills runs of all methods N times and compares records.

Each run is killed one to three times, anywhere in the time that it takes unharmed, and gone on with until it is done.
Its record must be that of the unharmed run. Exit status 1 where one is not.
"""

import mmap
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - whatever a child needs is imported once, here
import sklearn.datasets  # noqa: F401
import torch
import torch_fidelity  # noqa: F401
from commandline import STAGES, quick

import harness
from harness import record
from harness.execute import execute
from harness.runs import Run, load
from harness.train import Progress

SEEDS = (0, 1)
AT_ONCE = 2
MOST = 3
"""Kills of one run, at most."""

PATIENCE = 60
"""Seconds, beside ten times those of the unharmed run, after which a run is said to hang."""


class Telling:
    """Watches a run in a child, and tells its parent what is being done."""

    def __init__(self, board: mmap.mmap) -> None:
        self.board = board
        self.say("beginning")

    def say(self, what: str) -> None:
        """Write it where the parent reads it."""
        self.board[:] = what.encode().ljust(len(self.board))

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """A training step was taken."""
        self.say("training")

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some pieces of sampling or evaluation are done."""
        if what == list(run.config["protocol"]["metrics"])[-1] and done == total:
            self.say("recording")
        elif what.startswith("samples"):
            self.say("sampling" if what == "samples" else "choosing")
        else:
            self.say("attacking" if what in ("robustness", "ood", "counterfactuals") else "scoring")


@dataclass(frozen=True)
class Unharmed:
    """A run as it is when nothing happens to it: its folder, and how many seconds it takes."""

    run: Run
    seconds: float

    @property
    def result(self) -> dict[str, object]:
        """What its record says."""
        return record.read(self.run.folder / "record.json").result()


@dataclass
class Harmed:
    """What became of a run that was killed: at which moments, and what is wrong with it, if anything."""

    name: str
    moments: list[str] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class Task:
    """A run to kill: like which unharmed one, in which folder, how often, and the seed of the moments."""

    like: Unharmed
    folder: Path
    kills: int
    seed: int


def attempt(run: Run, seconds: float | None) -> tuple[int, str]:
    """Go on with a frozen run in a child, to its end or for so many seconds: its status, negative if it was killed.

    And the last that it told of what it was doing.
    """
    board = mmap.mmap(-1, 16)
    child = os.fork()
    if not child:
        status = 1
        try:
            log = os.open(run.root / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            execute(load(run.folder), Telling(board))
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.002)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended[1]), board[:].decode().strip()


def unharmed(run: Run) -> Unharmed:
    """Do a run, and take the time."""
    run.freeze()
    started = time.monotonic()
    status, _ = attempt(run, 3600)
    if status:
        raise RuntimeError(f"{run.name} fails unharmed:\n{(run.root / 'output').read_text()}")
    return Unharmed(run, time.monotonic() - started)


def harmed(task: Task) -> Harmed:
    """Kill a run as often as told, or until it is done, then let it end, and compare."""
    run = Run({**task.like.run.config, "runs": str(task.folder)})
    rng, outcome = random.Random(task.seed), Harmed(run.name)
    run.freeze()
    for _ in range(task.kills):
        status, moment = attempt(run, rng.uniform(0, task.like.seconds))
        if status != -signal.SIGKILL:
            break
        outcome.moments.append(moment)
    status, moment = attempt(run, PATIENCE + 10 * task.like.seconds)
    if status:
        what = "hung" if status < 0 else "failed"
        outcome.fault = f"{what} while {moment}:\n{(run.root / 'output').read_text()}"
    elif record.read(run.folder / "record.json").result() != task.like.result:
        outcome.fault = f"its record is not that of {task.like.run.folder}; see {run.folder}"
    else:
        shutil.rmtree(task.folder)
    return outcome


def composed(methods: list[str], seeds: tuple[int, ...], folder: Path) -> list[Run]:
    """The runs of some methods and seeds, each in a folder of its own."""
    common = (f"seed={','.join(map(str, seeds))}", "threads=1", "device=cpu", "checkpoint_seconds=0.05")
    runs = [run for method in methods for run in harness.plan(*quick(method), *common)]
    return [Run({**run.config, "runs": str(folder / run.name)}) for run in runs]


def tasks(like: list[Unharmed], kills: int, folder: Path, rng: random.Random) -> Iterator[Task]:
    """Runs for so many kills, the methods and seeds in turn."""
    number = 0
    while kills:
        some = min(kills, rng.randint(1, MOST))
        yield Task(like[number % len(like)], folder / f"{number}", some, rng.getrandbits(32))
        number, kills = number + 1, kills - some


def killed(kills: int, seed: int, methods: list[str], seeds: tuple[int, ...], folder: Path) -> Iterator[Harmed]:
    """Runs that were killed, so many times in all, each as it is done."""
    torch.set_num_threads(1)
    rng, round_ = random.Random(seed), 0
    with multiprocessing.get_context("fork").Pool(AT_ONCE) as pool:
        like = pool.map(unharmed, composed(methods, seeds, folder / "unharmed"), chunksize=1)
        rng.shuffle(like)
        while kills > 0:
            round_ += 1
            for outcome in pool.imap_unordered(harmed, list(tasks(like, kills, folder / f"{round_}", rng))):
                kills -= len(outcome.moments)
                yield outcome


def main(kills: int, seed: int) -> int:
    """Kill, print what comes of it, and return 1 if a record differs, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    moments: Counter[str] = Counter()
    runs, equal = 0, 0
    for outcome in killed(kills, seed, list(STAGES), SEEDS, folder):
        moments.update(outcome.moments)
        runs, equal = runs + 1, equal + (not outcome.fault)
        print(f"{moments.total():4} kills  {outcome.name}  {', '.join(outcome.moments)}  {outcome.fault or 'equal'}")
        sys.stdout.flush()
    print("\n".join(f"{number:4} while {moment}" for moment, number in moments.most_common()))
    print(f"{moments.total()} kills of {runs} runs, {equal} equal records")
    if equal < runs:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
