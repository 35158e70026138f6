"""Names, notes and progress of others reach the terminal as text: no markup, no escape sequence, no crash."""

import io
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from nasty import TEXTS, texts
from rich.style import Style

from harness.cli import bars, main
from harness.cli.bars import Display
from harness.cli.tables import PlainConsole, status_table
from harness.core.text import one_line, visible
from harness.launch.show import Lines
from harness.launch.status import StatusRow

OURS = re.compile(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[\d*[AGK]|\r")
"""What rich itself sends to a terminal: colours, a hidden cursor, and moves of it."""


def every(check):
    """Try a property with all of TEXTS, not only with some."""
    for text in (*TEXTS, "\ud800 half"):
        check = example(text=text)(check)
    return given(text=texts)(check)


def console(terminal: bool = True) -> tuple[PlainConsole, io.StringIO]:
    """Return a console on a terminal of its own, and what it has printed."""
    made, printed = PlainConsole(), io.StringIO()
    made.file, made.width = printed, 10_000
    made._force_terminal = terminal
    return made, printed


def shown(printed: str) -> str:
    """Return what a person sees, without rich's own codes; nothing else may act on the terminal."""
    plain = OURS.sub("", printed)
    assert visible(plain) == plain, plain
    return plain


def words(text: str) -> list[str]:
    """Return the words of a text as they are shown; rich drops some control characters."""
    return visible(re.sub(r"[\x07\x08\x0b\x0c\r]", "", text)).split()


@every
def test_a_line_is_printed_as_it_is(text: str) -> None:
    made, printed = console()
    made.print(text, style=Style(bold=True), soft_wrap=True)
    assert shown(printed.getvalue()).split() == words(text)


@every
def test_a_table_shows_texts_as_they_are(text: str) -> None:
    made, printed = console()
    made.print(status_table([StatusRow(text, "failed", text, 1.0, text, text)], text))
    *_, row, _ = shown(printed.getvalue()).splitlines()
    name, _, *others = [cell.split() for cell in row.strip("│").split(" │ ")]
    assert [name, others[0], *others[2:]] == [words(one_line(text))] * 4


@every
def test_bars_show_texts_as_they_are(text: str) -> None:
    made, printed = console()
    run = SimpleNamespace(name=text, folder=Path("x"), config=SimpleNamespace(method={"name": text}, seed=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bars, "console", made)
        for bars_or_lines in (display := Display(1), Lines(1, made.print)):
            bars_or_lines.working(run, text, 1, 2, text)  # pyright: ignore[reportArgumentType]
            bars_or_lines.failed(run, text)  # pyright: ignore[reportArgumentType]
        made.print(display.progress)
    seen = shown(printed.getvalue()).split()
    assert all(word in seen for word in words(text))


def test_status_prints_no_escape_sequence_of_a_record_or_of_progress(type_, tmp_path) -> None:
    for number, text in enumerate(("\x1b]0;title\x07", "[/bold] a[red]b", "\x9b31m")):
        folder = tmp_path / "runs" / f"at-digits-s{number}-0123abcd"
        folder.mkdir(parents=True)
        note = {
            "host": "here",
            "pid": 1,
            "what": f"train {text}",
            "done": 1,
            "total": 2,
            "words": text,
            "seconds_left": 1,
        }
        (folder / "progress.json").write_text(json.dumps(note))
        (folder / "failure.md").write_text(f"# it failed\n\nbecause {text}\n")
        (folder / "config.yaml").write_text("{}")
    status, out, err = type_("status")
    assert status == 0 and visible(out + err) == out + err
    assert "[/bold]" in out and "a[red]b" in out and "because" in out


def test_errors_and_warnings_print_no_escape_sequence(type_, monkeypatch) -> None:
    monkeypatch.setattr(main, "command", lambda typed: logging.getLogger("harness.x").warning(typed[0]) or 0)
    assert "␛[31m" in type_("a \x1b[31m warning")[2]
    monkeypatch.undo()
    status, out, err = type_("an\x1b[31m", "x=1")
    assert status == 2 and "\x1b" not in out + err and "␛" in err
