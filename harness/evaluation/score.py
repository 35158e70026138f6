"""What an evaluation gives: scores, and what was selected on which split."""

import re
from typing import Any, Literal

from pydantic import BaseModel, FiniteFloat


class Score(BaseModel, frozen=True, extra="forbid"):
    """One number of a run; it says itself how a table should show it.

    value, low, high are in `unit`; low and high bound a 95 % interval where there is one. n: what it counts over.
    table: the table of its details; empty for the main one. warnings: what makes it doubtful; each becomes a dagger.
    """

    title: str
    value: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: int
    unit: Literal["%", ""] = ""
    better: Literal["higher", "lower"]
    table: str = ""
    warnings: list[str] = []


class Selection(BaseModel, frozen=True, extra="forbid"):
    """By looking at what something was chosen, and on which splits; none where it was not tuned.

    A run that was tuned on the test split is shown, but not ranked.
    """

    by: str
    split: list[Literal["train", "validation", "test"]]


def selections(content: dict[str, Any]) -> dict[str, Selection]:
    """What was chosen, as records have it; those of schema 1 had a text for each choice, which named the splits."""
    typed = {what: _parse_selection(how) if isinstance(how, str) else how for what, how in content.items()}
    return {what: Selection.model_validate(how) for what, how in typed.items()}


def _parse_selection(text: str) -> dict[str, object]:
    return {"by": text, "split": list(dict.fromkeys(re.findall(r"\b(?:train|validation|test)\b", text)))}
