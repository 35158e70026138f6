"""`list` is aligned, shows one group if it is named, and folds experiments, of which there are many."""

import pytest

from harness.cli import list as listed
from harness.cli import tables


def groups(text: str) -> dict[str, list[str]]:
    """The lines of each group."""
    found, title = dict[str, list[str]](), ""
    for line in text.splitlines():
        if line.startswith(" "):
            found[title].append(line)
        else:
            title = line.partition("=")[0]
            found[title] = []
    return found


@pytest.mark.parametrize("words, shown", [(["method"], ["method"]), (["metric", "data"], ["data", "metric"])])
def test_named_groups_alone_are_shown(type_, words, shown):
    status, out, err = type_("list", *words)
    assert (status, err) == (0, "") and list(groups(out)) == shown
    assert ("  atjem " in out) == ("method" in words)


def test_descriptions_begin_in_one_column_whatever_the_length_of_names(type_):
    _, out, _ = type_("list", "model", "experiment")
    for lines in groups(out).values():
        column = 4 + max(len(line.split()[0]) for line in lines)
        assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)


def test_experiments_are_names_by_dataset_unless_they_are_asked_for(type_):
    _, out, _ = type_("list")
    folded = groups(out)["experiment"]
    assert "  digits_…       all, stability" in folded and len(folded) < 12
    _, out, _ = type_("list", "experiment")
    assert [line for line in groups(out)["experiment"] if line.startswith("  digits_all ") and "All methods" in line]


def test_a_group_that_is_mistyped_is_told_with_those_that_there_are(type_):
    status, out, err = type_("list", "metod")
    assert (status, out) == (2, "") and "Did you mean method" in err and "protocol" in err


def test_on_a_terminal_of_80_columns_nothing_is_cut(type_, monkeypatch):
    _, whole, _ = type_("list", "experiment", "init", "protocol")
    monkeypatch.setattr(listed.console, "_force_terminal", True)
    monkeypatch.setattr(tables.console, "width", 80)
    _, out, _ = type_("list", "experiment", "init", "protocol")
    assert max(map(len, out.splitlines())) <= 80 and len(out.splitlines()) > len(whole.splitlines())
    assert out.split() == whole.split()
