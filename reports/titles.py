"""Titles and citations of methods, from the comments at the head of configs/method/<name>.yaml."""

import re
from functools import cache
from pathlib import Path

from harness.core.registry import files

BIBLIOGRAPHY = Path(__file__).parent / "references.bib"
"""The BibTeX entries of the papers that methods cite."""

HEAD = re.compile(r"^# (title|cite): (.*\S)", re.MULTILINE)


def title(method: str) -> str:
    """Return the title of a method; its name if the harness has no such method, or no title for it."""
    return _heads().get(method, {}).get("title", method)


def cite(method: str) -> str:
    """Return the BibTeX key of a method's paper; empty if it names none, or what can be no key."""
    key = _heads().get(method, {}).get("cite", "")
    return key if re.fullmatch(r"[\w.:+/-]+", key, re.ASCII) else ""


def reference(key: str) -> str:
    """Return the BibTeX entry of a key; empty if there is none."""
    entries = re.split(r"\n(?=@)", BIBLIOGRAPHY.read_text(encoding="utf-8"))
    return next((entry.strip() for entry in entries if re.match(rf"@\w+{{{re.escape(key)},", entry)), "")


@cache
def _heads() -> dict[str, dict[str, str]]:
    return {name: dict(HEAD.findall(file.read_text(encoding="utf-8"))) for name, file in files("method").items()}
