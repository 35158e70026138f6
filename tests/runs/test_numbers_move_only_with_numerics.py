"""The engine's numbers are those that were committed, unless NUMERICS was raised: a refactor moves none in silence."""

import json

import numbers_of_engine as engine
import pytest
from commandline import STAGES

from harness.runs.run import NUMERICS

WRITTEN = json.loads(engine.FILE.read_text())
WHAT = (
    "numbers moved. If the engine is meant to move them, raise NUMERICS; if one method changed, its digest says "
    "so. In both cases write them anew: python tests/helpers/numbers_of_engine.py"
)


def close(found, prefix):
    expected = {key: values for key, values in WRITTEN["numbers"].items() if key.startswith(prefix)}
    assert found.keys() == expected.keys()
    for key, values in found.items():
        assert values == pytest.approx(expected[key], rel=1e-2, abs=1e-3), f"{key}: {WHAT}"


def test_the_numbers_were_written_for_these_numerics():
    assert WRITTEN["numerics"] == NUMERICS, "write them anew: python tests/helpers/numbers_of_engine.py"


@pytest.mark.parametrize("method", STAGES)
def test_three_steps_of_each_stage_and_samples(method):
    close({f"{method}/{key}": values for key, values in engine.of_method(method).items()}, f"{method}/")


def test_each_metric():
    close(engine.of_metrics(), "metrics/")


def test_a_changed_engine_is_noticed(monkeypatch):
    """A walk whose steps are 5 % longer moves the numbers of every method that walks."""
    from harness.core import walk

    shape = walk._direction
    monkeypatch.setattr(walk, "_direction", lambda *arguments: 1.05 * shape(*arguments))
    with pytest.raises(AssertionError, match="raise NUMERICS"):
        close({f"at/{key}": values for key, values in engine.of_method("at").items()}, "at/")
