"""What the jobs of a run printed, as submitit keeps it."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from harness.launch.queue import submitted
from harness.runs.folder import state
from harness.runs.run import find


def job_of(word: str, root: Path) -> Path:
    """The folder of a run, or of a stage that runs share, by its name or path; UserError if there is none."""
    stage = root / "stages" / word
    return stage.resolve() if stage.is_dir() and word not in ("", ".", "..") else find(word, root)


def logs(folder: Path) -> list[Path]:
    """The files that jobs of a run's or stage's folder printed into, the oldest job's first."""
    root = folder.parent.parent if folder.parent.name == "stages" else folder.parent
    job = submitted(folder)
    found = [*(job.logs(root) if job else []), *_by_call(folder.name, root)]
    return [path for path in dict.fromkeys(found) if path.stat().st_size]


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]


def tails(folder: Path, lines: int) -> Iterator[str]:
    """The ends of all logs of a folder, each below its path; where there are none, where else to look."""
    found = logs(folder)
    for path in found:
        yield f"{path}:"
        yield from tail(path, lines)
        yield ""
    if not found:
        yield "No job of its own has printed anything: with launcher=local that stands where the command was typed."
        yield f"Its files are in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}"
    if (folder / "config.yaml").exists() and state(folder) == "failed":
        yield f"{folder / 'failure.md'}:"
        yield from (folder / "failure.md").read_text(encoding="utf-8", errors="replace").splitlines()[:3]


def _by_call(name: str, root: Path) -> Iterator[Path]:
    """The logs of all whose call, which submitit stored and nobody unpickles here, names the run's folder."""
    calls = sorted((root / "jobs").rglob("*_submitted.pkl"), key=lambda path: path.stat().st_mtime)
    for call in calls:
        if name.encode() in call.read_bytes():
            yield from sorted(call.parent.glob(f"{call.name.removesuffix('_submitted.pkl')}_*_log.*"))
