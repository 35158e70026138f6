"""Fair comparisons of hybrid energy-based models: the Python API.

    runs = harness.plan("method=at", "seed=1")      # what `python -m harness plan …` shows
    record = harness.run(runs[0])                   # trains, evaluates, records; resumes an interrupted run
    model = harness.load(runs[0].folder)            # the trained EnergyModel; it also samples and explains
    table = harness.results()                       # all runs, as a pandas.DataFrame

Heavy packages are imported only when they are used.
"""

import warnings
from functools import partial
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
    """Return the runs that the overrides describe, one for each combination of a sweep; nothing is written.

    overrides: as on the command line, without -m. UserError, with all that is wrong, if they do not fit the config, or
    files that the runs need are missing. Two runs, as an example:

        runs = harness.plan("method=at", "seed=0,1")
    """
    from harness.launch.preflight import check_all
    from harness.runs.compose import compose
    from harness.runs.run import Run

    return check_all([Run(config) for config in compose(["-m", *overrides])])


def run(run: "Run", progress: bool = True) -> "Record":
    """Train and evaluate what is left of a run in this process, and return its record.

    progress: whether to print what is being done: a line for each phase, and one a minute with the time left.

    An interrupted run continues; a finished one is returned at once. A score and its 95 % interval, as an example:

        score = harness.run(runs[0]).scores["clean_accuracy"]
        score.value, score.low, score.high  # in score.unit, here %

    A run that diverged has a record too: `record.state` says so, and it has no scores. UserError if something that the
    run needs is missing; in a script, call it below `if __name__ == "__main__":`.
    """
    from harness.launch.jobs import freeze
    from harness.launch.preflight import check_code, importable, ready_to_judge, slow_precision
    from harness.launch.show import Bars, Lines
    from harness.runs.execute import execute
    from harness.runs.folder import OVER
    from harness.runs.progress import Watches
    from harness.tracking.sender import sender

    importable()
    left = [run] if run.state not in OVER else []
    ready_to_judge(left)
    for line in check_code([run]) + slow_precision(left):
        warnings.warn(line, stacklevel=2)
    freeze([run])
    bars = Lines(1, partial(print, flush=True)) if progress and left else Bars()
    record = execute(run, Watches(bars, sender(run)))
    bars.finished(run, record)
    return record


def load(path: "Path | str", *overrides: str, device: str = "cpu") -> "Trained":
    """Return the model of a run's folder or of a checkpoint, in evaluation mode; UserError if there is none.

    The model maps pixels in [0, 1] to logits and energies; it also draws samples and explains images. A checkpoint is
    given by its path or its address, in any of the formats in docs/checkpoints.md; overrides such as data=cifar10
    describe its config. device: "cpu", "cuda" or "cuda:N". As an example, of images x, N x C x H x W in [0, 1]:

        model = harness.load("runs/at-digits-s0-0b43355c")
        model(x), model.energy(x)  # N x K logits, N energies −logsumexp
    """
    from harness.core.device import choose_device
    from harness.runs.reopen import reopen
    from harness.runs.trained import Trained

    return Trained(reopen(str(path), overrides), choose_device(device))


def results(*overrides: str, source: str = "folders") -> "pd.DataFrame":
    """Return all runs, one row each, with the columns of leaderboard.csv; runs=FOLDER says where they are.

    A score is a column of its own, such as clean_accuracy in percent, with its 95 % interval in clean_accuracy/low
    and clean_accuracy/high; a run that lacks it has NaN there. The mean over seeds, as an example:

        table[table.state == "done"].groupby("method").clean_accuracy.mean()

    source: "folders", or "mlflow", which gives the same rows.
    """
    from harness.reports.csv_table import tidy
    from harness.reports.rows import rows
    from harness.runs.compose import compose

    return tidy(rows(compose(list(overrides))[0], source))
