"""Where numbers come from: commit, packages, hardware."""

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
"""Where a copy of the code (launch/snapshot.py) tells what checkout it was taken of."""


def origin(command: str, device: "torch.device") -> Origin:
    """The present origin, for a record."""
    import torch

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
    """The code that computes here, in words: what it is, and the package that its numbers depend on most."""
    at = f" at {commit()[:7]}" if commit() else ""
    return f"harness {version('ebm-harness')}{at}, torch {version('torch')}"


def commit() -> str:
    """The commit of the checkout, or of the one that this code is a copy of; empty where there is none."""
    return _note("commit") if NOTED.exists() else _git("rev-parse", "HEAD")


def uncommitted_diff() -> str:
    """The diff of that checkout against its commit; empty where there is none, or no checkout."""
    return _note("diff") if NOTED.exists() else _git("diff", "HEAD")


def _note(what: str) -> str:
    return read_json(NOTED)[what]


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or an installed package: there is nothing to tell
        return ""
    return done.stdout.strip()


def version(package: str) -> str:
    """The version of an installed package; none where it is not installed."""
    try:
        return metadata.version(package)
    except PackageNotFoundError:
        return "none"


def hardware(device: "torch.device") -> str:
    """The name of the GPU, or of the CPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
