"""How far CPUs differ on the demo's scores: python benchmarks/cpu_scatter.py LABEL=RUNS [LABEL=RUNS …].

Each RUNS is a folder of runs of the demo's methods on digits, made on another CPU or with other vector instructions:

    python -m harness -m method=atjem,jem,at,generative seed=0,1,2 launcher=processes runs=RUNS
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m harness -m …
    python -m harness -m … threads=2 launcher.parallel=1

Writes docs/digits/cpus.md, and docs/digits/demo-range.csv, against which the demo holds its scores. With the word
`check` before the folders, it leaves the range as it is, and writes docs/digits/cpus-checked.md: whether these runs,
which the range was not made of, lie in it.
"""

import sys
from collections import defaultdict
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
import scipy.stats

from harness.runs.row import Row, row_of
from harness.runs.run import folders

METHODS = ("atjem", "at", "generative", "jem")
PLACE = Path(__file__).parents[1] / "docs" / "digits"
LEVEL = 0.99
"""The share of new runs that should fall into the demo's range."""

LEAST = 0.005
"""The least reach of a range, as a share of the mean: scores such as an AUROC of 100 % hardly scatter."""

Values = dict[str, dict[int, float]]
"""A score by the label of its folder and by seed."""


def rows(root: Path) -> list[Row]:
    """Return the finished runs of the demo's methods, at their recipes."""
    found = [row_of(folder) for folder in folders(root) if (folder / "record.json").exists()]
    return [row for row in found if row.method in METHODS and row.state == "done" and not row.overrides]


def bounds(values: list[float]) -> tuple[float, float]:
    """Return a prediction interval for one further value, by Student's t, of at least LEAST to either side."""
    n, mean = len(values), fmean(values)
    reach = scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1) * stdev(values) * sqrt(1 + 1 / n)
    reach = max(float(reach), LEAST * abs(mean))
    return mean - reach, mean + reach


def between(values: Values) -> float:
    """Return the standard deviation over folders at the same seed, pooled over the seeds that several folders have."""
    squares, freedom = 0.0, 0
    for seed in {seed for of_seed in values.values() for seed in of_seed}:
        alike = [of_seed[seed] for of_seed in values.values() if seed in of_seed]
        squares += sum((value - fmean(alike)) ** 2 for value in alike)
        freedom += len(alike) - 1
    return sqrt(squares / freedom) if freedom else float("nan")


def read(words: list[str]) -> tuple[dict[tuple[str, str], Values], dict[str, str], dict[str, str]]:
    """Return the scores of all folders by method and key, the titles of keys, and a line about each folder."""
    scores: dict[tuple[str, str], Values] = defaultdict(lambda: defaultdict(dict))
    titles: dict[str, str] = {}
    about: dict[str, str] = {}
    for word in words:
        label, _, root = word.partition("=")
        for row in rows(Path(root)):
            assert row.origin is not None
            about[label] = f"{row.origin.hardware}, {row.origin.capability}, threads {row.origin.threads}"
            for key, score in row.scores.items():
                if not score.table:
                    titles[key] = f"{score.title} {score.unit}".strip()
                    scores[row.method, key][label][row.seed] = score.value
    return dict(sorted(scores.items(), key=lambda item: METHODS.index(item[0][0]))), titles, about


def check(words: list[str]) -> None:
    """Write the page on runs that the range was not made of; a score outside of it is bold."""
    scores, titles, about = read(words)
    limits = {
        (line["method"], line["score"]): line for line in pd.read_csv(PLACE / "demo-range.csv").to_dict("records")
    }
    table, count, outside = [], 0, 0
    for (method, key), values in scores.items():
        low, high = limits[method, key]["low"], limits[method, key]["high"]
        cells = {"method": method, "score": titles[key], "range": f"{low:.4g} to {high:.4g}"}
        for label in about:
            found = values.get(label, {})
            out = {seed for seed, value in found.items() if not low <= value <= high}
            count, outside = count + len(found), outside + len(out)
            cells[label] = ", ".join(f"{'**' * (s in out)}{v:.4g}{'**' * (s in out)}" for s, v in sorted(found.items()))
        table.append(cells)
    (PLACE / "cpus-checked.md").write_text(
        CHECKED.format(
            lines="\n".join(f"- {label}: {text}" for label, text in about.items()),
            count=count,
            outside=outside,
            table=pd.DataFrame(table).to_markdown(index=False, disable_numparse=True),
        ),
        encoding="utf-8",
    )


def main(words: list[str]) -> None:
    """Read the folders, and write the page and the range."""
    scores, titles, about = read(words)
    table, limits = [], []
    for (method, key), values in scores.items():
        cells = {"method": method, "score": titles[key]}
        for label in about:
            of_seed = list(values.get(label, {}).values())
            spread = f" ± {stdev(of_seed):.2g}" if len(of_seed) > 1 else ""
            cells[label] = f"{fmean(of_seed):.4g}{spread}" if of_seed else "–"
        every = [value for of_seed in values.values() for value in of_seed.values()]
        low, high = bounds(every)
        cells |= {"sd over CPUs": f"{between(values):.2g}", "range of a new run": f"{low:.4g} to {high:.4g}"}
        table.append(cells)
        limits.append({"method": method, "score": key, "low": low, "high": high, "n": len(every)})
    pd.DataFrame(limits).to_csv(PLACE / "demo-range.csv", index=False, float_format="%.6g", lineterminator="\n")
    lines = "\n".join(f"- {label}: {text}" for label, text in about.items())
    text = PAGE.format(lines=lines, table=pd.DataFrame(table).to_markdown(index=False, disable_numparse=True))
    (PLACE / "cpus.md").write_text(text, encoding="utf-8")


PAGE = """\
# How far CPUs differ on digits

Made by `python benchmarks/cpu_scatter.py`, which says by what commands. A CPU adds numbers in the order that its vector
instructions and threads suggest. Training magnifies the difference, so that another CPU gives another run of the same
recipe, as another seed does.

{lines}

Cells are means over seeds ± their sd. "sd over CPUs" is at the same seed, pooled over seeds. "Range of a new run" is
the 99 % prediction interval (Student's t) from all runs of the line, at least 0.5 % of the mean to either side: where
one more seed on one more CPU should fall. The demo holds its scores against it.

{table}
"""

CHECKED = """\
# Another machine against the range

Made by `python benchmarks/cpu_scatter.py check`, of runs on a machine that [the range](cpus.md) was not made on.

{lines}

Of {count} scores, {outside} lie outside of the 99 % prediction interval of a new run. A cell has a value for each seed.

{table}
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2:])
    else:
        main(sys.argv[1:])
