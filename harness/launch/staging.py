"""Copy a run's data to the disk of the node that it runs on, which many readers of a shared file system do not slow."""

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import locked_file, sha256
from harness.runs import build
from harness.runs.run import Run, fingerprint

log = logging.getLogger(__name__)

PARTS = ("data", "outliers")
"""The parts of a config whose `root` is a folder of images that training reads."""

CHUNK = 2**20
"""Bytes that are copied at a time."""


def stage_in(run: Run) -> Run:
    """The run with its data in the folder that launcher.stage_in names; the run itself if it names none.

    The processes of a node share a copy. If it cannot be made, as without space, the run reads the original, with a
    warning: no number depends on where the data are.
    """
    named = run.config.launcher.get("stage_in")
    if not named:
        return run
    place = Path(os.path.expandvars(named)).expanduser()
    try:
        if not place.is_dir():
            raise UserError(f"there is no folder {place} on this node")
        roots = {name: Path(root) for name in PARTS if (root := getattr(run.config, name).get("root"))}
        copies = {name: {"root": str(copy(root, place))} for name, root in roots.items() if root.is_dir()}
        config = replace(run.config, **{name: getattr(run.config, name) | part for name, part in copies.items()})
        copied = replace(run, config=config)
        # Some data are found elsewhere than in their root.
        copied.data.ready()
        build.outliers(copied).ready()
    except (OSError, UserError) as error:
        log.warning("launcher.stage_in=%s: the data are read where they are, not copied: %s", named, error)
        return run
    return copied


def copy(folder: Path, place: Path) -> Path:
    """The verified copy of a folder below a place, made if it is not there; OSError or UserError if it cannot be made.

    It is named by the paths, sizes and times of the files, so that a copy of other files is not taken for it.
    """
    files = sorted(Path(at, name) for at, _, names in os.walk(folder, followlinks=True) for name in names)
    sizes = {path: path.stat() for path in files}
    facts = [[path.relative_to(folder).as_posix(), sizes[path].st_size, sizes[path].st_mtime_ns] for path in files]
    whole = place / f"harness-{fingerprint([str(folder.resolve()), facts])}"
    with locked_file(whole):
        if whole.is_dir():
            return whole
        needed, free = sum(sizes[path].st_size for path in files), shutil.disk_usage(place).free
        if needed > free:
            raise UserError(f"it has {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free")
        # Copy under another name: a folder with the final name is whole.
        with tempfile.TemporaryDirectory(dir=place, prefix=".harness-") as scratch:
            for path in files:
                _copy_file(path, Path(scratch, "copy", path.relative_to(folder)))
            Path(scratch, "copy").rename(whole)
    return whole


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file and read it again; OSError if what is read is not what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as original, target.open("wb") as written:
        while chunk := original.read(CHUNK):
            digest.update(chunk)
            written.write(chunk)
    if sha256(target) != digest.hexdigest():
        raise OSError(f"the copy of {source} differs from it")
