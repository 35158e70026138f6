"""Check that runs can be executed, before anything is written."""

import multiprocessing
from pathlib import Path

from harness.core.device import choose_device
from harness.core.errors import UserError
from harness.evaluation import evaluator
from harness.launch.launchers import launcher
from harness.runs import build
from harness.runs.changed import outdated
from harness.runs.folder import OVER
from harness.runs.run import Run, fingerprint
from harness.tracking import store
from harness.training import weights as foreign
from harness.training.batches import check_shares


def check_all(runs: list[Run]) -> list[Run]:
    """Return the runs without duplicates; UserError, before anything is written, if one of them cannot be built."""
    if not runs:
        raise UserError("The sweep is empty: give at least one value to each swept key, such as seed=0,1,2.")
    unique = {run.fingerprint: run for run in runs}
    for run in unique.values():
        _check(run)
    return list(unique.values())


def ready_to_judge(runs: list[Run]) -> None:
    """Fetch what the runs' protocols need, such as weights of extractors; UserError if something is unavailable.

    This is checked before training, which may take days.
    """
    needs = ("data", "protocol", "extractors")
    for run in {fingerprint([getattr(run.config, part) for part in needs]): run for run in runs}.values():
        missing = [name for name, n in zip(run.data.classes, _class_counts(run), strict=True) if not n]
        if missing:
            names = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise UserError(f"The test split of {run.config.data['name']} has no image of {names}: add some.")

        # Let each metric, and the selection of sampler steps, fetch what it needs.
        protocol, weights = run.config.protocol, run.config.extractors
        samples, selection = evaluator.sampling(protocol), evaluator.selection(protocol)
        for metric in evaluator.metrics(protocol).values():
            metric.ready(run.data, samples, weights)
        if selection:
            selection.ready(run.data, weights)


def other_code(runs: list[Run]) -> dict[str, str]:
    """For each run that would not be the same if it were made now, by its name, a sentence on what changed."""
    sentences: dict[str, str] = {}
    for run in runs:
        if run.state != "running" and (parts := outdated(run)):
            roots = [str(part) for part in parts if not part.follows]
            more = ", and what follows from it" if len(roots) < len(parts) else ""
            sentences[run.name] = f"{run.name} is {run.state}, but would not be the same now: {', '.join(roots)}{more}."
    return sentences


def check_code(runs: list[Run]) -> list[str]:
    """A line on each run that is over and was made by other code than the present; none with redo=true.

    UserError if work that other code began would be continued, unless redo=true or mixed=true says how.
    """
    sentences = other_code([run for run in runs if not run.config.redo and (run.state != "failed" or run.config.retry)])
    over = {run.name for run in runs if run.state in OVER}
    begun = [sentence for name, sentence in sentences.items() if name not in over]
    if begun and not runs[0].config.mixed:
        raise UserError(
            "\n".join(begun) + "\nTo set this aside and make it again: the same command with redo=true. To go on from "
            "it with the present code: mixed=true; such runs are not ranked."
        )
    return [
        f"{sentence} redo=true makes that again, and keeps the old record aside."
        for name, sentence in sentences.items()
        if name in over
    ]


def importable() -> None:
    """Raise UserError if a script is imported by its own child processes, as it lacks the `__main__` guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError('In a script, put what runs below: if __name__ == "__main__":')


def _class_counts(run: Run) -> list[int]:
    return run.data.labels("test").bincount(minlength=len(run.data.classes)).tolist()


def _check(run: Run) -> None:
    """Build the parts of a run that are cheap to build; UserError if one is wrong."""
    chosen = launcher(run.config)
    if store.enabled(run.config):
        store.uri(run.config)  # refused where it holds a password
    if not chosen.elsewhere:
        choose_device(run.config.device)

    # Data, net, initial weights and outliers.
    if not run.stage_runs and not run.init:
        raise UserError(f"method={run.config.method['name']} trains nothing, so it needs weights: init=PATH.")
    run.data.ready()
    model = build.untrained(run, "meta")
    if run.config.init:
        path = Path(run.config.init)
        foreign.check(foreign.read(path, foreign.marked(run.init or "")), model.net, path)
    build.outliers(run).ready()

    if run.method.sampler.precision != "fp32":
        raise UserError("Samples are drawn in fp32, so that their scores compare: drop method.sampler.precision.")
    evaluator.metrics(run.config.protocol)
    evaluator.sampling(run.config.protocol)
    evaluator.selection(run.config.protocol)

    images = run.data.length("train")
    for stage_run in run.stage_runs:
        check_shares(stage_run.stage, chosen.size, run.config.accumulate)
        if stage_run.stage.training.batch > images:
            raise UserError(
                f"method.{stage_run.name}.training.batch={stage_run.stage.training.batch} is larger than the training "
                f"split of {run.config.data['name']}, {images} images: choose a smaller one."
            )
