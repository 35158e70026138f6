"""Input that an evaluation cannot use is found early and explained, and no half-written file remains."""

import errno
import multiprocessing
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commandline import bare

import harness as api
from harness.cli import run as verb
from harness.core.dataset import TensorView
from harness.core.errors import UserError
from harness.core.files import atomic_write, write_json
from harness.datasets.digits import Digits
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import Subject
from harness.evaluation.reference import reference
from harness.launch.preflight import importable, ready_to_judge
from harness.runs import build, record
from harness.runs.run import Run

CPU = torch.device("cpu")


class Without(Digits):
    """Digits without some classes in the test split."""

    def __init__(self, lacking):
        super().__init__()
        object.__setattr__(self, "lacking", lacking)

    def labels(self, split):
        labels = super().labels(split)
        kept = ~torch.isin(labels, torch.tensor(self.lacking))
        return labels[kept] if split == "test" else labels


@pytest.mark.parametrize(("lacking", "named"), [([7], "no image of 7:"), ([1, 2, 3, 4, 5, 6], "1, 2, 3, 4, 5, …:")])
def test_a_class_that_is_missing_from_the_test_split_is_named(lacking, named):
    (run,) = api.plan("method=at")
    ready_to_judge([run])
    run.__dict__["data"] = Without(lacking)
    with pytest.raises(UserError, match=named):
        ready_to_judge([run])


def test_runs_that_differ_in_what_they_need_are_all_looked_at():
    runs = api.plan("data.validation=60,180")
    for order in (runs, runs[::-1]):
        with pytest.raises(UserError, match="images of the validation split=60"):
            ready_to_judge(order)
    ready_to_judge([run for run in runs if run.config.data["validation"] == 180])


def test_two_entries_that_give_the_same_score_are_refused(monkeypatch, tmp_path):
    (run,) = api.plan(
        "~protocol",
        "+protocol={id: twice, samples: {count: 4, chunk: 4, seed: 0}, metrics: "
        "{accuracy: {split: test}, again: {metric: accuracy, split: validation}}}",
        f"runs={tmp_path}",
    )
    logits = torch.nn.functional.one_hot(run.data.labels("test"), 10).float(), run.data.labels("test")
    held = Subject(None, run.data, CPU, None, tmp_path, known={"test": logits, "validation": logits})
    evaluation = Evaluation(held, run.method, {}, build.outliers(run), run.config.protocol, run.folder)
    for piece in evaluation.pieces("metrics"):
        piece.do()
    with pytest.raises(UserError, match=r"protocol\.metrics\.again gives clean_accuracy"):
        evaluation.merge()


def test_a_script_without_a_guard_is_told_to_have_one(monkeypatch):
    importable()
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(UserError, match="__main__"):
        api.run(api.plan()[0])


def test_a_run_that_is_over_needs_nothing_any_more(monkeypatch, tmp_path):
    runs = api.plan("seed=0,1", f"runs={tmp_path}")
    asked = []
    monkeypatch.setattr(verb, "ready_to_judge", lambda runs: asked.extend(run.config.seed for run in runs))
    monkeypatch.setattr(verb, "launch", lambda runs, show: 0)
    monkeypatch.setattr(Run, "state", property(lambda run: "done" if run.config.seed == 0 else "new"))
    assert verb.run_all(runs) == 0
    assert asked == [1]


def test_images_of_the_wrong_size_are_named(digits):
    class Larger(Digits):
        def view(self, split, branch):
            return TensorView(torch.zeros(3, 1, 9, 9), torch.zeros(3, dtype=torch.long))

    with pytest.raises(UserError, match=r"test images should be 1x8x8 .* but are 1x9x9"):
        Subject(None, Larger(), CPU, None, None).images("test", [0, 1])


def test_a_cache_that_cannot_be_written_to_is_named(digits, tmp_path):
    (tmp_path / "cache").write_text("a file in the folder's place")  # root may write to any folder
    with pytest.raises(UserError, match=r"cache.* cannot be written .*choose another place"):
        reference(Subject(None, digits, CPU, None, tmp_path).features("digits"), digits, "train", tmp_path / "cache")


def test_a_damaged_reference_is_named_and_computed_again(digits, tmp_path, caplog):
    features = Subject(None, digits, CPU, None, tmp_path).features("digits")
    reference(features, digits, "train", tmp_path)
    (path,) = tmp_path.glob("reference-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    reference(features, digits, "train", tmp_path)
    assert path.read_bytes() == whole
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize("moment", ["begin", "write"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, moment):
    path = tmp_path / "part.json"
    write_json(path, "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr({"begin": "pathlib.Path.touch", "write": "os.fsync"}[moment], full)
    with pytest.raises(UserError, match=r"part\.json cannot be written \(No space left on device\)"):
        write_json(path, "new")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["part.json"]
    assert path.read_text() == '"old"\n'


def test_another_fault_while_writing_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "file"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def limited(size: int, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with a limit on the size of files, so that writing fails as on a full disk."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments, "tracking=sqlite:////dev/null/nowhere"],
        cwd=folder,
        text=True,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)),
    )


def test_a_run_that_cannot_write_says_so_and_goes_on_when_it_can(type_, tmp_path):
    arguments = bare("standard", steps=10, keep=("fidelity",))
    found = limited(60_000, *arguments, folder=tmp_path)  # enough for the net's weights, but not for the extractor's
    assert found.returncode == 1, found.stderr
    assert "cannot be written" in found.stdout and "the same command continues" in found.stdout
    assert "Traceback" not in found.stdout + found.stderr
    assert not [path for path in tmp_path.rglob(".*.safetensors") if path.is_file()], "no incomplete file may remain"
    status, out, err = type_(*arguments, "retry=true")
    assert status == 0, out + err
    (path,) = tmp_path.glob("runs/*/record.json")
    assert record.read(path).state == "done"
