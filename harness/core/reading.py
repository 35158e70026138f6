"""Read files of run folders, which may come from anybody: bounded in size and depth, through no link that leads out."""

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness.core.errors import Damaged, Unreadable, printable

T = TypeVar("T")

LARGEST_FILE = 100 * 10**6
"""Bytes of the largest file that is read whole. A record of 50,000 images, 12 attacks and 2,000 scores has 2 MB."""

LARGEST_CONFIG = 10**6
"""Bytes of the largest yaml that is read; frozen configs have about 5,000."""

LARGEST_LOG = 10**9
"""Bytes of the largest .jsonl that is read."""

DEEPEST = 50
"""How deep lists and mappings of a JSON or yaml text may be nested."""

MOST_VALUES = 100_000
"""How many values a yaml text may have, each counted as often as aliases repeat it."""

LONGEST_NUMBER = 1000
"""Characters of the longest number in a yaml text: 1:1:1:… takes the square of its length to read."""

LARGEST_STEP, LARGEST_VALUE, MOST_TERMS = 10**15, 1e100, 1000
"""Bounds of a log that is drawn: images seen, values, and how many terms it has."""

MOST_PIXELS = 50 * 10**6
"""Width times height of the largest picture that is decoded."""

YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe yaml loader; ten times as fast as `yaml.safe_load` if libyaml is installed."""

HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of a character beyond 16 bits comes in two halves; a text with one half alone cannot be written."""

PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def read_file(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """The content of a file of a run's folder. The folder may be a link; a file in it only to one in the same folder.

    FileNotFoundError if there is none; Unreadable if it is no regular file, leads out of the folder or is too large.
    """
    try:
        file = _open(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(path, error.strerror) from None
    # Ask the open file, which nobody can exchange any more.
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(path, "it is no regular file")
        if about.st_size > largest:
            raise Unreadable(path, f"it has {about.st_size:,} bytes, and at most {largest:,} are read")
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(about.st_size)  # a buffer of that size is made at once: never of `largest`
    finally:
        os.close(file)


def regular(path: Path) -> Path:
    """Return a file's path if `read_file` would read it but for its size, else raise its errors."""
    file = _open(path)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unreadable(path, "it is no regular file")
    finally:
        os.close(file)
    return path


def _open(path: Path) -> int:
    """Open a file for reading, without waiting for the other end of a pipe."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    # It is a link: open what it names, if that is in the same folder.
    target, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    if not target.is_relative_to(folder):
        raise Unreadable(path, "it is a link that leads out of its folder")
    return os.open(target, flags)


def parsed(path: Path, parse: Callable[[bytes], T], largest: int = LARGEST_FILE) -> T:
    """What `parse` makes of a file; Damaged if it raises ValueError, else the errors of `read_file`."""
    content = read_file(path, largest)
    try:
        return parse(content)
    except ValueError as error:
        raise Damaged(path, error) from None


def parse_json(content: bytes) -> Any:  # noqa: ANN401 - whatever json holds
    """The value of a JSON text; ValueError if it is none, is nested too deep, or has half a character."""
    try:
        value = json.loads(content.decode())
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    # Count the depth level by level, as a recursion could go too deep itself.
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [value for part in inner for value in (part.values() if isinstance(part, dict) else part)]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if HALF_PAIR.search(content):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_yaml(content: bytes) -> Any:  # noqa: ANN401 - whatever yaml holds
    """The value of a yaml text; ValueError if it is none, is nested too deep, or its aliases explode."""
    try:
        text = content.decode()
        _check_events(text)
        return yaml.load(text, YAML)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is no yaml ({error})") from None


def _check_events(text: str) -> None:
    """Bound depth and size before values are made: libyaml recurses to its death, and aliases multiply."""
    sizes, names, anchors = [0], [""], {}
    for event in yaml.parse(text, YAML):
        # The size of a collection grows by that of each value in it, an alias by that of what it repeats.
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"its alias {event.anchor} stands for nothing, or for what contains it")
            sizes[-1] += anchors[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.append(0)
            names.append(event.anchor)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            if isinstance(event, yaml.CollectionEndEvent):
                size, name = 1 + sizes.pop(), names.pop()
            else:
                size, name = 1, event.anchor
                if len(event.value) > LONGEST_NUMBER and event.implicit[0] and event.value[0] in "+-.0123456789":
                    raise ValueError(f"it has a number of more than {LONGEST_NUMBER:,} digits")
            sizes[-1] += size
            if name:
                anchors[name] = size
        if len(sizes) > DEEPEST + 1:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        if sizes[-1] > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")


def log_lines(content: bytes) -> list[bytes]:
    """The lines of a .jsonl text that are not empty; a last line that was cut short by a kill is left out."""
    return [line for line in content.split(b"\n")[:-1] if line]


def parse_log(lines: Sequence[bytes]) -> list[dict[str, float]]:
    """What lines of a .jsonl log hold: `images`, and numbers by term. Numbers that cannot be drawn are left out.

    ValueError if a line is anything else, or if there are too many terms.
    """
    points: list[dict[str, float]] = []
    for line in lines:
        content = parse_json(line)
        if not isinstance(content, dict) or not all(type(value) in (int, float) for value in content.values()):
            raise ValueError(f"its line {printable(text(line), 60)} does not hold numbers by name")
        images = content.pop("images", -1)
        if not 0 <= images <= LARGEST_STEP:
            raise ValueError(f"its line {printable(text(line), 60)} does not say after how many images")
        values = {term: float(value) for term, value in content.items() if abs(value) <= LARGEST_VALUE}
        points.append({"images": images, **values})
    if len(set().union(*points)) > MOST_TERMS:
        raise ValueError(f"it has more than {MOST_TERMS:,} terms")
    return points


def png(content: bytes) -> bytes:
    """Return a PNG as it is; ValueError if it is none, is cut short or has too many pixels to be decoded."""
    if not content.startswith(PNG):
        raise ValueError("it is no PNG")
    if not content.endswith(PNG_END):
        raise ValueError("it is cut short")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, and at most {MOST_PIXELS:,} are decoded")
    return content


def text(content: bytes) -> str:
    """A text for people: what is not UTF-8 is replaced."""
    return content.decode(errors="replace")
