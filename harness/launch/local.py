"""Execute runs in this process, one after another."""

import sys
from typing import ClassVar

from harness.core.distributed import Lost, join
from harness.core.settings import settings
from harness.launch.jobs import freeze
from harness.launch.show import Show
from harness.runs.execute import execute
from harness.runs.failure import RunFailed
from harness.runs.progress import Watches
from harness.runs.run import Run
from harness.tracking.outbox import Multirun
from harness.tracking.sender import sender


@settings
class Local:
    """Executes one run after another, in this process and the others of its process group.

    With several processes a failed run ends the command, as the ranks may be out of step; alone, the next run starts.
    """

    elsewhere: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Number of processes that work on a run."""
        return join().size

    def run(self, runs: list[Run], sweep: Multirun | None, show: Show) -> None:
        """Do the remaining work of the runs."""
        names = join().on_main(lambda: [run.name for run in freeze(runs)])
        left = [run for run in runs if run.name in names]
        bars = show.bars(len(left))
        for run in left:
            try:
                bars.finished(run, execute(run, Watches(bars, sender(run, sweep))))
            except RunFailed as error:
                bars.failed(run, str(error))
                if join().size > 1:
                    sys.exit(1)
            except Lost as error:
                sys.exit(f"{run.name}: {error}. The same command continues.")
