"""Docstrings and comments are plain English: no archaic words, and comments above the blocks of longer functions."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("harness", "methods", "datasets", "reports", "benchmarks")

BANNED = re.compile(
    r"manieth|\bheed|\bwhence\b|\bthence\b|\bthereof\b|\btherein\b|\bhitherto\b|\blest\b|\bof himself\b|\bwhoever\b"
    r"|\bwhom\b|\banew\b|\bgets? on\b|\bnought\b|\bbetide",
    re.IGNORECASE,
)
LONG = 15
"""Functions longer than this many lines need comments above their blocks."""


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings and comments of a file, with their line numbers."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def test_no_banned_word_stands_in_docstrings_and_comments() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in files()
        for line, text in prose(path)
        if (match := BANNED.search(text))
    ]
    assert found == []


def test_longer_functions_have_comments_above_their_blocks() -> None:
    lines, comments = 0, 0
    for path in files():
        text = path.read_text(encoding="utf-8").splitlines()
        inside: set[int] = set()
        for node in ast.walk(ast.parse("\n".join(text))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= LONG:
                inside |= {*range(node.lineno - 1, node.end_lineno)}
        lines += len(inside)
        comments += sum(text[number].lstrip().startswith("#") for number in inside)
    assert 3 <= 100 * comments / lines <= 5, f"{comments} comments in {lines} lines of longer functions"
