"""MLflow, where people look: a mirror of the run folders. The disk is the truth, and no run waits for the mirror.

What the tracking server did not get, because it was away, stays owed (outbox.py) and is sent later, once.
"""

import math
import shlex
import time
from pathlib import Path

from filelock import FileLock

from harness.runs.config import Config
from harness.runs.run import Run, fingerprint
from harness.tracking import outbox
from harness.tracking.outbox import Multirun, tracked_at
from harness.tracking.retry import away, best_effort
from harness.tracking.store import LOCKED, connect, experiment, uri


def prepare(config: Config) -> None:
    """Make the database and the experiment, before any job needs them; a warning if that fails."""
    best_effort(uri(config), "the experiment could not be made", lambda: experiment(connect(config), config))


def multirun(title: str, runs: list[Run]) -> Multirun:
    """What the runs of one command hang under in MLflow, the same for the same runs."""
    return Multirun(fingerprint(sorted(run.fingerprint for run in runs)), title)


def push(run: Run, multirun: Multirun | None = None, last: bool = False) -> bool:
    """Bring MLflow level with a run folder; False, with a warning, if MLflow cannot be reached or refuses.

    A store that could not be reached is left alone for a while, unless this is the last push of the run. A run that is
    over, or stands still, is owed no longer when it was sent.
    """
    from harness.tracking.mirror import Mirror

    def send() -> bool:
        with FileLock(run.folder / "mlflow.lock", timeout=LOCKED):
            owed = outbox.pending(outbox.mark(run))
            state = run.state
            Mirror(run).send(multirun or (owed and owed.multirun))
            if owed and state != "running":
                outbox.done(owed)
        return True

    return bool(
        best_effort(uri(run.config), f"{run.name} was not sent, python -m harness sync tries again", send, last)
    )


def sync(root: Path, seconds: float = math.inf, tracking: str | None = None) -> tuple[int, int]:
    """Send the runs of a folder that MLflow is owed, to `tracking` where it is given: how many were, and how many not.

    A store that cannot be reached is asked once, and after so many seconds no further run is begun. Runs that are
    running are left to their own processes.
    """
    sent, left, until = 0, 0, time.monotonic() + seconds
    for path in outbox.marks(root):
        if (owed := outbox.pending(path)) is None:
            continue
        run = tracked_at(owed.run, tracking) if tracking else owed.run
        if run.state == "running":
            continue
        done = time.monotonic() < until and not away(uri(run.config)) and push(run, owed.multirun)
        sent, left = sent + done, left + (not done)
    return sent, left


def ui_command(config: Config) -> str:
    """The command that opens MLflow's pages: a server over the database, or a browser where a server is."""
    where, served = shlex.quote(uri(config)), uri(config).startswith("http")
    return f"python -m webbrowser {where}" if served else f"mlflow ui --backend-store-uri {where} --port 5000"
