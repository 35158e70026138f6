"""The logs of a run's jobs, as submitit writes them."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from harness.core.reading import LARGEST_CONFIG, read_file, text
from harness.launch.queue import submitted
from harness.runs.folder import state
from harness.runs.run import find


def job_of(word: str, root: Path) -> Path:
    """The folder of a run or of a shared stage, given by name or path; UserError if there is none."""
    stage = root / "stages" / word
    return stage.resolve() if stage.is_dir() and word not in ("", ".", "..") else find(word, root)


def logs(folder: Path) -> list[Path]:
    """The non-empty logs of a run's or stage's jobs: those of its job.json first, then all others, oldest first."""
    root = folder.parent.parent if folder.parent.name == "stages" else folder.parent
    job = submitted(folder)
    paths = [*(job.logs(root) if job else []), *_by_call(folder.name, root)]
    return [path for path in dict.fromkeys(paths) if path.stat().st_size]


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]


def tails(folder: Path, lines: int) -> Iterator[str]:
    """Yield the last lines of each log of a folder below the log's path, or say where else to look if there is none."""
    paths = logs(folder)
    for path in paths:
        yield f"{path}:"
        yield from tail(path, lines)
        yield ""
    if not paths:
        yield "It has no job that printed anything. With launcher=local, look where you typed the command."
        yield f"Its files are in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}"
    if (folder / "config.yaml").exists() and state(folder) == "failed":
        yield f"{folder / 'failure.md'}:"
        yield from text(read_file(folder / "failure.md", LARGEST_CONFIG)).splitlines()[:3]


def _by_call(name: str, root: Path) -> Iterator[Path]:
    """The logs of jobs whose pickled call, as stored by submitit, contains the run's name; nothing is unpickled."""
    calls = sorted((root / "jobs").rglob("*_submitted.pkl"), key=lambda path: path.stat().st_mtime)
    for call in calls:
        if name.encode() in call.read_bytes():
            yield from sorted(call.parent.glob(f"{call.name.removesuffix('_submitted.pkl')}_*_log.*"))
