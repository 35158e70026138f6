"""Run the pieces of an evaluation in this process or in several; the results are the same."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import MappingProxyType

from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import start_processes

from harness.core.device import full_precision, release_memory
from harness.core.distributed import World, join
from harness.core.errors import Diverged
from harness.core.files import read_json, write_json
from harness.core.signals import detach
from harness.evaluation.evaluator import PHASES, Evaluation, Phase, Piece

DIVERGED = "diverged.json"
"""The file in a run's folder by which a process reports that its piece diverged."""

Hear = Callable[[str, int, int, str], None]
"""Receives progress: the name of the work, pieces done, pieces in all, and a short text."""


Remake = Callable[[int], Evaluation]
"""Builds the same evaluation in a new process, from that process's rank; must be picklable."""


def run_pieces(evaluation: Evaluation, processes: int, remake: Remake, hear: Hear) -> None:
    """Run all unfinished pieces, phase by phase: shared with this process's world, or else with `processes` of its own.

    Diverged, in any process, is raised in all. Another error in a child of this process is raised here; in a shared
    world the rank that meets it raises it, and the launcher ends the others.
    """
    # Each phase may read what the one before has written.
    world = join()
    for phase in PHASES:
        pieces = evaluation.pieces(phase)
        if world.size > 1:
            _run_shared(evaluation, pieces, world, hear)
        elif processes == 1:
            run_local(evaluation, pieces, hear)
        elif not all(piece.path.exists() for piece in pieces):
            _run_processes(evaluation, phase, pieces, processes, remake, hear)
        written = world.on_main(partial(evaluation.finish, phase))
        while written and not written.exists():  # network file systems show new files late
            time.sleep(0.2)


def run_local(evaluation: Evaluation, pieces: list[Piece], hear: Hear) -> None:
    """Run the unfinished pieces in order; `hear` also receives what the evaluation reports meanwhile."""
    for name in dict.fromkeys(piece.name for piece in pieces):
        own = [piece for piece in pieces if piece.name == name]
        for done, piece in enumerate(own):
            hear(name, done, len(own), evaluation.summary(name))
            if not piece.path.exists():
                evaluation.tell = partial(hear, name, done, len(own))
                piece.do()
        hear(name, len(own), len(own), evaluation.summary(name))


def _run_shared(evaluation: Evaluation, pieces: list[Piece], world: World, hear: Hear) -> None:
    """Run this rank's pieces (`pieces[rank::size]`), then wait for the other ranks' files.

    Poll for files: network file systems show them late, and a process that waits in a collective handles no signals.
    """
    try:
        run_local(evaluation, pieces[world.rank :: world.size], hear)
    except Diverged as error:
        write_json(evaluation.folder / DIVERGED, str(error))
    # Wait until all pieces exist or a rank has diverged.
    while pieces and not (evaluation.folder / DIVERGED).exists() and not _report(evaluation, pieces, hear):
        time.sleep(0.2)
    world.wait()
    if reason := world.on_main(lambda: _take_divergence(evaluation.folder)):
        raise Diverged(reason)


def _run_processes(
    evaluation: Evaluation, phase: Phase, pieces: list[Piece], processes: int, remake: Remake, hear: Hear
) -> None:
    release_memory(evaluation.subject.device)  # of a GPU, that one of the processes shares with this one
    said: SimpleQueue[tuple[str, str]] = get_context("spawn").SimpleQueue()
    arguments, latest = (remake, phase, processes, said), dict[str, str]()
    context = start_processes(_run_rank, arguments, processes, join=False, start_method="spawn")
    assert context is not None
    try:
        while not context.join(timeout=0.5):
            while not said.empty():
                latest |= [said.get()]
            _report(evaluation, pieces, hear, latest)
    finally:  # no process outlives its command
        for process in filter(None, context.processes):
            process.terminate()
    if reason := _take_divergence(evaluation.folder):
        raise Diverged(reason)


def _report(
    evaluation: Evaluation, pieces: list[Piece], hear: Hear, latest: Mapping[str, str] = MappingProxyType({})
) -> bool:
    """Report how many pieces are done; return whether all are. latest: what a piece of each name said last."""
    undone = [piece for piece in pieces if not piece.path.exists()]
    name = (undone or pieces[-1:])[0].name
    hear(name, len(pieces) - len(undone), len(pieces), latest.get(name) or evaluation.summary(name))
    return not undone


def _take_divergence(folder: Path) -> str:
    """Read and delete a process's divergence message; empty if there is none."""
    mark = folder / DIVERGED
    if not mark.exists():
        return ""
    reason = read_json(mark)
    mark.unlink()
    return reason


def _run_rank(rank: int, remake: Remake, phase: Phase, processes: int, said: "SimpleQueue[tuple[str, str]]") -> None:
    """Run this rank's pieces (`pieces[rank::processes]`) in a process of its own; said: receives what each reports."""
    detach()
    evaluation = remake(rank)
    try:
        with full_precision():
            for piece in evaluation.pieces(phase)[rank::processes]:
                if not piece.path.exists():
                    evaluation.tell = partial(_say, said, piece.name)
                    piece.do()
    except Diverged as error:  # an outcome: report it in a file, not as an error of this process
        write_json(evaluation.folder / DIVERGED, str(error))


def _say(said: "SimpleQueue[tuple[str, str]]", name: str, text: str) -> None:
    said.put((name, text))
