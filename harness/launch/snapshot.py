"""The code as it was when runs were submitted: jobs import this copy, and no later edit."""

import hashlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import write_json
from harness.runs.origin import NOTE, commit, uncommitted_diff

PACKAGES = ("harness", "harness.methods", "harness.datasets", "harness.configs", "harness.reports")
"""What is copied: packages that a checkout keeps side by side, and a copy one in the other."""

SAFE = {"PYTHONSAFEPATH": "1"}
"""What keeps Python from importing from the working folder, which may be a checkout."""


def snapshot(root: Path) -> Path:
    """The folder below the runs to import the present code from, named by its content; copied if it is not there.

    UserError where it cannot be written.
    """
    files = _files()
    origin = {"commit": commit(), "diff": uncommitted_diff()}
    whole = hashlib.sha256(repr(origin).encode())
    for name, path in files.items():
        whole.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    folder = root / "code" / whole.hexdigest()[:12]
    if not folder.exists():
        try:
            _copy(files, origin, folder)
        except OSError as error:
            if not folder.exists():  # else another command was faster, with the same content
                raise UserError(
                    f"The code cannot be copied to {folder} ({error.strerror}). Make room or mend its folder, and type "
                    "the same command again."
                ) from None
    return folder


def _copy(files: dict[str, Path], origin: dict[str, str], folder: Path) -> None:
    """Make the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        copy = Path(scratch, "copy")  # a folder of its own: mkdtemp's 0700 would hide it from the user's group
        for name, path in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy / name)
        write_json(copy / NOTE, origin)
        copy.rename(folder)


def environment(code: Path) -> dict[str, str]:
    """What makes Python import the copy rather than an installed package, or one in the working folder."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")])), **SAFE}


def _files() -> dict[str, Path]:
    """The files of the packages, by their names in a copy, in the order of these."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec and spec.submodule_search_locations, package  # they are ours
        folder = Path(spec.submodule_search_locations[0])
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}"] = path
    return dict(sorted(found.items()))
