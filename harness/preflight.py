"""Whether runs can be done at all, found out before anything is written."""

from harness import build, evaluate
from harness.device import choose_device
from harness.errors import UserError
from harness.runs import Run


def check_all(runs: list[Run]) -> list[Run]:
    """The runs, each once, if every one can be built; UserError otherwise, before anything is written."""
    if not runs:
        raise UserError("The sweep is empty: give at least one value to each swept key, such as seed=0,1,2.")
    unique = {run.fingerprint: run for run in runs}
    for run in unique.values():
        _check(run)
    return list(unique.values())


def _check(run: Run) -> None:
    """Build all that the run will build, where that is cheap."""
    choose_device(run.config["device"])
    build.untrained(run, "meta")
    build.outliers(run)
    evaluate.metrics(run.config["protocol"])
    evaluate.sampling(run.config["protocol"])
    images = len(run.data.labels("train"))
    for training in run.trainings:
        if training.stage.training.batch > images:
            raise UserError(
                f"method.{training.name}.training.batch={training.stage.training.batch} is larger than the training "
                f"split of {run.config['data']['name']}, {images} images: choose a smaller one."
            )
