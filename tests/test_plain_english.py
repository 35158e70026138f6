"""Docstrings, comments and messages are plain English: no archaic words or phrases. Longer functions have comments."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("harness", "methods", "datasets", "reports", "benchmarks")

BANNED = re.compile(
    r"manieth|\bheed|\bwhence\b|\bthence\b|\bthereof\b|\btherein\b|\bhitherto\b|\blest\b|\bof himself\b|\bwhoever\b"
    r"|\bwhom\b|\banew\b|\bgets? on\b|\bnought\b|\bbetide|\bgoes on from\b|\btold to leave\b|\bother than where\b"
    r"|\bwhat was done is\b|\bcannot be said of\b|\bis there already\b|\bthe old file back\b|\bfor all to read\b"
    r"|\blet them be\b|\bto look on\b|\bwill not do\b|\bmended\b|\btrains? on from\b|\bclassified rightly\b",
    re.IGNORECASE,
)
MESSAGES = ("UserError", "console.print")
"""What a user reads is passed to these; their texts in `harness` are checked too."""

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


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that are raised as UserError or printed, with their line numbers."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in MESSAGES:
            # A text that is built from several constants is read as one, so that no phrase hides between two of them.
            texts = [node for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Constant)]
            yield call.lineno, "".join(node.value for node in texts if isinstance(node.value, str))


def banned(path: Path, texts: Iterator[tuple[int, str]]) -> list[str]:
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return [f"{name}:{line}: {match[0]}" for line, text in texts if (match := BANNED.search(text))]


def test_no_banned_word_is_in_docstrings_and_comments() -> None:
    assert [line for path in files() for line in banned(path, prose(path))] == []


def test_no_banned_phrase_is_in_messages() -> None:
    paths = [path for path in files() if path.is_relative_to(ROOT / "harness")]
    assert [line for path in paths for line in banned(path, messages(path))] == []


@pytest.mark.parametrize(
    "line",
    [
        """raise UserError(f"{path} is there already: choose another name.")""",
        """raise UserError(f"{key}=… cannot be " f"said of {name}.")""",
        """console.print(f"Other than where A was made: {'; '.join(other)}.", markup=False)""",
    ],
)
def test_an_old_message_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(line)
    assert len(banned(tmp_path / "old.py", messages(tmp_path / "old.py"))) == 1


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
