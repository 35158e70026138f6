"""Sections of benchmarks/gpu.py, and the measurements of `bench` that they use, run on a GPU."""

import importlib
import sys
from pathlib import Path

import pytest
from pretended_gpu import GPU, PretendedGPU

import harness

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECTIONS = {
    "agreement": (),
    "speed": ("wrn-34-10 tf32",),
    "levers": (),
    "attacks": (),
    "features": (),
}
"""Those whose device can be pretended, with the arguments of a case."""


@pytest.fixture
def sections(monkeypatch):
    monkeypatch.setattr(harness, "__path__", [*harness.__path__])  # the script extends it
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("gpu_sections")
    for name in ("gpu_sections", "training_step"):
        del sys.modules[name]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_runs(name, sections):
    figures = {}
    with PretendedGPU():
        getattr(sections, name)(sections.How(GPU, True, figures.__setitem__), *SECTIONS[name])
    assert figures
    if name == "agreement":
        assert figures["digits fp32"]["equal bytes of samples"] == 1
