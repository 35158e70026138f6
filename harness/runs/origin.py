"""The origin of a run's numbers: commit, packages, hardware."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.files import read_json
from harness.runs.record import Origin

PACKAGES = ("torch", "torchvision", "timm", "torch-fidelity", "pyautoattack", "numpy", "scikit-learn", "ebm-harness")

if TYPE_CHECKING:  # so that --version needs no torch
    import torch

NOTE = "origin.json"
NOTED = Path(__file__).parents[2] / NOTE
"""File in a copy of the code (launch/snapshot.py) with the commit and diff of the checkout that was copied."""


def origin(command: str, device: "torch.device") -> Origin:
    """The origin of numbers computed by this process, for a record."""
    import torch

    # Samples and scores always use fp32, whatever precision training had.
    return Origin(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit() or "unknown",
        dirty=bool(uncommitted_diff()),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        hardware=hardware(device),
        device=str(device),
        threads=torch.get_num_threads(),
        precision="fp32",
    )


def code_version() -> str:
    """Describe the running code: harness version, commit and torch version."""
    at = f" at {commit()[:7]}" if commit() else ""
    return f"harness {version('ebm-harness')}{at}, torch {version('torch')}"


def commit() -> str:
    """Commit of the checkout, or of the checkout that this code was copied from; empty if there is none."""
    return _note("commit") if NOTED.exists() else _git("rev-parse", "HEAD")


def uncommitted_diff() -> str:
    """Diff of that checkout against its commit; empty if there are no changes or there is no checkout."""
    return _note("diff") if NOTED.exists() else _git("diff", "HEAD")


def _note(what: str) -> str:
    return read_json(NOTED)[what]


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    try:
        process = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or an installed package
        return ""
    return process.stdout.strip()


def version(package: str) -> str:
    """The version of an installed package; "none" if it is not installed."""
    try:
        return metadata.version(package)
    except PackageNotFoundError:
        return "none"


def hardware(device: "torch.device") -> str:
    """The model name of the GPU or the CPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
