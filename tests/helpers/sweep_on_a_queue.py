"""A sweep on a cluster with limits, simulated: the real code submits, and a paper scheduler ends the jobs.

    python tests/helpers/sweep_on_a_queue.py --runs 1000

Nothing is trained. Time passes in turns. In a turn the scheduler starts jobs whose dependencies have left the queue,
while there are nodes; some of the running ones end with what they are for, some are preempted and queued again, and
some vanish without a result, as after scancel. A user types the same command whenever the queue is half empty.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
import recorded
from fake_slurm import FakeSlurm

import harness
from harness.core.files import write_checked
from harness.launch import queue as slurm
from harness.launch.launchers import launcher
from harness.launch.show import Show
from harness.runs.run import Run

METHODS = ("at", "atjem", "generative", "jem")
"""The first three share a stage for each seed, which their runs wait for."""


@dataclass(frozen=True)
class Limits:
    """Of a cluster: jobs that a user may have in the queue, jobs in an array, nodes (a job takes one)."""

    queued: int
    array: int
    nodes: int


@dataclass(frozen=True)
class Fate:
    """The probabilities that a running job ends in a turn with its result, is preempted, or vanishes."""

    done: float = 0.5
    preempted: float = 0.1
    vanished: float = 0.03


@dataclass
class Story:
    """What happened: commands, turns, arrays, and for each folder how often a job of it was submitted and started.

    jobs: the largest number in the queue. longest: of an array. after_the_end: folders that were submitted though
    nothing was left to do. doubles: folders that had two jobs in the queue at once. early: runs that started before
    their shared stage had ended, as its job had vanished. seconds: processor time of each command.
    """

    commands: int = 0
    turns: int = 0
    arrays: int = 0
    jobs: int = 0
    longest: int = 0
    submitted: Counter[str] = field(default_factory=Counter)
    started: Counter[str] = field(default_factory=Counter)
    after_the_end: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    preempted: int = 0
    vanished: int = 0
    seconds: list[float] = field(default_factory=list)


def planned(count: int, root: Path) -> list[Run]:
    """Plan a sweep of `count` runs: METHODS in turn, with a new seed for each round of them."""
    first = harness.plan(f"method={','.join(METHODS)}", "launcher=slurm", "tracking=off", f"runs={root}")
    return [Run(replace(first[i % len(first)].config, seed=i // len(first))) for i in range(count)]


class Cluster:
    """A paper scheduler, and the user who types the same command until all runs are done."""

    def __init__(self, runs: list[Run], fake: FakeSlurm, limits: Limits, fate: Fate, seed: int) -> None:
        self.runs, self.fake, self.limits, self.fate = runs, fake, limits, fate
        self.rng, self.story = random.Random(seed), Story()
        self.stages = {stage.folder: stage for run in runs for stage in run.stage_runs}
        self.by_folder = {run.folder: run for run in runs}
        uses = Counter(stage.folder for run in runs for stage in run.stage_runs)
        self.shared = {folder for folder, number in uses.items() if number > 1}
        self.over = set[Path]()
        self.owner: dict[tuple[str, int], Path] = {}
        self.waits: dict[str, list[str]] = {}
        fake.put("most", str(limits.queued))
        fake.put("longest", str(limits.array))

    def run(self, most_turns: int) -> Story:
        """Let time pass until all runs have their records, or for so many turns."""
        while not self.over.issuperset(self.by_folder) and self.story.turns < most_turns:
            if len(self.fake.queued) <= self.limits.queued // 2:
                self.command()
            self.turn()
        return self.story

    def command(self) -> None:
        """Type the command: submit what is left and fits, by the real code."""
        before = len(self.fake.scripts)
        began = time.process_time()
        launcher(self.runs[0].config).run(self.runs, None, Show())
        self.story.seconds.append(time.process_time() - began)
        self.story.commands += 1
        # Note which folder each new job is of, and what each array waits for.
        queued = {line.split("|")[0] for line in self.fake.queued}
        for folder in (*self.shared, *self.by_folder):
            job = slurm.submitted(folder)
            if job and job.key not in self.owner and job.name in queued:
                self.owner[job.key] = folder
                self.story.submitted[folder.name] += 1
                self.story.after_the_end += [folder.name] * (folder in self.over)
        for script in self.fake.scripts[before:]:
            (name,) = re.findall("--job-name=(.*)", script)
            last = re.findall("--array=0-([0-9]+)", script)
            self.waits[name] = [id for ids in re.findall("afterany:(.*)", script) for id in ids.split(":")]
            self.story.longest = max(self.story.longest, 1 + int(last[0]) if last else 1)
            self.story.arrays += 1
        present = Counter(self.owner[key] for key in slurm.queue())
        self.story.doubles += [folder.name for folder, number in present.items() if number > 1]
        self.story.jobs = max(self.story.jobs, len(self.fake.queued))

    def turn(self) -> None:
        """Let the scheduler work: end, preempt and lose running jobs, then start waiting ones."""
        self.story.turns += 1
        left: list[list[str]] = []
        for line in self.fake.queued:
            name, task, id, state, _ = line.split("|")
            luck, fate = self.rng.random(), self.fate
            if state == "RUNNING" and luck < fate.done:
                self.finish(self.owner[name, int(task) if task.isdigit() else 0])
                continue
            if state == "RUNNING" and luck < fate.done + fate.preempted:
                self.story.preempted += 1
                state = "PENDING"
            elif state == "RUNNING" and luck < fate.done + fate.preempted + fate.vanished:
                self.story.vanished += 1
                continue
            left.append([name, task, id, state])
        ids = {id for _, _, id, _ in left}
        free = self.limits.nodes - sum(state == "RUNNING" for *_, state in left)
        for job in left:
            name, task, _, state = job
            if state == "PENDING" and free > 0 and not ids & set(self.waits[name]):
                job[3], free = "RUNNING", free - 1
                self.start(self.owner[name, int(task) if task.isdigit() else 0])
        self.fake.queue([f"{name}|{task}|{id}|{state}|None" for name, task, id, state in left])

    def start(self, folder: Path) -> None:
        """Note that a job has begun, as the work itself does."""
        self.story.started[folder.name] += 1
        if run := self.by_folder.get(folder):
            (folder / "started").touch()
            needed = {stage.folder for stage in run.stage_runs} & self.shared
            self.story.early += [run.name] * (not needed <= self.over)

    def finish(self, folder: Path) -> None:
        """Leave what the work leaves: the note of a trained stage; or the record of a run, and of stages it trained."""
        run = self.by_folder.get(folder)
        for stage in [self.stages[folder]] if run is None else run.stage_runs:
            if stage.folder not in self.over:
                write_checked(stage.folder / "done.json", {})
                self.over.add(stage.folder)
        if run:
            recorded.finish(run, {})
            self.over.add(folder)


@contextmanager
def simulated(count: int, limits: Limits, fate: Fate, folder: Path, seed: int = 0) -> Iterator[Cluster]:
    """A cluster for a sweep of `count` runs, whose commands are on the PATH within the context."""
    fake = FakeSlurm(folder / "slurm", folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", fake.path)
        yield Cluster(planned(count, folder / "runs"), fake, limits, fate, seed)


def main() -> None:
    """Simulate a large sweep, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("runs", 1000), ("queued", 300), ("array", 100), ("nodes", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    limits = Limits(args.queued, args.array, args.nodes)
    with tempfile.TemporaryDirectory() as scratch:
        with simulated(args.runs, limits, Fate(), Path(scratch), args.seed) as cluster:
            story = cluster.run(most_turns=100 * args.runs)
        states = Counter(run.state for run in cluster.runs)
    print(f"states of runs: {dict(states)}; shared stages: {len(cluster.shared)}")
    print(f"commands: {story.commands}, turns: {story.turns}, arrays: {story.arrays}")
    print(f"most jobs in the queue: {story.jobs}, longest array: {story.longest}")
    print(f"jobs: {story.submitted.total()} submitted, {story.started.total()} starts")
    print(f"preempted: {story.preempted}, vanished: {story.vanished}, started before their stage: {len(story.early)}")
    print(f"two jobs at once: {len(story.doubles)}, submitted though done: {len(story.after_the_end)}")
    print(f"processor seconds of a command: first {story.seconds[0]:.1f}, longest {max(story.seconds):.1f}")


if __name__ == "__main__":
    main()
