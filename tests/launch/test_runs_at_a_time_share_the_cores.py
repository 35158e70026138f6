"""Runs that execute at the same time on one machine share its cores equally, unless the config says otherwise."""

import os

import pytest
import torch

from harness.runs.build import prepare
from harness.runs.compose import compose

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def threads(monkeypatch):
    """A function that prepares a config twice and returns the numbers of threads that were set."""
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)

    def threads(*overrides):
        (config,) = compose(["device=cpu", "threads=null", *overrides])
        prepare(config)
        prepare(config)
        return taken

    return threads


@pytest.mark.parametrize("parallel", [1, 2, CORES, 10 * CORES])
def test_each_has_its_share(threads, parallel):
    assert threads("launcher=processes", f"launcher.parallel={parallel}") == [max(1, CORES // parallel)] * 2


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_one_run_alone_has_what_torch_takes(threads, launcher):
    assert threads(f"launcher={launcher}") == []


def test_what_the_config_says_holds(threads):
    assert threads("launcher=processes", "threads=7") == [7, 7]
