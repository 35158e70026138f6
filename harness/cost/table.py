"""Timings as tables for people and as JSON for programs."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.table import Table

from harness.core.files import write_json
from harness.core.text import counted
from harness.cost.disk import size
from harness.cost.rounds import DEFAULTS, FLOOR, OURS, REFERENCE, Timing
from harness.runs.run import Run

ORDER = (
    "data",
    "contrastive PGD",
    "SGLD",
    "attack",
    "forward and backward",
    "figures",
    "optimiser and average",
    "logging",
    "checkpoint",
)
"""The sections of a step, in the order in which they are shown."""


def variants(cost: Timing) -> Table:
    """Table of our step and of the other variants: time, ratio to ours, and peak memory."""
    title = f"{cost.what}, {cost.device}, {counted(cost.batch, 'image')}"
    table = Table("step", "images/s", "ms", "times ours", "memory", title=title)
    for name, seconds in cost.seconds.items():
        typical = median(seconds)
        ratio = cost.ratio(name)
        times = "1" if name == OURS or ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)
        memory = size(cost.memory[name]) if cost.memory else "–"
        table.add_row(name, f"{cost.batch / typical:,.4g}", f"{1e3 * typical:,.4g}", times, memory)
    return table


def sections(cost: Timing) -> Table:
    """Table of the time of our step, by section."""
    table = Table("section", "ms", "share")
    total = sum(cost.sections.values())
    for name in sorted(cost.sections, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
        seconds = cost.sections[name]
        table.add_row(name, f"{1e3 * seconds:,.4g}", f"{100 * seconds / total:.1f} %")
    return table


def notes(cost: Timing) -> list[str]:
    """Return the remarks that a reader of the numbers needs."""
    lines = ["Times are medians over rounds, in which the variants take turns. Brackets: lowest and highest ratio."]
    if cost.first:
        lines.append(f"The first step of {cost.what} took {cost.first:,.3g} s: it loads what it needs, and compiles.")
    if REFERENCE not in cost.seconds:
        lines.append("There is no reference for this stage; the floor is the bare passes of the net.")
    if DEFAULTS in cost.seconds:
        lines.append("The reference uses fp32; with torch's defaults its convolutions use TF32, like precision=tf32.")
    if cost.standin:
        lines.append("The data's files are missing, so random images replace them: ignore the time for fetching data.")
    return lines


def keep(run: Run, costs: Sequence[Timing], folder: Path) -> Path:
    """Write the timings of a run as JSON; return the path of the file."""
    what = [run.config.method["name"], run.config.data["name"], run.config.model["name"], costs[0].what]
    path = folder / "bench" / (re.sub(r"\W+", "_", "-".join([*what, costs[0].device])) + ".json")
    write_json(
        path, [asdict(cost) | {"ratios": {to: cost.ratio(to) for to in (REFERENCE, DEFAULTS, FLOOR)}} for cost in costs]
    )
    return path
