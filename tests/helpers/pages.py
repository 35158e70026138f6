"""Rows for pages, as they would come from folders of runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from harness.core.files import write_text
from harness.evaluation.score import Score, Selection
from harness.reports import html, methodpage, runpage
from harness.reports.figures import figures
from harness.reports.section import Section
from harness.runs.record import Cost, Origin, ProtocolTag, StageCost
from harness.runs.row import Row

ORIGIN = Origin(
    command="python -m harness",
    created="2026-01-02T03:04:05+00:00",
    commit="0123abcd",
    dirty=True,
    python="3.11",
    packages={"torch": "2.5"},
    hardware="a CPU",
    device="cpu",
    threads=1,
    precision="fp32",
)
STAGE = StageCost(
    name="joint",
    fingerprint="f",
    steps=1234,
    images=9876,
    seconds=90.0,
    images_per_second=109.7,
    peak_memory_mb=512,
    resumed=0,
)
COST = Cost(stages=[STAGE], training_seconds=90.0, evaluation_seconds=7200.0, peak_memory_mb=512)
CONFIG = """\
method: {name: atjem, joint: {bce: 0.25}}
model: {name: digits}
outliers: {name: fields}
data: {name: digits}
protocol: {id: quick-1, metrics: {}}
"""


def scores(robust: float, fd: float, **fields: Any) -> dict[str, Score]:
    """A robust accuracy with its interval, an FD, and a score of another table."""
    share: dict[str, Any] = {"unit": "%", "better": "higher"}
    bounds: dict[str, Any] = {"low": robust - 5, "high": robust + 5, **fields}
    return {
        "robust_accuracy/l2_0.5": Score(title="Robust accuracy", value=robust, n=360, **share, **bounds),
        "fd_digits": Score(title="FD", value=fd, n=1000, better="lower"),
        "ood/noise": Score(title="AUROC", value=77.5, n=200, table="OOD detection", **share),
    }


def row(folder: Path, method: str = "atjem", seed: int = 0, texts: dict[str, str] | None = None, **fields: Any) -> Row:
    """A finished run, with a grid of samples and these texts in its folder, or the files that a run usually leaves."""
    name = f"{method}-digits-s{seed}-{fields.get('series', 'f')}"
    (place := folder / name).mkdir(parents=True)
    imsave(place / "samples.png", np.indices((40, 40)).sum(0) % (seed + 9), cmap="gray")
    for file, text in (texts or left()).items():
        write_text(place / file, text)
    facts: dict[str, Any] = {
        "data": "digits",
        "model": "digits",
        "series": method,
        "state": "done",
        "parameters": 75434,
        "code": "c0de",
        "protocol": ProtocolTag(id="digits-2", hash="0123"),
        "scores": scores(80 + seed, 2.0),
        "canaries": {"accuracy, untrained": 4.25},
        "cost": COST,
        "origin": ORIGIN,
    }
    found = {path.name: path for path in place.iterdir()}
    return Row(name=name, fingerprint=name, method=method, seed=seed, find=found.get, **{**facts, **fields})


NASTY = "method.x=<script>alert(1)</script>"
QUICK = ProtocolTag(id="quick-1", hash="45", label="for trying out")
TUNED = {"learning rate": Selection(by="accuracy", split=["test"])}


def board(place: Path, reload: int = 0) -> Path:
    """The folder of the pages of ten ranked series, one unranked series, and one under another protocol."""
    doubt = {"warnings": ["few restarts"]}
    runs = [
        *(row(place, "atjem", seed) for seed in range(2)),
        row(place, "at", scores=scores(9.5, 30.0)),
        row(place, "jem", scores=scores(70, 0.5, **doubt)),
        row(place, "generative", scores={"fd_digits": scores(0, 10.0)["fd_digits"]}, overrides=NASTY),
        row(place, "ratio", scores=scores(99, 0.1), selection=TUNED),
        *(row(place, f"m{number}", scores=scores(20 + number, 40.0 + number)) for number in range(6)),
    ]
    quick = [row(place, "trades", protocol=QUICK)]
    sections, folder = [Section(runs), Section(quick)], place / "reports"
    with runpage.pages(folder / "runs", runs + quick):
        drawn = {section.name: list(figures(section, folder)) for section in sections}
        parts = html.make_parts(folder, sections, [], drawn)
    html.write(folder, parts, [], reload)
    methodpage.write(folder, runs, sections)
    return folder


def left() -> dict[str, str]:
    """The texts that a run leaves, by file name."""
    lines = [{"images": 128 * step, "joint/ce": 2 / step, "joint/T": step // 2} for step in range(1, 400)]
    curves = "".join(f"{json.dumps(line)}\n" for line in lines)
    return {"config.yaml": CONFIG, "metrics.jsonl": curves}
