"""Mirror run folders in MLflow. The folders are the source of truth, and no run waits for MLflow.

What could not be sent, because the server was unreachable, stays in the outbox (outbox.py) and is sent later, once.
"""

import logging
import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from harness.runs.config import Config
from harness.runs.folder import Fault, lock, readable
from harness.runs.run import Run, fingerprint
from harness.tracking import outbox
from harness.tracking.outbox import Multirun, Owed, tracked_at
from harness.tracking.retry import away, best_effort
from harness.tracking.store import LOCKED, connect, enabled, experiment, experiment_in_database, uri

log = logging.getLogger(__name__)


def prepare(config: Config) -> None:
    """Create the database and the experiment before any job needs them; log a warning if that fails."""
    best_effort(uri(config), "the experiment could not be made", lambda: experiment(connect(config), config))


def multirun(title: str, runs: list[Run]) -> Multirun:
    """What MLflow calls the runs of one command; the same runs get the same name."""
    return Multirun(fingerprint(sorted(run.fingerprint for run in runs)), title)


def push(run: Run, multirun: Multirun | None = None, last: bool = False) -> bool:
    """Send a run folder's new content to MLflow; return False, with a warning, if MLflow is unreachable or refuses.

    An unreachable store is not tried again for a while, unless this is the last push of the run. A run that is not
    running leaves the outbox once it is sent.
    """
    from harness.tracking.mirror import Mirror

    # Send under a lock, and clear the outbox entry unless the run is still running.
    def send() -> bool:
        with lock(run.folder, "mlflow.lock").acquire(timeout=LOCKED):
            owed = outbox.pending(outbox.mark(run))
            state = run.state
            Mirror(run).send(multirun or (owed and owed.multirun))
            if owed and state != "running":
                outbox.done(owed)
        return True

    return bool(
        best_effort(uri(run.config), f"{run.name} was not sent, python -m harness sync tries again", send, last)
    )


def warn(fault: Fault) -> None:
    """Log a warning on a run that cannot be read."""
    log.warning("%s", fault)


def sync(
    root: Path, seconds: float = math.inf, tracking: str | None = None, meet: Callable[[Fault], object] = warn
) -> tuple[int, int]:
    """Send the runs in the outbox of a folder of runs; return how many were sent, and how many were not.

    tracking: the store to send to, if not each run's own. An unreachable store is tried once, and after `seconds` no
    further run is started. Active runs are skipped, as their own processes send them. meet: called with each run that
    cannot be read, which stays in the outbox.
    """
    sent, left, until = 0, 0, time.monotonic() + seconds
    for path in outbox.marks(root):
        # Skip entries that were sent meanwhile, and runs that send themselves.
        owed = readable(root / path.stem, lambda _, path=path: _idle(outbox.pending(path)))
        if isinstance(owed, Fault):
            meet(owed)
        if owed is None or isinstance(owed, Fault):
            continue
        if not enabled(owed.run.config):  # older versions put runs with tracking=off there too
            outbox.done(owed)
            continue

        # Send, unless the time is over or the store is unreachable.
        run = tracked_at(owed.run, tracking) if tracking else owed.run
        done = time.monotonic() < until and not away(uri(run.config)) and push(run, owed.multirun)
        sent, left = sent + done, left + (not done)
    return sent, left


def _idle(owed: Owed | None) -> Owed | None:
    """What is owed; None if the run sends itself."""
    return None if owed is None or owed.run.state == "running" else owed


def ui_command(config: Config) -> str:
    """The command that opens MLflow's pages: a browser for a server, `mlflow ui` for a database."""
    where, served = shlex.quote(uri(config)), uri(config).startswith("http")
    return f"python -m webbrowser {where}" if served else f"mlflow ui --backend-store-uri {where} --port 5000"


def ui_page(config: Config) -> str:
    """The page of the runs, once `mlflow ui` shows the database; MLflow's own first page is about traces of agents."""
    known = experiment_in_database(config)
    return "http://127.0.0.1:5000/" + (f"#/experiments/{known}/runs?workflowType=machine_learning" if known else "")
