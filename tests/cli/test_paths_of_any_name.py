"""A path with odd characters works everywhere or is refused; commands in messages can be pasted as they stand."""

import shlex

import pytest
from commandline import bare
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.main import verbs
from harness.core.errors import typed
from harness.runs.compose import compose

ODD = "a [b] {c} (d) e=f,g 'h' \"i\" $j ü &"
"""The name of a folder that shells, Hydra, rich and yaml could all read as something else."""


def pasted(text: str) -> list[list[str]]:
    """The commands in a message, parted into words as a shell does."""
    return [
        shlex.split(line.partition("python -m harness ")[2])
        for line in text.splitlines()
        if "python -m harness " in line
    ]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_typed_override_is_read_back(value):
    (word,) = shlex.split(typed("runs", value))
    override = OverridesParser.create().parse_override(word)
    assert value in (override.value(), override.get_value_string())  # the latter for what looks like a number


@pytest.mark.parametrize("tracking", ["null", "off"])
def test_a_run_in_a_folder_of_an_odd_name_is_done_and_found(tracking, type_, tmp_path):
    where = typed("runs", ODD)
    arguments = [*bare("standard", steps=2), *shlex.split(where), f"tracking={tracking}", "tracking_model=false"]
    status, out, err = type_(*arguments)
    assert status == 0, err
    (folder,) = [path.parent for path in (tmp_path / ODD).glob("*/record.json")]
    assert [path.name for path in tmp_path.iterdir()] == [ODD]

    # What the command says to type next does what it says.
    (report,) = [words for words in pasted(out) if words[0] == "report"]
    assert report == ["report", *shlex.split(where)]
    status, _, err = type_(*report)
    assert status == 0, err
    assert folder.name in (tmp_path / "reports" / "LEADERBOARD.md").read_text() or (tmp_path / "reports").is_dir()
    status, out, _ = type_("status", *shlex.split(where))
    assert status == 0 and folder.name[:20] in out


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b"])
def test_a_folder_that_mlflow_would_take_for_another_is_refused(name, type_, tmp_path):
    status, _, err = type_(*shlex.split(typed("runs", name)), "method=at")
    assert status == 2 and name in err and "runs=FOLDER" in err
    assert list(tmp_path.iterdir()) == []


def test_a_command_in_a_message_can_be_pasted(type_, tmp_path):
    (tmp_path / ODD).mkdir()
    where = shlex.split(typed("runs", ODD))
    status, _, err = type_("logs", "nope", *where)
    assert status == 2
    (words,) = pasted(err)
    assert words[0] in verbs() and words[1] == where[0]
    assert compose(words[1:2])[0].runs == ODD
    status, _, _ = type_(*words[:2])
    assert status == 0
