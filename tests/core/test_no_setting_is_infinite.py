"""No number of a config is infinite or NaN, in whatever class it ends, and however deep it stands."""

from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from math import inf, nan
from typing import Any, get_type_hints

import pytest

from harness.core.errors import UserError
from harness.core.registry import find, make, names
from harness.core.settings import settings
from harness.evaluation.evaluator import metrics
from harness.runs.compose import compose
from harness.runs.config import config_of
from harness.runs.run import Run


@settings
class Inner:
    """A part as somebody may write it."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Plain:
    """A dataclass without the decorator."""

    value: float | None


@settings
class Mine:
    """Somebody's class, with parts of both kinds."""

    rate: float
    inner: Inner
    plain: Plain
    by_name: dict[str, float]


SOUND: dict[str, Any] = {"rate": 1, "inner": {"values": [1, 2]}, "plain": {"value": 1}, "by_name": {"a": 1}}


@pytest.mark.parametrize("value", [inf, -inf, nan, "inf", "nan"])
@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda value: {"rate": value}, "mine.rate"),
        (lambda value: {"inner": {"values": [1, value]}}, "mine.inner.values.1"),
        (lambda value: {"plain": {"value": value}}, "mine.plain.value"),
        (lambda value: {"by_name": {"b": value}}, "mine.by_name.b"),
    ],
)
def test_the_class_of_anybody_refuses_it(change, where, value):
    assert make(Mine, "mine", SOUND)
    with pytest.raises(UserError, match=rf"^{where}: .*finite"):
        make(Mine, "mine", SOUND | change(value))


def floats(cls: type, way: tuple[str, ...] = ()):
    """The ways to the floats among the fields of a class and of the classes of its fields."""
    for name, kind in get_type_hints(cls).items():
        if is_dataclass(kind):
            yield from floats(kind, (*way, name))
        elif kind in (float, float | None) and name in {part.name for part in fields(cls)}:
            yield (*way, name)


@pytest.mark.parametrize("method", names("method"))
def test_every_number_of_every_method_is_finite(method):
    (config,) = compose([f"method={method}"])
    ways = list(floats(find("method", method)))
    assert ways
    for way in ways:
        content = config.mapping()
        part = content["method"] = deepcopy(content["method"])
        for key in way[:-1]:
            part = part[key]
        part[way[-1]] = inf
        with pytest.raises(UserError, match=".".join(("method", *way))):
            config_of(content)
        with pytest.raises(UserError, match=".".join(("method", *way))):  # and without the config, in the type itself
            _ = Run(replace(config, method=content["method"])).method


def test_metrics_refuse_it_too():
    (config,) = compose(["method=at"])
    protocol = deepcopy(config.protocol)
    protocol["metrics"]["robustness"]["eps"] = inf
    with pytest.raises(UserError, match=r"protocol.metrics.robustness.eps: .*finite"):
        metrics(protocol)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**5000], ids=["above", "below", "5,001 digits"])
def test_whole_numbers_have_64_bits(value):
    (config,) = compose(["method=at"])
    with pytest.raises(UserError, match=r"outliers.seed: a 64-bit number"):
        config_of(config.mapping() | {"outliers": config.outliers | {"seed": value}})
