"""Hydra composes each run of a command line once, and a sweep's own config besides: a plan waits for little else."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from harness.runs.compose import compose


@pytest.mark.parametrize(
    ("arguments", "runs", "times"),
    [(["method=at"], 1, 1), (["-m", "method=at,jem", "seed=0,1"], 4, 5), (["-m", "method=at"], 1, 2)],
)
def test_as_often_as_there_are_runs(arguments, runs, times, monkeypatch):
    load, loaded = ConfigLoaderImpl._load_configuration_impl, []

    def counted(self, *given, **named):
        loaded.append(named)
        return load(self, *given, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    assert len(compose(arguments)) == runs
    assert len(loaded) == times
