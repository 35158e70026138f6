"""Answers that are kept on the disk, each under the digest of all that it follows from: the question and the code.

They save time and nothing else: the folder can be deleted at any moment, and where nothing can be written, nothing is
kept.
"""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import psutil

from harness.core.errors import UserError
from harness.core.files import read_checked, write_checked
from harness.core.sources import sources

T = TypeVar("T")

STARTED = psutil.Process().create_time()
"""When this process began, in seconds since the epoch; copies that it forks have its code, and its time."""


def folder() -> Path:
    """The folder of kept answers: ebm-harness in $XDG_CACHE_HOME, which is ~/.cache by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ebm-harness"


def kept(kind: str, question: object, answer: Callable[[], T]) -> T:
    """Return `answer()`, a JSON value that follows from the question and the code alone, or what was kept of it.

    kind: what is asked, a name for a folder. question: a value that JSON can express. None is an answer that is not
    kept. A file that is damaged is written again.
    """
    asked = json.dumps([code(), question], sort_keys=True, default=str)
    path = folder() / kind / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"
    with suppress(OSError, UserError, KeyError):
        return read_checked(path)["answer"]
    result = answer()
    if result is not None:
        with suppress(OSError, UserError):
            write_checked(path, {"answer": result}, durable=False)
    return result


@cache
def code() -> str:
    """The sha256 of the code of this process: all files of ours, and the versions of Python and of all packages.

    If a file has changed since the process began, its code is not what it computes with: then it is a random word, for
    which nothing is kept.
    """
    files = sorted(sources().items())
    if any(path.stat().st_ctime >= STARTED for _, path in files):
        return secrets.token_hex()
    places = [Path(place or ".") for place in sys.path]
    packages = sorted(path.name for place in places if place.is_dir() for path in place.glob("*.dist-info"))
    whole = hashlib.sha256(json.dumps([sys.version, packages]).encode())
    for name, path in files:
        content = path.read_bytes()
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()
