"""All runs as one table for other programs: one line per run, one column per fact."""

import re
from collections.abc import Sequence

import pandas as pd

from harness.core.text import visible
from harness.reports.series import tuned_on_test
from harness.runs.row import Row

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r]")
"""How a text begins that spreadsheets would compute."""


def tidy(found: Sequence[Row]) -> pd.DataFrame:
    """Return a line for each run; a score is its value, and its bounds as …/low and …/high if it has them.

    A text that a spreadsheet would compute begins with an apostrophe, which spreadsheets hide.
    """
    lines = [_facts(row) | _scores(row) for row in found]
    facts = list(dict.fromkeys(key for row in found for key in _facts(row)))
    columns = dict.fromkeys([*facts, *(key for line in lines for key in line)])
    frame = pd.DataFrame(lines, columns=pd.Index(columns))
    return frame.map(_text).set_axis([_text(column) for column in columns], axis="columns")


def _facts(row: Row) -> dict[str, object]:
    cost, origin = row.cost, row.origin
    # The columns keep this order in the file; the scores follow.
    return {
        **{key: getattr(row, key) for key in ("name", "fingerprint", "series", "method", "overrides", "model", "data")},
        "protocol": row.protocol.id,
        "protocol_hash": row.protocol.hash,
        "protocol_label": row.protocol.label,
        **{key: getattr(row, key) for key in ("seed", "state", "reason", "parameters")},
        "tuned_on_test": tuned_on_test([row]),
        "doubts": "; ".join(row.doubts),
        "code": row.code,
        "imported": row.imported,
        "verified": row.verified,
        "training_seconds": cost and cost.training_seconds,
        "evaluation_seconds": cost and cost.evaluation_seconds,
        "peak_memory_mb": cost and cost.peak_memory_mb,
        "training_kwh": cost and cost.training_kwh,
        "hardware": origin and origin.hardware,
        "commit": origin and origin.commit,
        **{f"study/{factor}": value for factor, value in sorted(row.study.items())},
    }


def _scores(row: Row) -> dict[str, float]:
    columns: dict[str, float] = {}
    for key, score in row.scores.items():
        bounds = {key: score.value, f"{key}/low": score.low, f"{key}/high": score.high}
        columns |= {name: value for name, value in bounds.items() if value is not None}
    return columns


def _text(value: object) -> object:
    """A value that no spreadsheet computes; numbers as they are."""
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if FORMULA.match(value) else value)
