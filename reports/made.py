"""Which files of a report are made already, from the same by the same code, and so need not be made again."""

import hashlib
import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.core import cache
from harness.core.errors import UserError
from harness.core.files import read_checked, write_checked


class Made:
    """What the files of a folder were made from, as a file in the cache says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = cache.folder() / "reports" / f"{hashlib.sha256(str(folder).encode()).hexdigest()}.json"
        self.notes: Mapping[str, object] = {}
        with suppress(OSError, UserError):
            self.notes = read_checked(self.file)

    def holds(self, name: str, key: str | None) -> bool:
        """Whether a file was made from what has this key, and has not been touched since."""
        return key is not None and self.notes.get(name) == [key, *self._stamp(name)]

    def note(self, keys: Mapping[str, str]) -> None:
        """Note what files of the folder were made from; where nothing can be written, they are made again next time."""
        old = {name: note for name, note in self.notes.items() if name not in keys and self._stamp(name)}
        new = {name: [key, *stamp] for name, key in keys.items() if (stamp := self._stamp(name))}
        if (made := dict(sorted({**old, **new}.items()))) != self.notes:
            with suppress(OSError, UserError):
                write_checked(self.file, made, durable=False)

    def _stamp(self, name: str) -> list[int]:
        """Size and time of a file; empty if there is none."""
        try:
            about = (self.folder / name).stat()
        except OSError:
            return []
        return [about.st_size, about.st_mtime_ns]


def digest(*data: object) -> str:
    """Digest of data and of the code. Equal data that were made in another way may have another."""
    return hashlib.sha256(pickle.dumps([cache.code(), *data])).hexdigest()
