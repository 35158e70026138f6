"""The Python functions plan, run, load and results do the work of the command."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from commandline import quick

import harness
from harness.core.errors import UserError
from harness.runs import run as runs


@pytest.fixture(scope="module")
def told():
    """What `harness.run` printed for the run of this page."""
    return StringIO()


@pytest.fixture(scope="module")
def done(tmp_path_factory, told):
    folder = tmp_path_factory.mktemp("api")
    (run,) = harness.plan(*quick("at", steps=20), f"runs={folder}")
    with redirect_stdout(told):
        return run, harness.run(run)


def test_a_run_ends_with_a_record_of_both_abilities(done):
    run, record = done
    assert record.state == run.state == "done"
    assert {"clean_accuracy", "robust_accuracy/l2_3", "fd_digits", "ece"} <= set(record.scores)
    assert record.scores["clean_accuracy"].n == 20 and record.scores["fd_digits"].n == 70
    assert len(record.outcomes["clean"]) == 20


def test_the_loaded_model_is_the_one_that_was_judged(done):
    run, record = done
    model = harness.load(run.folder)
    images, labels = run.data.tensors("test")
    right = model(images).argmax(1) == labels
    assert "".join("01"[int(one)] for one in right) == record.outcomes["clean"]
    assert not model.training


def test_a_folder_that_was_moved_is_still_the_run(done, tmp_path, monkeypatch):
    run, _ = done
    shutil.copytree(run.root, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    moved = harness.load(Path("elsewhere") / run.name)
    images, _ = run.data.tensors("test")
    assert torch.equal(moved(images), harness.load(run.folder)(images))
    assert "elsewhere" in str(runs.load(Path("elsewhere") / run.name).stage_runs[-1].folder)


def test_results_hold_the_run(done):
    run, record = done
    table = harness.results(f"runs={run.root}")
    (row,) = table.to_dict("records")
    assert row["fingerprint"] == run.fingerprint and row["state"] == "done"
    assert {key: row[key] for key in record.scores} == {key: score.value for key, score in record.scores.items()}


def test_results_are_a_plain_table(done, tmp_path):
    run, record = done
    table = harness.results(f"runs={run.root}")
    assert len(table.drop_duplicates()) == 1
    assert table.groupby("method").clean_accuracy.mean()["at"] == record.scores["clean_accuracy"].value
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), table)
    table.to_csv(tmp_path / "table.csv", index=False)
    read = pd.read_csv(tmp_path / "table.csv")
    numbers = table.select_dtypes("number")
    # Older versions of pandas read some numbers with an error in their last digit.
    pd.testing.assert_frame_equal(read[numbers.columns], numbers, check_dtype=False, rtol=1e-14)


def test_it_tells_the_phases_and_the_scores(done, told):
    run, record = done
    first, *phases, last = told.getvalue().splitlines()
    assert first == f"{run.name}  train robust"
    assert {f"{run.name}  {what}" for what in ("samples", "robustness", "fidelity")} <= set(phases)
    score = record.scores["clean_accuracy"]
    assert last.startswith(f"{run.name}  done  ") and f"{score.title} {score.value:.2f}%" in last


def test_the_same_run_again_is_read_from_the_disk_without_a_word(done, capsys):
    run, record = done
    assert harness.run(run) == record
    assert capsys.readouterr().out == ""


def test_an_untrained_run_cannot_be_loaded(tmp_path):
    (run,) = harness.plan(*quick("at"), f"runs={tmp_path}")
    run.freeze()
    with pytest.raises(UserError, match="not trained yet"):
        harness.load(run.folder)
    with pytest.raises(UserError, match="There is no run"):
        harness.load(tmp_path / "nothing")


def test_a_run_can_be_done_in_another_thread(tmp_path, capsys):
    """Only the main thread can handle signals in Python."""
    (run,) = harness.plan(*quick("standard", steps=4), "~protocol.metrics.ood", f"runs={tmp_path}")
    with ThreadPoolExecutor() as pool:
        assert pool.submit(harness.run, run, progress=False).result().state == "done"
    assert capsys.readouterr().out == "", "nor does it print where that was not asked for"
