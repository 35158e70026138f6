"""SLURM's commands as scripts that print what a test wants and record how they were called."""

import json
from pathlib import Path


def install(tools: Path, squeue: str = "", sacct: str = "", scancel: str = "", fails: bool = False) -> None:
    """Write squeue, sacct and scancel to a folder on the PATH; each prints the lines of its argument."""
    tools.mkdir(exist_ok=True)
    for name, output in (("squeue", squeue), ("sacct", sacct), ("scancel", scancel)):
        lines = "".join(f"echo '{line}'\n" for line in output.splitlines())
        script = f'#!/bin/sh\necho {name} "$@" >> {tools}/asked\n{lines}exit {int(fails)}\n'
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)


def asked(tools: Path) -> list[list[str]]:
    """The calls of the commands so far, split into words."""
    path = tools / "asked"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def submitted(work: Path, name: str = "harness-0000beef", task: int = 3) -> None:
    """Write the note to a folder that its work was submitted."""
    note = {"launcher": "slurm", "name": name, "task": task, "folder": "jobs/0000beef"}
    (work / "job.json").write_text(json.dumps(note))
