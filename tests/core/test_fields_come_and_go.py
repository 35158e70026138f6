"""Adding or removing a field does not change the names of existing configs, and old configs can still be built."""

from typing import Any, ClassVar

import pytest

from harness.core.errors import UserError
from harness.core.registry import make
from harness.core.settings import canonical, later, settings, without_removed


@settings
class Walk:
    steps: int
    precision: str = later(default="fp32")


@settings
class Stage:
    removed: ClassVar[dict[str, Any]] = {"conditional": False}

    walk: Walk | None
    walks: dict[str, Walk]
    rate: float = 0.1


OLD = {"walk": {"steps": 3}, "walks": {"a": {"steps": 4}}, "rate": 0.1, "conditional": False}
TODAY = {"walk": {"steps": 3, "precision": "fp32"}, "walks": {"a": {"steps": 4, "precision": "fp32"}}, "rate": 0.1}


def test_a_later_field_at_its_default_and_a_removed_one_leave_the_name() -> None:
    assert canonical(TODAY, Stage) == canonical(OLD, Stage) == OLD


def test_a_later_field_with_another_value_names_another() -> None:
    other = {**TODAY, "walk": {"steps": 3, "precision": "bf16"}}
    assert canonical(other, Stage)["walk"] == {"steps": 3, "precision": "bf16"}


def test_an_old_config_is_built() -> None:
    assert make(Stage, "", OLD) == make(Stage, "", TODAY)
    assert without_removed(OLD, Stage) == {key: value for key, value in OLD.items() if key != "conditional"}


def test_a_removed_field_with_another_value_is_refused() -> None:
    with pytest.raises(UserError, match="conditional"):
        make(Stage, "", {**OLD, "conditional": True})


def test_what_no_class_describes_is_left_as_it_is() -> None:
    assert canonical({"precision": "fp32"}, None) == {"precision": "fp32"}
    assert canonical(None, Stage) is None and canonical([1, 2], Stage) == [1, 2]
