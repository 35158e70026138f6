"""Copy the code when runs are submitted, so that jobs import this copy and not later edits."""

import hashlib
import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import read_json, write_json
from harness.core.providers import FOLDERS, ROOMS, Provider, folder_code, installed
from harness.runs.origin import NOTE, commit, edited_files, tracked_diff, untracked

log = logging.getLogger(__name__)

PACKAGES = ("harness", "harness.methods", "harness.datasets", "harness.configs", "harness.reports")
"""The packages to copy; a checkout has them side by side, a copy has them nested in `harness`."""

NOTES = ("METADATA", "PKG-INFO", "entry_points.txt")
"""The files by which Python finds an installed package's entry points."""

LOCAL = "harness/configs/local/"
"""Where a user's own paths and addresses stand. A job has its frozen config, and a copy is kept for others to read."""

SAFE = {"PYTHONSAFEPATH": "1", FOLDERS: ""}
"""Environment that keeps Python from importing from the working folder, which may be a checkout, and what is copied."""


def snapshot(root: Path) -> Path:
    """Copy the present code to a folder below the runs, named by its content, unless it is there; return the folder.

    A folder whose content is not what its name says is moved aside, with a warning. UserError if none can be written.
    """
    files = _files()
    origin = {"commit": commit(), "diff": tracked_diff(), "untracked": untracked(), "edited": edited_files()}
    folder = root / "code" / _hash(files, origin)
    try:
        if folder.exists() and not _is_intact(folder):
            aside = folder.with_name(f"{folder.name}-altered-{secrets.token_hex(4)}")
            folder.rename(aside)
            log.warning("%s did not hold the code that it is named for. It is now %s, and copied anew.", folder, aside)
        if not folder.exists():
            _copy(files, origin, folder)
    except OSError as error:
        if not folder.exists():  # else another command has just written the same content
            raise UserError(
                f"The code cannot be copied to {folder} ({error.strerror}). Make room or mend its folder, and type "
                "the same command again."
            ) from None
    return folder


def _hash(files: dict[str, Path], origin: dict[str, Any]) -> str:
    """Hash files, by their names in a copy, and their origin."""
    whole = hashlib.sha256(json.dumps(origin, sort_keys=True).encode())
    for name, path in sorted(files.items()):
        whole.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def _is_intact(folder: Path) -> bool:
    """Whether a copy holds what it is named for: no file changed, missing or added."""
    files = {path.relative_to(folder).as_posix(): path for path in _inside(folder) if path != folder / NOTE}
    try:
        return _hash(files, read_json(folder / NOTE)) == folder.name
    except (OSError, ValueError):
        return False


def _copy(files: dict[str, Path], origin: dict[str, Any], folder: Path) -> None:
    """Copy the files and their origin into the folder, atomically."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        copy = Path(scratch, "copy")  # a subfolder: mkdtemp's mode 0700 would hide it from the user's group
        for name, path in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)
        write_json(copy / NOTE, origin)
        copy.rename(folder)


def environment(code: Path) -> dict[str, str]:
    """Environment that makes Python import the copy, not an installed package or the working folder."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")])), **SAFE}


def _files() -> dict[str, Path]:
    """The files by their names in a copy: those of the harness, without the user's own, and the parts of others."""
    files: dict[str, Path] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec and spec.submodule_search_locations, package  # our own packages
        folder = Path(spec.submodule_search_locations[0])
        files |= {
            f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}": path for path in _inside(folder)
        }
    # A folder's modules are copied into the packages of their kinds.
    for (kind, _), path in folder_code().items():
        files[f"{ROOMS[kind].replace('.', '/')}/{path.name}"] = path
    for provider in installed():
        files |= _installed_files(provider)
    return {name: path for name, path in files.items() if not name.startswith(LOCAL)}


def _installed_files(provider: Provider) -> dict[str, Path]:
    """The files of an installed package, and those by which Python finds its entry points, by their names in a copy."""
    if provider.distribution is None:
        return {}
    spec = find_spec(provider.package)
    assert spec, provider.package  # it was found before
    files = {
        f"{provider.package}/{path.relative_to(folder).as_posix()}": path
        for folder in map(Path, spec.submodule_search_locations or [])
        for path in _inside(folder)
    }
    if spec.origin and not spec.submodule_search_locations:  # a single module
        files[f"{provider.package}.py"] = Path(spec.origin)
    notes = [file for file in provider.distribution.files or [] if file.name in NOTES]
    return files | {file.as_posix(): Path(str(file.locate())) for file in notes}


def _inside(folder: Path) -> Iterator[Path]:
    """The files below a folder, without what Python compiles from them."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.relative_to(folder).parts:
            yield path
