"""One run, from its frozen config to its record: train the stages, sample, evaluate, record, mirror."""

import json
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from harness.core.device import prepare
from harness.core.distributed import Lost, World, join
from harness.core.errors import CanaryFailed, Diverged, UserError, first_line
from harness.core.files import read_json, swept, write_json, write_text
from harness.core.loader import GONE, KILLED
from harness.core.signals import hears, heeded
from harness.runs import pace, record
from harness.runs.build import outliers
from harness.runs.initial import check_accuracy
from harness.runs.judge import judged, record_of
from harness.runs.origin import made_with
from harness.runs.previews import Glimpses
from harness.runs.progress import Diary, begun
from harness.runs.record import Record
from harness.runs.run import Run, Training, lock, locked
from harness.runs.trained import trained
from harness.tracking.outbox import Multirun
from harness.tracking.sender import Courier
from harness.tracking.store import on
from harness.training.batches import Materials, hardware
from harness.training.loop import Progress, train


class Watch(Protocol):
    """Hears how a run gets on."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """A training step was taken."""

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some of `total` pieces of sampling or evaluation are done; a few words on them."""


class Silent:
    """Watches nothing: for runs in other processes, whose progress is read from the disk."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Nothing."""

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Nothing."""


class RunFailed(Exception):
    """A run stopped by a fault; its failure.md says which."""


def execute(run: Run, watch: Watch, parent: Multirun | None = None) -> Record:
    """Do what is left of a run and return its record; it is interrupted and continued at any moment.

    Every process of the run's world calls it; the first writes the files. In MLflow the run hangs under `parent`.
    Raises RunFailed, with failure.md written, where the code or the machine is at fault; Leave, when a signal says so.
    """
    world = join()
    mirrored = Courier(run, parent) if world.rank == 0 and on(run.config) else nullcontext()
    with heeded(), held(run.folder, world), mirrored as courier:
        path = run.folder / "record.json"
        if not world.once(path.exists):
            attempt = world.once(lambda: _begin(run))
            try:
                outcome = _outcome(run, Diary(run, watch, attempt) if world.rank == 0 else Silent(), courier)
                world.once(lambda: record.write(path, outcome))
            except Lost:
                raise  # the process that has gone says why, or was killed: then the run is interrupted, not failed
            except Exception as error:
                _fail(run, error)
                raise RunFailed(f"{run.name}: {_named(error)}") from error
        return world.once(lambda: record.read(path))


def train_alone(run: Run, training: Training) -> None:
    """Train one stage of a run, and nothing else; the same processes, signals and locks as in `execute`."""
    with heeded():
        train_stage(run, training, Silent())


@contextmanager
def held(folder: Path, world: World) -> Iterator[None]:
    """A folder's lock, which the first process takes for all; it sweeps out what a killed one was writing there."""
    own = lock(folder)

    def take() -> None:
        own.acquire()
        swept(folder)

    try:
        world.once(take)
        yield
    finally:
        own.release()


def _begin(run: Run) -> int:
    (run.folder / "failure.md").unlink(missing_ok=True)
    return begun(run)


def _fail(run: Run, error: Exception) -> None:
    """Leave word of a fault, unless the process of it has done so already."""
    path = run.folder / "failure.md"
    _let_go(error)
    if not path.exists():
        with suppress(UserError):  # on a full disk not even this can be written
            write_text(path, _failure(run, error))


def _let_go(error: BaseException | None) -> None:
    """Free what an error's frames hold: of processes that load images, a dead one raises its error again, anywhere."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if hears() else None
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


def _outcome(run: Run, watch: Watch, courier: Courier | None) -> Record:
    """The record of a run, whatever became of it."""
    device, world = prepare(run.config), join()
    reason = run.method.skip(run.data)
    if reason:
        return world.once(lambda: record_of(run, device, state="skipped", reason=reason))
    try:
        for training in run.trainings:
            train_stage(run, training, watch, courier)
        world.once(lambda: write_text(run.folder / "metrics.jsonl", _lines(run.curves())))
        if not run.trainings:
            check_accuracy(trained(run, None, device), run.data, run.config["init"], run.config["init_accuracy"])
        return judged(run, device, partial(watch.working, run))
    except Diverged as error:
        reason = str(error)
        return world.once(lambda: record_of(run, device, state="diverged", reason=reason))


def train_stage(run: Run, training: Training, watch: Watch, courier: Courier | None = None) -> None:
    """Train one stage of a run, unless it was trained before, or is meanwhile by another job; tell the courier.

    Raises Diverged, now and whenever it is asked for again, if it diverges.
    """
    device, world = prepare(run.config), join()

    glimpses = Glimpses(run, training)

    def hear(progress: Progress) -> None:
        watch.training(run, training.name, progress)
        glimpses.look(progress)
        if progress.checkpointed and courier:
            courier.tell()

    if world.rank == 0 and locked(training.folder):
        watch.working(run, f"wait for stage {training.name}", 0, 1, "another job trains it")
    with held(training.folder, world):
        diverged = training.folder / "diverged.json"
        if reason := world.once(lambda: read_json(diverged) if diverged.exists() else ""):
            raise Diverged(reason)
        if world.once(lambda: training.done):
            return
        model, materials = trained(run, training.parent, device), _materials(run, training, device)
        if run.init and training.parent is None:
            check_accuracy(model, run.data, run.config["init"], run.config["init_accuracy"])
        try:
            train(training.stage, model, materials, training.folder, run.config["checkpoint_seconds"], hear)
        except Diverged as error:
            reason = f"stage {training.name}: {error}"
            world.once(lambda: write_json(diverged, reason))
            raise Diverged(reason) from error
        world.once(lambda: _pace(run, training, device))


def _pace(run: Run, training: Training, device: torch.device) -> None:
    """Note what a step took, for whoever plans more of them."""
    took = read_json(training.folder / "done.json")
    each, steps = took["seconds"] / took["steps"], took["steps"]
    key = pace.of_stage(run, training)
    pace.note(training.folder, key, device, took["processes"], seconds_per_step=each, steps=steps)


def _materials(run: Run, training: Training, device: torch.device) -> Materials:
    source = outliers(run) if "outliers" in training.stage.needs else None
    config, key = run.config, (run.config["seed"], training.name)
    return Materials(run.data, source, key, device, world=join(), made_with=made_with(), **hardware(config))


def _lines(curves: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in curves)


def _named(error: Exception) -> str:
    """An error in one line; what the user has to mend, or a canary, speaks for itself."""
    if isinstance(error, UserError | CanaryFailed):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        world = join()
        which = f" in process {world.rank} of {world.size}" if world.size > 1 else ""
        return (
            f"Out of memory{which} ({first_line(error)}). Training holds less at a time with a larger "
            "accumulate=N, sampling and evaluation with microbatch=N."
        )
    if KILLED in str(error):
        return GONE
    return f"{type(error).__name__}: {error}"


def _failure(run: Run, error: Exception) -> str:
    return f"""# {run.name} failed

{_named(error)}

What was done so far is kept. Once the cause is mended, the same command with `retry=true` goes on from there.

```
{"".join(traceback.format_exception(error))}```

Command: `{run.config["command"]}`
"""
