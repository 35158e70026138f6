"""Files that are there whole or not at all."""

import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.core.errors import UserError

TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)@(?P<host>.+)\.[0-9a-f]{8}(\.\w+)?")
"""The name of a file that is being written; it tells by whom."""


def valid_name(name: str) -> str:
    """A name that is to be one file's or folder's; UserError where, as part of a path, it would lead elsewhere."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(
            f"'{name}' cannot name a file or folder: letters, digits and . _ + - can, after a letter or digit."
        )
    return name


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary neighbour of `path` to write; on leaving without error it takes the path's place.

    durable: it also outlasts a power cut from then on, which takes a while; for what is not easily made anew.
    UserError where it cannot be written, as on a full disk; nothing is left of it then.
    """
    writer = f"{os.getpid()}@{platform.node()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{writer}{path.suffix}")  # the suffix, as some writers go by it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        if durable:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):  # a folder that cannot be written to: the error above tells
            temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> list[Path]:
    """Remove what writers that were killed left behind in a folder and those in it; return its paths.

    For a folder whose lock is held: writers of other hosts are then dead, while one of this host, such as a process
    that outlived the one that started it, is asked for.
    """
    left = [
        path for path in folder.rglob(".*") if (found := TEMPORARY.fullmatch(path.name)) and _dead(**found.groupdict())
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _dead(pid: str, host: str) -> bool:
    if host != platform.node():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return False


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """One process at a time may make this file; UserError if its folder cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock")).acquire()
    except OSError as error:
        raise _unwritable(path, error) from None
    with lock:
        yield


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} cannot be written ({error.strerror or error}). Make room or mend its folder, or choose another place; "
        "what was done is kept, and the same command goes on from there."
    )


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever json holds
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever json holds
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Add a line to a .jsonl file; UserError where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a .jsonl file; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]


def digest(path: str) -> str:
    """The sha256 of an initial checkpoint, which is its part in a run's identity; UserError if it is not there."""
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"init={path}: there is no such file ({file.absolute()}). Put the checkpoint there, name another with "
            "init=PATH, or train every stage here with init=null. docs/checkpoints.md says where the published "
            "ones are."
        )
    return _digest(file.absolute(), file.stat().st_mtime_ns)


@lru_cache
def _digest(file: Path, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
