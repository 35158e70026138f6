"""`workers` is the number of a process's loader processes in all, shared by the streams of its stage."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.core import loader
from harness.runs.build import stage_inputs
from harness.training.batches import _workers_by_stream, batches

STREAMS = ("labelled", "real", "outliers")


@given(st.integers(0, 40), st.integers(1, 3))
def test_all_are_used_and_shared_equally(workers, streams):
    shares = _workers_by_stream(SimpleNamespace(streams=STREAMS[:streams]), workers)
    assert tuple(shares) == STREAMS[:streams]
    assert max(shares.values()) - min(shares.values()) <= 1
    assert sum(shares.values()) == (workers and max(workers, streams)), "each stream loads beside the training"


@pytest.mark.parametrize("workers", [0, 2, 5])
def test_a_stage_starts_no_more_processes_than_that(monkeypatch, workers):
    (run,) = harness.plan("method=atjem", "tracking=off", f"workers={workers}")
    joint, given = run.method.stages["joint"], []
    assert joint.streams == STREAMS

    def load(view, length, batch, seed, start, stop, workers, *more):
        given.append(workers)
        return iter([(torch.zeros(1), torch.zeros(1))])

    monkeypatch.setattr(loader, "batches", load)
    next(batches(joint, stage_inputs(run, "joint", joint, torch.device("cpu")), 0, 1, set()))
    assert given == {0: [0, 0, 0], 2: [1, 1, 1], 5: [2, 2, 1]}[workers]


def test_the_number_moves_no_name_and_no_number():
    """Neither the run's nor its stages'; that batches are the same, test_batches_are_functions_of_the_step shows."""
    runs = [harness.plan("method=atjem", "tracking=off", f"workers={workers}")[0] for workers in (0, 7)]
    assert runs[0].name == runs[1].name
    assert [stage.fingerprint for stage in runs[0].stage_runs] == [stage.fingerprint for stage in runs[1].stage_runs]
