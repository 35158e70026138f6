"""Atomic files: a reader sees the whole file or none."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.core.errors import Damaged, UserError, printable
from harness.core.reading import LARGEST_LOG, parse_json, parsed, read_file

log = logging.getLogger(__name__)

TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)@(?P<host>.+)\.[0-9a-f]{8}(\.\w+)?")
"""The name of a temporary file; it contains the pid and host of its writer."""

LOCKLESS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of flock on file systems that have no locks."""

NO_LOCKS = """\
{place} is on a file system that takes no locks (flock: {reason}), so nothing keeps two processes from writing one file\
"""

LONGEST = 128
"""Bytes of the longest name; a file system allows 255, of which suffixes and temporary files need some."""


def valid_name(name: str) -> str:
    """Check a name for one file or folder; UserError if, as part of a path, it would lead elsewhere or is too long."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(
            f"{printable(name, LONGEST)!r} cannot name a file or folder: letters, digits and . _ + - can, after a "
            "letter or digit."
        )
    if len(name.encode()) > LONGEST:
        raise UserError(f"'{name[:LONGEST]}…' cannot name a file or folder: it is longer than {LONGEST} bytes.")
    return name


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`; leaving the context without error renames it to `path`.

    durable: call fsync first, so that the file survives a power cut; slow, so only for what is hard to recreate.
    UserError if it cannot be written, as on a full disk; no partial file remains.
    """
    # Write next to the final path: a rename is atomic only within one file system.
    writer = f"{os.getpid()}@{platform.node()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{writer}{path.suffix}")  # keep the suffix: some writers choose by it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        # Flush the content to disk before the rename makes it visible.
        if durable:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from None
    finally:
        with suppress(OSError):  # in an unwritable folder; the error above is already raised
            temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files of killed writers in a folder and below it; return their paths.

    Hold the folder's lock when calling this. Writers on other hosts are then dead; whether a writer on this host, such
    as a process that outlived its parent, is alive is checked by its pid.
    """
    stale = [
        path
        for path in folder.rglob(".*")
        if (match := TEMPORARY.fullmatch(path.name)) and not path.is_dir() and _is_dead(**match.groupdict())
    ]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def _is_dead(pid: str, host: str) -> bool:
    if host != platform.node():
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):  # the latter of a number that no process can have
        return True
    except PermissionError:  # the process exists and belongs to another user
        return False
    return False


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a lock so that one process at a time creates this file.

    UserError if its folder cannot be written to, or if the file system takes no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_locks(path.parent)
        lock = FileLock(path.with_name(f".{path.name}.lock")).acquire()
    except OSError as error:
        raise _write_error(path, error) from None
    with lock:
        yield


def check_locks(folder: Path) -> None:
    """Raise UserError if the file system of a folder, which need not exist yet, takes no locks."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - closed below
    except OSError:
        return  # what cannot be written says so when it is written
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in LOCKLESS:
                raise
            raise UserError(
                f"{NO_LOCKS.format(place=place, reason=error.strerror)}. Have it mounted with locks (Lustre: the "
                "option flock; NFS: lockd, and no option nolock), or choose a folder elsewhere, such as by runs=FOLDER "
                "or data.root=FOLDER."
            ) from None


def _write_error(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} cannot be written ({error.strerror or error}). Free disk space, make its folder writable, or choose "
        "another place. Finished work is kept, and the same command continues."
    )


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file atomically."""
    with atomic_write(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, durable: bool = True) -> None:  # noqa: ANN401 - whatever json holds
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", durable)


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever json holds
    """The content of a JSON file; FileNotFoundError if there is none, Unreadable if it is not JSON."""
    return parsed(path, parse_json)


def write_checked(path: Path, content: dict[str, Any], durable: bool = True) -> None:
    """Write a JSON file atomically, with the sha256 of its content in the key `sha256`."""
    write_json(path, {**content, "sha256": _sha256_of(content)}, durable)


def read_checked(path: Path) -> dict[str, Any]:
    """The content of a file of `write_checked`; Unreadable, mostly Damaged, if it is not what was written.

    Files that older versions wrote hold no digest; of them only the form is checked.
    """
    content = parsed(path, parse_json)
    if not isinstance(content, dict):
        raise Damaged(path, "it holds no JSON object")
    if content.pop("sha256", None) not in (None, _sha256_of(content)):
        raise Damaged(path, "its content does not have the sha256 that it names")
    return content


def _sha256_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append a line to a .jsonl file; UserError if it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
    except OSError as error:
        raise _write_error(path, error) from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a .jsonl file; a last line that was cut short by a kill is left out.

    Lines that are damaged are left out too, with a warning: curves are looked at, and no score depends on them.
    """
    try:
        text = read_file(path, LARGEST_LOG)
    except FileNotFoundError:
        return []
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        try:
            content = json.loads(line or b"null")
        except (ValueError, RecursionError):
            content = line
        if isinstance(content, dict):
            lines.append(content)
        elif content is not None:
            log.warning("Line %d of %s is damaged and left out.", number, path)
    return lines


def digest(path: str) -> str:
    """The sha256 of an initial checkpoint, which is part of a run's identity; UserError if the file is missing."""
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"init={path}: there is no such file ({file.absolute()}). Put the checkpoint there, name another with "
            "init=PATH, or train every stage here with init=null. docs/checkpoints.md says where the published "
            "ones are."
        )
    return sha256_once(file)


def sha256_once(path: Path) -> str:
    """The sha256 of a file, which is computed again only when the file has changed."""
    return _sha256(path.absolute(), path.stat().st_mtime_ns)


@lru_cache
def _sha256(file: Path, _changed: int) -> str:
    return sha256(file)
