"""The record of a run: its scores under the protocol, what they cost, and where they come from."""

from typing import Any

import torch

from harness.core.device import full_precision, peak_memory_mb
from harness.core.distributed import join
from harness.core.files import read_json, write_text
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.workers import Hear, evaluators, work
from harness.runs import pace, record
from harness.runs.origin import origin, uncommitted
from harness.runs.record import Cost, Record, StageCost
from harness.runs.run import Run, tag


def judged(run: Run, device: torch.device, hear: Hear) -> Record:
    """The record of a trained run: what its protocol says of it."""
    evaluation, world = Evaluation(run, device), join()
    with full_precision():
        canaries = world.once(evaluation.canaries)
        work(evaluation, evaluators(run, device), hear)
        return world.once(lambda: _merged(evaluation, canaries))


def _merged(evaluation: Evaluation, canaries: dict[str, float]) -> Record:
    run, device = evaluation.run, evaluation.device
    result, seconds = evaluation.merged()
    pace.note(run.folder, pace.of_evaluation(run), device, 1, seconds=seconds)
    return record_of(
        run,
        device,
        state="done",
        scores=result.scores,
        outcomes=result.outcomes,
        canaries=canaries,
        parameters=sum(p.numel() for p in evaluation.subject.model.parameters()),
        cost=_cost(run, seconds, device),
        selection={**record.selections(run.config["selection"]), **evaluation.selected()},
    )


def _cost(run: Run, seconds: float, device: torch.device) -> Cost:
    stages = [
        StageCost(name=training.name, fingerprint=training.fingerprint, **read_json(training.folder / "done.json"))
        for training in run.trainings
    ]
    memory = max([peak_memory_mb(device), *(stage.peak_memory_mb for stage in stages)])
    training = sum(stage.seconds for stage in stages)
    return Cost(stages=stages, training_seconds=training, evaluation_seconds=round(seconds, 2), peak_memory_mb=memory)


def record_of(run: Run, device: torch.device, **found: Any) -> Record:  # noqa: ANN401 - fields of Record
    """The record of a run, with what was found of it; uncommitted changes of the code are written beside it."""
    config = run.config
    diff = uncommitted()
    if diff:
        write_text(run.folder / "uncommitted.diff", diff + "\n")
    return Record(
        fingerprint=run.fingerprint,
        series=run.series,
        method=config["method"]["name"],
        data=config["data"]["name"],
        model=config["model"]["name"],
        seed=config["seed"],
        overrides=config["overrides"],
        notes=config["notes"],
        study=config["study"],
        init=run.init or "",
        protocol=tag(config["protocol"]),
        origin=origin(config["command"], device),
        **{"selection": record.selections(run.config["selection"]), **found},
    )
