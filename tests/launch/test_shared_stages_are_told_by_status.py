"""A stage that another job trains is a row of `status`, and the runs that wait for it say how far it is."""

import json

import pytest
from recorded import ATJEM, make

from harness.launch import jobs as launch
from harness.launch.status import Jobs, rows, stages
from harness.runs.folder import lock
from harness.runs.progress import WAITING, WAITS, Diary, note_waits, read_waits

SHARED = {**ATJEM, "robust": {"attack": {"steps": 2, "step": 0.1, "eps": 0.5}, "training": ATJEM["joint"]["training"]}}
NOTE = {
    "host": "n1",
    "pid": 7,
    "what": "train robust",
    "done": 312,
    "total": 589,
    "seconds_left": 240.0,
    "words": "ce 0.3",
}


@pytest.fixture
def two(tmp_path):
    """Two frozen runs whose first stage is the same."""
    runs = [make(tmp_path, method=SHARED), make(tmp_path, method={**SHARED, "joint": {**SHARED["joint"], "bce": 0.5}})]
    for run in runs:
        run.freeze()
    return runs


def note(runs):
    """Note what runs wait for, as launchers do."""
    launch.note_waits(runs, launch.jobs(runs, None))


def progress(run) -> tuple[str, float | None]:
    (row,) = rows([run.folder], Jobs())
    return row.progress, row.left


def test_a_queued_run_says_how_far_the_stage_is_that_it_waits_for(two):
    stage = two[0].stage_runs[0]
    note(two)
    assert read_waits(two[1].folder) == {"robust": stage.folder}
    assert progress(two[1]) == ("waits for stage robust", None)
    assert stages(two[0].root, Jobs()) == [], "nobody trains it yet"
    with lock(stage.folder):
        (stage.folder / "progress.json").write_text(json.dumps(NOTE))
        assert progress(two[1]) == ("waits for stage robust: 312/589, 4 min left", None)
        (row,) = stages(two[0].root, Jobs())
        assert (row.name, row.state, row.progress) == (f"stage {stage.folder.name}", "running", "312/589  ce 0.3")
        assert (row.left, row.job, row.going) == (240.0, "n1:7", True)
    (stage.folder / "done.json").touch()
    assert progress(two[1]) == ("", None) and stages(two[0].root, Jobs()) == []


def test_a_running_run_says_it_too(two):
    stage, run = two[0].stage_runs[0], two[1]
    note_waits(run, [stage])
    (run.folder / "started").touch()
    Diary(run, 1).working(run, f"{WAITING} robust", 0, 1, "another job trains it")
    with lock(run.folder), lock(stage.folder):
        Diary(run, 1, stage.folder).note("train robust", 312, 589, "")
        (row,) = rows([run.folder], Jobs())
        assert row.progress == "waits for stage robust: 312/589" and row.job


def test_a_run_that_trains_all_its_stages_itself_waits_for_none(two):
    note(two[:1])
    assert progress(two[0]) == ("", None) and not (two[0].folder / WAITS).exists()
    note(two)
    assert progress(two[0])[0]
    note(two[:1])
    assert progress(two[0]) == ("", None), "it does not wait any more"


@pytest.mark.parametrize("content", ['{"robust": "../../elsewhere"}', "[1]", "{", '{"robust": 3}'])
def test_a_damaged_note_costs_its_own_row(two, content):
    (two[0].folder / WAITS).write_text(content)
    found = rows([run.folder for run in two], Jobs())
    assert [row.state for row in found] == ["unreadable", "queued"] and found[0].error.startswith(WAITS)
    assert stages(two[0].root, Jobs()) == []


def test_words_of_an_attack_are_noted_at_once_and_steps_now_and_then(two):
    diary = Diary(two[0], 1)
    path = two[0].folder / "progress.json"
    for words in ("", "apgd-ce: 120 of 120 stand", "apgd-t: 66 of 120 stand"):
        diary.working(two[0], "robustness", 1, 3, words)
        assert json.loads(path.read_text())["words"] == words
    diary.note("robustness", 2, 3, "apgd-t: 66 of 120 stand")
    assert json.loads(path.read_text())["done"] == 1, "too early"
