"""Evaluate a trained run, a checkpoint file or the samples of any generator under a protocol, without training."""

from dataclasses import replace

from harness.cli.request import Request
from harness.cli.run import run_all
from harness.core.errors import UserError, near
from harness.core.registry import names
from harness.core.settings import settings
from harness.runs import fetch
from harness.runs.build import require_trained
from harness.runs.changed import outdated
from harness.runs.compose import compose
from harness.runs.reopen import UNSAID, reopen, samples_overrides
from harness.runs.run import Run

EXAMPLE = "run=atjem-digits-s0-c1a31312 protocol=digits"
PARTS = UNSAID


@settings
class Arguments:
    """run: a run's folder, its name in the folder of runs, or a checkpoint's path or address.

    samples: images of another generator, instead of a run: an .npz file (arr_0, arr_1), a folder of pictures, or a
    folder with a folder of pictures for each class.
    """

    run: str | None = None
    samples: str | None = None


def run(request: Request) -> int:
    """Evaluate the model; return 1 if that failed."""
    word, overrides = request.arguments.run, request.overrides
    if (word is None) == (request.arguments.samples is None):
        raise UserError(f"evaluate needs run=… or samples=…, such as: python -m harness evaluate {EXAMPLE}")
    command = request.config.command
    if word is None:
        (config,) = compose([*samples_overrides(request.arguments.samples), *overrides])
        return run_all([Run(replace(config, command=command))])
    loaded = reopen(word, overrides, besides=["protocol"])
    if not fetch.is_weights(word) and not any(override.startswith("protocol=") for override in overrides):
        raise UserError(f"Choose a protocol: protocol=NAME. {near('', names('protocol'))}")
    require_trained(loaded, loaded.stage_runs)
    if loaded.config.redo and (stages := [part.what for part in outdated(loaded) if part.folder != loaded.folder]):
        again = f"{', '.join(stages)} again"
        raise UserError(
            f"redo=true would train {again}, but evaluate never trains. To train, type: {loaded.config.command}"
        )
    return run_all([replace(loaded, config=replace(loaded.config, command=command))])
