"""The results of an evaluation: scores, and what was selected on which split."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

HUGE = 1e100
"""Bound of every number in a record: far beyond any score, and the squares of thousands of them have a finite sum."""

ANCHOR = "Anchor: "
"""How the name of a table begins whose scores are not of the run: a row of them stands below its main table."""

CLASSWISE = "classwise/"
"""How the keys begin of scores that need samples of a given class: a row that lacks only these may be the best."""

Number = Annotated[float, Field(ge=-HUGE, le=HUGE, allow_inf_nan=False)]
"""A finite number that can be averaged."""

Count = Annotated[int, Field(ge=0, le=10**15)]
"""A number of items, bytes or steps."""


class Score(BaseModel, frozen=True, extra="forbid"):
    """One number of a run, with everything that a table needs to show it.

    value, low, high are in `unit`; low and high bound a 95 % interval, if there is one. n: the number of items counted.
    table: the table that shows it as a detail; empty for the main one. warnings: reasons for doubt; each adds a dagger.
    """

    title: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    n: Count
    unit: Literal["%", ""] = ""
    better: Literal["higher", "lower"]
    table: str = ""
    warnings: list[str] = []


class Selection(BaseModel, frozen=True, extra="forbid"):
    """A choice, by which criterion and on which splits; no splits if it was not tuned.

    A run that was tuned on the test split is shown but not ranked.
    """

    by: str
    split: list[Literal["train", "validation", "test"]]


def selections(content: dict[str, Any]) -> dict[str, Selection]:
    """The selections of a record; in schema 1 each was a text that named the splits. ValueError if they are neither."""
    typed = {what: _parse_selection(how) if isinstance(how, str) else how for what, how in content.items()}
    return {what: Selection.model_validate(how) for what, how in typed.items()}


def _parse_selection(text: str) -> dict[str, object]:
    return {"by": text, "split": list(dict.fromkeys(re.findall(r"\b(?:train|validation|test)\b", text)))}


def group_warnings(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Each warning once, with the distinct titles of the scores that it concerns; from pairs of title and warning."""
    titles: dict[str, dict[str, None]] = {}
    for title, warning in pairs:
        titles.setdefault(warning, {})[title] = None
    return {warning: list(names) for warning, names in titles.items()}
