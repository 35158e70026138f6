"""A Run is shown by its name and state, in a notebook with its scores; names of others are text there."""

from dataclasses import replace

from recorded import finish, make, robust

from harness.evaluation.score import Score
from harness.runs.run import Run


def test_its_repr_is_a_line(tmp_path):
    run = make(tmp_path)
    assert repr(run) == f"<Run {run.name}, new>"
    run.freeze()
    assert repr(run) == f"<Run {run.name}, queued>"


def test_a_notebook_shows_the_main_scores_and_no_markup_of_others(tmp_path):
    run = make(tmp_path)
    hidden = Score(title="Of a table", value=1, n=2, better="lower", table="more")
    finish(run, {**robust(40), "more": hidden})
    shown = run._repr_html_()
    assert "<th>state</th><td>done</td>" in shown and "40 %" in shown and "Of a table" not in shown
    hostile = Run(replace(run.config, runs=str(tmp_path / "<script>")))
    assert "<script>" not in hostile._repr_html_()


def test_what_cannot_be_read_is_said_and_never_raised(tmp_path):
    run = make(tmp_path, init="nowhere.pt")
    assert "nowhere.pt: there is no such file" in repr(run) and "nowhere.pt" in run._repr_html_()
    damaged = finish(make(tmp_path), robust(40))
    (damaged.folder / "record.json").write_text("{")
    assert "record.json" in repr(damaged) and "record.json" in damaged._repr_html_()
