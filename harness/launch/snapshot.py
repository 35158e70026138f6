"""Copy the code when runs are submitted, so that jobs import this copy and not later edits."""

import hashlib
import json
import logging
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import read_json, write_json
from harness.core.providers import FOLDERS
from harness.core.sources import inside, sources
from harness.runs.origin import NOTE, commit, edited_files, tracked_diff, untracked

log = logging.getLogger(__name__)

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
            log.warning(
                "%s did not contain the code that its name stands for. It was moved to %s, and the code copied again.",
                folder,
                aside,
            )
        if not folder.exists():
            _copy(files, origin, folder)
    except OSError as error:
        if not folder.exists():  # else another command has just written the same content
            raise UserError(
                f"The code cannot be copied to {folder} ({error.strerror}). Free disk space or make the folder "
                "writable, and type the same command again."
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
    files = {path.relative_to(folder).as_posix(): path for path in inside(folder) if path != folder / NOTE}
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
    """The files to copy by their names in a copy: all of the code, without the user's own."""
    return {name: path for name, path in sources().items() if not name.startswith(LOCAL)}
