"""Whether runs can be done at all, found out before anything is written."""

from pathlib import Path

from harness import build, evaluate, foreign
from harness.device import choose_device
from harness.errors import UserError
from harness.launch import launcher
from harness.record import Selection
from harness.registry import make
from harness.runs import Run
from harness.settings import settings

GROUPS = ("method", "data", "model", "outliers", "protocol", "launcher")
"""The parts of a config that are checked by what they build."""


@settings
class Common:
    """The other keys of configs/config.yaml, and the two that composing adds."""

    seed: int
    selection: dict[str, Selection]
    notes: dict[str, str]
    study: dict[str, float]
    init: str | None
    init_accuracy: float | None
    runs: str
    reports: str
    tracking: str | None
    device: str
    threads: int | None
    workers: int
    checkpoint_seconds: float
    retry: bool
    overrides: list[str]
    command: str

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be 1 or more, or null for torch's choice, not {self.threads}")
        if self.init_accuracy is not None and not 0 <= self.init_accuracy <= 100:
            raise ValueError(f"init_accuracy must be in [0, 100] %, or null, not {self.init_accuracy}")
        if self.workers < 0 or self.checkpoint_seconds < 0:
            raise ValueError("workers and checkpoint_seconds must be 0 or more")


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
    make(Common, "", {key: value for key, value in run.config.items() if key not in GROUPS})
    launcher(run.config)
    choose_device(run.config["device"])
    if not run.trainings and not run.init:
        raise UserError(f"method={run.config['method']['name']} trains nothing, so it needs weights: init=PATH.")
    run.data.ready()
    model = build.untrained(run, "meta")
    if run.init:
        path = Path(run.config["init"])
        foreign.check(foreign.read(path), model.net, path)
    build.outliers(run).ready()
    evaluate.metrics(run.config["protocol"])
    evaluate.sampling(run.config["protocol"])
    images = len(run.data.labels("train"))
    for training in run.trainings:
        if training.stage.training.batch > images:
            raise UserError(
                f"method.{training.name}.training.batch={training.stage.training.batch} is larger than the training "
                f"split of {run.config['data']['name']}, {images} images: choose a smaller one."
            )
