"""Whatever is typed or stands in a config is refused in one message, or it works: few of `make odd-input`'s inputs."""

from pathlib import Path

import odd_input
import pytest

from harness.core.errors import UserError

SEED = 2
"""Not that of `make odd-input`, so that the two try different inputs."""


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_an_altered_config_is_refused_or_is_the_same_when_read_back(first):
    results = [odd_input.try_one("config", SEED, first + number) for number in range(40)]
    assert [wrong for _, wrong in results if wrong] == []
    assert {outcome for outcome, _ in results} == {"refused: config", "accepted: config"}


@pytest.mark.parametrize("number", range(16))
def test_an_odd_command_line_is_refused_or_works(number):
    _, wrong = odd_input.try_one("command", SEED, number)
    assert wrong == ""


def test_an_odd_command_line_is_refused_as_a_process_too():
    _, wrong = odd_input.try_one("process", SEED, 0)
    assert wrong == ""


def test_equal_seeds_alter_equally():
    assert [odd_input.altered(n, SEED)[1] for n in range(20)] == [odd_input.altered(n, SEED)[1] for n in range(20)]
    assert odd_input.command_line(3, SEED) == odd_input.command_line(3, SEED) != odd_input.command_line(3, SEED + 1)


def test_a_traceback_is_told_as_one(monkeypatch):
    monkeypatch.setattr(odd_input, "check_all", lambda runs: runs[0].no_such_thing)
    results = [odd_input.try_one("config", SEED, number) for number in range(20)]
    assert any("AttributeError" in wrong for _, wrong in results)


def test_a_file_of_a_refused_command_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(odd_input.main, "command", lambda words: [*map(_leave_a_file, words)])
    with pytest.raises(AssertionError, match="wrote files"):
        odd_input.try_command(["x"], tmp_path)


def _leave_a_file(word):
    Path(word).touch()
    raise UserError("no")
