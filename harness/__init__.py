"""Fair comparisons of hybrid energy-based models: the Python API.

    runs = harness.plan("method=at", "seed=1")      # what `python -m harness plan …` shows
    record = harness.run(runs[0])                   # trains, evaluates, records; resumes an interrupted run
    model = harness.load(runs[0].folder)            # the trained EnergyModel; it also samples and explains
    table = harness.results()                       # all runs, as a pandas.DataFrame

Heavy packages are imported only when they are used.
"""

import warnings
from typing import TYPE_CHECKING

from harness.core import imports

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from harness.runs.record import Record
    from harness.runs.run import Run
    from harness.runs.trained import Trained

imports.install()

__all__ = ["load", "plan", "results", "run"]


def plan(*overrides: str) -> "list[Run]":
    """Return the runs that the overrides describe, including sweeps such as seed=0,1; UserError if they are invalid."""
    from harness.launch.preflight import check_all
    from harness.runs.compose import compose
    from harness.runs.run import Run

    return check_all([Run(config) for config in compose(["-m", *overrides])])


def run(run: "Run") -> "Record":
    """Train and evaluate what is left of a run, and return its record."""
    from harness.launch.jobs import freeze
    from harness.launch.preflight import check_code, importable, ready_to_judge, slow_precision
    from harness.runs.execute import execute
    from harness.runs.folder import OVER
    from harness.tracking.sender import sender

    importable()
    left = [run] if run.state not in OVER else []
    ready_to_judge(left)
    for line in check_code([run]) + slow_precision(left):
        warnings.warn(line, stacklevel=2)
    freeze([run])
    return execute(run, sender(run))


def load(path: "Path | str", *overrides: str, device: str = "cpu") -> "Trained":
    """Return the model of a run's folder or of a checkpoint, in evaluation mode; UserError if there is none.

    The model maps pixels in [0, 1] to logits and energies; it also draws samples and explains images. A checkpoint is
    given by its path or its address, in any of the formats in docs/checkpoints.md; overrides such as data=cifar10
    describe its config.
    """
    from harness.core.device import choose_device
    from harness.runs.reopen import reopen
    from harness.runs.trained import Trained

    return Trained(reopen(str(path), overrides), choose_device(device))


def results(*overrides: str, source: str = "folders") -> "pd.DataFrame":
    """Return all runs, one row each; overrides such as runs=FOLDER choose the folder.

    source: "folders", or "mlflow", which gives the same rows.
    """
    from harness.reports.rows import rows
    from harness.runs.compose import compose
    from harness.runs.row import frame

    return frame(rows(compose(list(overrides))[0], source))
