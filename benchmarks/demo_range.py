"""Say whether the demo's scores lie in the documented range: python benchmarks/demo_range.py [RUNS].

The range is that of docs/digits/cpus.md, over seeds and CPUs. The last line of `make demo`.
"""

import sys
from pathlib import Path

import pandas as pd

from harness.runs.row import row_of
from harness.runs.run import folders

RANGE = Path(__file__).parents[1] / "docs" / "digits" / "demo-range.csv"


def verdict(root: Path) -> str:
    """Return one line: all scores of the demo's runs lie in the range, or those that do not."""
    limits = {(line["method"], line["score"]): line for line in pd.read_csv(RANGE).to_dict("records")}
    outside, inside = list[str](), 0
    for folder in folders(root):
        row = row_of(folder)
        for key, score in row.scores.items():
            limit = limits.get((row.method, key))
            if limit is None or row.overrides:
                continue
            if limit["low"] <= score.value <= limit["high"]:
                inside += 1
            else:
                span = f"{limit['low']:.4g} to {limit['high']:.4g}"
                outside.append(f"{row.method}'s {score.title} is {score.value:.4g}, not in {span}")
    if outside:
        scores = f"{len(outside)} of {inside + len(outside)} scores"
        return f"{scores} are outside of the documented range: {'; '.join(outside)}."
    return f"All {inside} scores lie in the documented range (docs/digits/cpus.md)."


if __name__ == "__main__":
    print(verdict(Path(sys.argv[1] if len(sys.argv) > 1 else "runs")))
