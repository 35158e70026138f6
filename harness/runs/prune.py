"""What a folder of runs holds beside its results, how large it is, what its removal costs, and the removal."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from filelock import Timeout

from harness.core.errors import UserError
from harness.runs.folder import Fault, is_locked, lock, readable
from harness.runs.run import folders, load

Kind = Literal["checkpoints", "samples", "parts", "buffers", "caches", "orphans"]
KINDS: tuple[Kind, ...] = get_args(Kind)

COSTS: dict[Kind, str] = {
    "checkpoints": "unfinished stages are trained again from their beginning",
    "samples": "they are drawn again when needed; without weights here, they are lost",
    "parts": "unfinished evaluations start again, and transfer attacks again; finished ones lose nothing",
    "buffers": "methods that sample from their buffer can be neither sampled nor evaluated again",
    "caches": "references and extractors are computed again",
    "orphans": "stages that no run of this folder uses are trained again if a new run needs them",
}
"""What is lost with each kind; scores, records, curves, pictures and weights of runs always stay."""

SMALLEST_BUFFER = 10**6
"""Bytes from which the state of a stage counts as a buffer; a curriculum has some hundred."""


@dataclass(frozen=True)
class Holding:
    """A file or folder that could be removed.

    owner: the folder of its run or stage, or that of all runs. busy: whether a process works there.
    """

    kind: Kind
    path: Path
    owner: Path
    bytes: int
    busy: bool


def holdings(root: Path) -> tuple[list[Holding], list[Fault]]:
    """Return what a folder of runs holds of each kind, and the runs that cannot be read.

    As these may use any stage, none is an orphan then. Links are never followed.
    """
    runs, stages = folders(root), _folders(root / "stages")
    inside = [folder for run in runs for folder in _folders(run / "stages")]  # of imported runs
    # Find the stages that no run uses.
    answers = [readable(folder, lambda path: {stage.folder for stage in load(path).stage_runs}) for folder in runs]
    faults = [answer for answer in answers if isinstance(answer, Fault)]
    used = {folder for answer in answers if not isinstance(answer, Fault) for folder in answer}
    orphans = [folder for folder in stages if folder.absolute() not in used] if not faults else []

    found: list[Holding] = []

    def add(kind: Kind, owner: Path, *names: str) -> None:
        for path in (owner / name for name in names):
            if path.exists() and not path.is_symlink() and (size := _size(path)):
                found.append(Holding(kind, path, owner, size, is_locked(owner)))

    for run in runs:
        add("samples", run, "samples", "selection")
        add("parts", run, "parts", "kept", "adversarial")
    for stage in (*stages, *inside):
        if stage in orphans:
            found.append(Holding("orphans", stage, stage, _size(stage), is_locked(stage)))
            continue
        add("checkpoints", stage, "checkpoints")
        if (stage / "done.json").exists() and _size(stage / "state.safetensors") >= SMALLEST_BUFFER:
            add("buffers", stage, "state.safetensors")
    add("caches", root, "cache")
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.path)), faults


def remove(found: list[Holding], kinds: tuple[str, ...], tell: Callable[[Holding], None]) -> int:
    """Remove what is of these kinds, except where a process works; return the bytes. UserError for an unknown kind."""
    if unknown := sorted({*kinds} - {*KINDS}):
        raise UserError(f"There is nothing called {unknown[0]} to remove: choose from {', '.join(KINDS)}.")
    freed = 0
    for one in (one for one in found if one.kind in kinds):
        with ExitStack() as held:
            try:
                if one.kind != "caches":  # a process that misses a file there makes it again
                    held.enter_context(lock(one.owner).acquire(blocking=False))
            except Timeout:
                continue
            tell(one)
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()
            freed += one.bytes
    return freed


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir() and not path.is_symlink())


def _size(path: Path) -> int:
    """The bytes of a file, or of all files below a folder, without those behind links; 0 if there is none."""
    files = (path, *path.rglob("*")) if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
