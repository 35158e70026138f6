"""failure.md: what a fault that stopped a run leaves in its folder."""

import signal
import traceback
from contextlib import suppress
from textwrap import indent

from harness.core.distributed import join
from harness.core.errors import CanaryFailed, UserError, first_line, out_of_memory
from harness.core.files import write_text
from harness.core.loader import GONE, KILLED
from harness.core.signals import in_main_thread
from harness.core.text import code_block, visible
from harness.runs.run import Run


class RunFailed(Exception):
    """A fault stopped the run; its failure.md says which."""


def write_failure(run: Run, error: Exception) -> None:
    """Write failure.md, unless another process of the run has written it already."""
    path = run.folder / "failure.md"
    _let_go(error)
    if not path.exists():
        with suppress(UserError):  # on a full disk not even this can be written
            write_text(path, _failure(run, error))


def _let_go(error: BaseException | None) -> None:
    """Free what an error's frames hold: a dead data loader worker would raise its error again, at any place."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if in_main_thread() else None
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


def one_line(error: Exception) -> str:
    """An error in one line: the message alone if it is one for users, else with the error's type."""
    if isinstance(error, UserError | CanaryFailed):
        return str(error)
    if out_of_memory(error):
        return (
            f"{no_memory(error)}. Training needs less memory with a larger accumulate=N, sampling and evaluation "
            "with microbatch=N."
        )
    if KILLED in str(error):
        return GONE
    return f"{type(error).__name__}: {error}"


def no_memory(error: Exception) -> str:
    """Such an error in a few words, with the process that met it if a run has several."""
    world = join()
    which = f" in process {world.rank} of {world.size}" if world.size > 1 else ""
    reason = first_line(error)
    return f"Out of memory{which}" + f" ({reason})" * bool(reason)


def _failure(run: Run, error: Exception) -> str:
    # Texts of others, such as paths and words of a command, stand indented or fenced: as code, which acts on no page.
    return f"""# {run.name} failed

{indent(visible(one_line(error)), "    ")}

Finished work is kept. Once the cause is fixed, the same command with `retry=true` continues.

{code_block("".join(traceback.format_exception(error)).rstrip())}

Command:

{indent(visible(run.config.command), "    ")}
"""
