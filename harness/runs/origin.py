"""The origin of a run's numbers: commit, packages, hardware."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from difflib import unified_diff
from functools import cache
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import read_json
from harness.core.providers import ROOMS, folder_code, installed
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
        commit=commit() or f"version {version('ebm-harness')}",
        dirty=bool(uncommitted_diff()),
        python=platform.python_version(),
        packages={name: version(name) for name in (*PACKAGES, *_providers())},
        hardware=hardware(device),
        device=str(device),
        threads=torch.get_num_threads(),
        capability=_capability(),
        precision="fp32",
    )


def _providers() -> list[str]:
    """The names of the installed packages that provide parts."""
    return [provider.distribution.metadata["Name"] for provider in installed() if provider.distribution]


def code_version() -> str:
    """Describe the running code: harness version, commit and torch version."""
    at = f" at {commit()[:7]}" if commit() else ""
    return f"harness {version('ebm-harness')}{at}, torch {version('torch')}"


def commit() -> str:
    """Commit of the checkout, or of the checkout that this code was copied from; empty if there is none."""
    return _note()["commit"] if NOTED.exists() else _git("rev-parse", "HEAD")


def uncommitted_diff() -> str:
    """Diff of that checkout against its commit, with the files that are not tracked and that this process imported.

    Empty if there are no changes or there is no checkout.
    """
    diffs = _note().get("untracked", {}) if NOTED.exists() else untracked()
    return "\n".join(filter(None, [tracked_diff(), *(diff for name, diff in diffs.items() if name in sys.modules)]))


def tracked_diff() -> str:
    """Diff of the files that git tracks."""
    return _note()["diff"] if NOTED.exists() else _git("diff", "HEAD")


def untracked() -> dict[str, str]:
    """The Python files that git does not track, of the checkout and of --config-dir, as diffs by their modules."""
    files: dict[str, tuple[str, Path]] = {}
    for name in _untracked_names():
        inside = Path(name).with_suffix("").parts
        module = ".".join(inside if inside[0] == "harness" else ("harness", *inside))
        files[module] = name, NOTED.parent / name
    for (kind, name), path in folder_code().items():
        files[f"{ROOMS[kind]}.{name}"] = f"{kind}/{path.name}", path
    return {module: _added(name, path) for module, (name, path) in files.items()}


def _added(name: str, path: Path) -> str:
    """A file as a diff that adds it."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return "".join(unified_diff([], lines, "/dev/null", f"b/{name}"))


def edited_files() -> dict[str, str]:
    """The checkout's Python files that differ from its commit, with their text there; empty if they are new."""
    if NOTED.exists():
        return _note().get("edited", {})
    names = [*_git("diff", "--name-only", "HEAD", "--", "*.py").splitlines(), *_untracked_names()]
    return {name: _git("show", f"HEAD:{name}") for name in names}


def _untracked_names() -> list[str]:
    folders = ("harness", "methods", "datasets", "reports")
    names = _git("ls-files", "--others", "--exclude-standard", "--", *folders).splitlines()
    return [name for name in names if name.endswith(".py")]


@cache
def _note() -> dict[str, Any]:
    return read_json(NOTED)


def _git(*arguments: str) -> str:
    """What git prints on the checkout; empty without git, or if the code is installed, even inside another checkout."""
    if not _is_checkout():
        return ""
    command = ["git", "-C", str(NOTED.parent), *arguments]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    return process.stdout.strip() if process.returncode == 0 else ""


@cache
def _is_checkout() -> bool:
    here = ["git", "-C", str(NOTED.parent), "ls-files", "--error-unmatch", "harness/__init__.py"]
    try:
        return subprocess.run(here, capture_output=True).returncode == 0
    except OSError:  # no git
        return False


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


def _capability() -> str:
    """The vector instructions that torch uses on this CPU, and the limit that is set for oneDNN's, if any."""
    import torch

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")
    return torch.backends.cpu.get_cpu_capability() + (f", oneDNN at most {limit}" if limit else "")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
