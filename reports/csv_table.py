"""All runs as one table for other programs: one line per run, one column per fact."""

import re
from collections.abc import Sequence

import pandas as pd

from harness.core.text import visible
from harness.reports.columns import images_seen
from harness.reports.series import tuned_on_test
from harness.runs.row import Row
from harness.runs.spent import TARGETS

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r]")
"""How a text begins that spreadsheets would compute."""


def tidy(found: Sequence[Row]) -> pd.DataFrame:
    """Return a line for each run: plain texts and numbers; a score is its value, its bounds are …/low and …/high."""
    lines = [_facts(row) | _scores(row) for row in found]
    facts = list(dict.fromkeys(key for row in found for key in _facts(row)))
    columns = dict.fromkeys([*facts, *(key for line in lines for key in line)])
    return pd.DataFrame(lines, columns=pd.Index(columns))


def for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which a text that a spreadsheet would compute begins with an apostrophe, which they hide."""
    return frame.map(_text).set_axis([_text(column) for column in frame.columns], axis="columns")


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
        "cpu_kwh": cost and cost.cpu_kwh,
        "training_flop": row.spent.flop,
        "images_seen": images_seen(row),
        **_times(row),
        "hardware": origin and origin.hardware,
        "commit": origin and origin.commit,
        **{f"study/{factor}": value for factor, value in sorted(row.study.items())},
    }


def _times(row: Row) -> dict[str, float]:
    """Steps and hours to each target accuracy that the run reached."""
    reached = {target: found for target in TARGETS if (found := row.spent.until(target))}
    steps = {f"steps_to/{target}": found.steps for target, found in reached.items()}
    return steps | {f"hours_to/{target}": found.seconds / 3600 for target, found in reached.items()}


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
