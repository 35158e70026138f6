"""Kill runs with -9 at random moments: make kills N=200 SEED=1 kills runs of all methods 200 times, compares records.

Each run is killed one to three times, at any moment of the time that it takes without kills, and resumed until it is
done. Its record must equal that of the run without kills; the exit status is 1 if one does not.
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
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import harness  # isort: skip - before all that imports torchvision
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - whatever a child needs is imported once, here
import sklearn.datasets
import sklearn.model_selection  # noqa: F401
import torch
import torch._dynamo
import torch_fidelity  # noqa: F401
from commandline import STAGES, quick

from harness import tracking
from harness.runs import record
from harness.runs.execute import execute
from harness.runs.progress import Watch, Watches
from harness.runs.run import Run, load
from harness.tracking.sender import sender
from harness.training.loop import Progress

SEEDS = (0, 1)
AT_ONCE = 2
MOST = 3
"""Maximum number of kills of one run."""

PATIENCE = 120
"""A run counts as hanging after this many seconds plus ten times the duration of the run without kills."""


class Telling(Watch):
    """A watch that reports from a child process to its parent what the run is doing."""

    def __init__(self, board: mmap.mmap) -> None:
        self.board = board
        self.say("beginning")

    def say(self, what: str) -> None:
        """Write it to the memory that the parent reads."""
        self.board[:] = what.encode().ljust(len(self.board))

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Report training."""
        self.say("training")

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Report sampling, selection, attacks, scores or the record."""
        if what == list(run.config.protocol["metrics"])[-1] and done == total:
            self.say("recording")
        elif what.startswith("samples"):
            self.say("sampling" if what == "samples" else "choosing")
        else:
            self.say("attacking" if what in ("robustness", "ood", "counterfactuals") else "scoring")


@dataclass
class Harmed:
    """The outcome of a killed run: the moments of its kills, and its fault, if any."""

    name: str
    moments: list[str] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class Task:
    """A run to kill: the reference run, the folder, the number of kills, and the seed of their moments.

    seconds: duration of the reference run. ready: whether the store and the cache exist already.
    """

    like: Run
    folder: Path
    kills: int
    seed: int
    ready: bool
    seconds: float = 0


def attempt(run: Run, seconds: float) -> tuple[int, str]:
    """Continue a frozen run in a child process and kill it after `seconds`: its exit status, negative if it was killed.

    Also return what it last reported to be doing.
    """
    board = mmap.mmap(-1, 16)
    telling = Telling(board)
    child = os.fork()
    if not child:
        status = 1
        try:
            log = os.open(run.root / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            frozen = load(run.folder)
            execute(frozen, Watches(telling, sender(frozen)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.002)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended[1]), board[:].decode().strip()


def unharmed(run: Run) -> float:
    """Execute a run without kills, keeping a copy of the store from before it; return its duration in seconds."""
    run.freeze()
    tracking.prepare(run.config)
    shutil.copy(run.root / "mlflow.db", run.root / "prepared.db")
    started = time.monotonic()
    status, moment = attempt(run, 3600)
    if status:
        raise RuntimeError(f"{run.name} fails unharmed while {moment}:\n{(run.root / 'output').read_text()}")
    return time.monotonic() - started


def harmed(task: Task) -> Harmed:
    """Kill a run as often as requested or until it is done, then let it finish and compare its record."""
    run, there = Run(replace(task.like.config, runs=str(task.folder))), task.like.root
    rng, outcome = random.Random(task.seed), Harmed(run.name)
    run.freeze()
    if task.ready:
        shutil.copy(there / "prepared.db", run.root / "mlflow.db")
        shutil.copytree(there / "cache", run.root / "cache")
    for _ in range(task.kills):
        status, moment = attempt(run, rng.uniform(0, task.seconds))
        if status != -signal.SIGKILL:
            break
        outcome.moments.append(moment)
    status, moment = attempt(run, PATIENCE + 10 * task.seconds)
    if status:
        what = "hung" if status < 0 else "failed"
        outcome.fault = f"{what} while {moment}:\n{(run.root / 'output').read_text()}"
    elif result(run) != result(task.like):
        outcome.fault = f"its record is not that of {task.like.folder}; see {run.folder}"
    else:
        shutil.rmtree(task.folder)
    return outcome


def result(run: Run) -> dict[str, object]:
    """The result in the record of a run."""
    return record.read(run.folder / "record.json").result()


def composed(folder: Path) -> list[Run]:
    """The runs of all methods and seeds, each in its own folder."""
    common = (f"seed={','.join(map(str, SEEDS))}", "device=cpu", "checkpoint_seconds=0.3", "tracking=null")
    runs = [run for method in STAGES for run in harness.plan(*quick(method), *common)]
    return [Run(replace(run.config, runs=str(folder / run.name))) for run in runs]


def tasks(runs: list[Run], kills: int, folder: Path, rng: random.Random) -> Iterator[Task]:
    """Yield tasks for a number of kills, cycling through methods and seeds."""
    number = 0
    while kills:
        some = min(kills, rng.randint(1, MOST))
        yield Task(runs[number % len(runs)], folder / f"{number}", some, rng.getrandbits(32), ready=rng.random() < 0.7)
        number, kills = number + 1, kills - some


def killed(kills: int, seed: int, folder: Path) -> Iterator[Harmed]:
    """Yield each killed run when it is done, until `kills` kills have happened in total."""
    torch.set_num_threads(1)
    rng, runs, seconds = random.Random(seed), composed(folder / "unharmed"), {}
    with multiprocessing.get_context("fork").Pool(AT_ONCE) as pool:
        for round_ in count():
            rng.shuffle(runs)
            some = list(tasks(runs, kills, folder / f"{round_}", rng))
            new = list({task.like.name: task.like for task in some if task.like.name not in seconds}.values())
            seconds |= zip((run.name for run in new), pool.map(unharmed, new, chunksize=1), strict=True)
            timed = [replace(task, seconds=seconds[task.like.name]) for task in some]
            for outcome in pool.imap_unordered(harmed, timed):
                kills -= len(outcome.moments)
                yield outcome
            if kills <= 0:
                return


def main(kills: int, seed: int) -> int:
    """Kill runs, print their outcomes, and return 1 if a record differs, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    moments: Counter[str] = Counter()
    runs, equal = 0, 0
    for outcome in killed(kills, seed, folder):
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
