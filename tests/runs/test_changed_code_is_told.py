"""Code that changes is told: nothing old passes for new, and nothing that moves no number costs a run.

The commands run on a checkout of their own, a small git repository that the tests edit.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from commandline import bare

from harness.core.files import read_json
from harness.launch.snapshot import environment, snapshot
from harness.runs import record
from harness.runs.origin import NOTE

STANDARD = [*bare("standard", 6, ("calibration",)), "checkpoint_seconds=0"]


class Checkout:
    """A git repository with the harness, and a folder in which commands are typed."""

    def __init__(self, folder):
        self.code, self.folder = folder / "code", folder / "work"
        shutil.copytree(snapshot(folder / "scratch"), self.code)
        (self.code / NOTE).unlink()
        self.git("init", "-q")
        self.commit()
        self.folder.mkdir()

    def git(self, *words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", self.code, *who, *words], check=True, capture_output=True)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "x")

    def edit(self, module, old, new):
        path = self.code / "harness" / module
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def start(self, *words):
        variables = {**os.environ, **environment(self.code)}
        command = [sys.executable, "-m", "harness", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=variables, text=True, stdout=pipe, stderr=pipe)

    def type(self, *words, status=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, out + err
        return out + err

    def record(self, name="*"):
        (path,) = self.folder.glob(f"runs/{name}/record.json")
        return record.read(path)

    def stage(self, name="*"):
        (path,) = self.folder.glob(f"runs/stages/{name}/done.json")
        return read_json(path)


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkout in which a small run of standard training is done."""
    checkout = Checkout(tmp_path_factory.mktemp("trained"))
    checkout.type(*STANDARD)
    return checkout


@pytest.fixture
def done(trained, tmp_path):
    """A copy of it that a test may change."""
    copy = object.__new__(Checkout)
    copy.code, copy.folder = tmp_path / "code", tmp_path / "work"
    shutil.copytree(trained.code, copy.code)
    shutil.copytree(trained.folder, copy.folder)
    return copy


def test_doubled_logits_are_told_and_redo_makes_the_run_again(done):
    """The story of a developer: the method changes, the command is the same."""
    before = done.record()
    done.edit(
        "methods/standard.py",
        'logits = model(batch.images["labelled"])',
        'logits = 2 * model(batch.images["labelled"])',
    )
    told = done.type(*STANDARD)
    assert "it is out of date: stage classify (methods/standard.py changed)" in told and "redo=true" in told
    assert done.record() == before, "nothing is made again unless asked"
    done.type(*STANDARD, "redo=true")
    after = done.record()
    assert after.scores["ece"].value != before.scores["ece"].value
    (kept,) = done.folder.glob("runs/standard*/before/1/record.json")
    assert record.read(kept) == before
    assert "it is out of date" not in done.type(*STANDARD)


def test_comments_docstrings_and_layout_change_nothing(done):
    for module in ("methods/standard.py", "core/walk.py", "evaluation/metrics/accuracy.py"):
        path = done.code / "harness" / module
        text = path.read_text().replace('"""', '"""Said otherwise. ', 1)
        path.write_text("# a comment\n\n" + text + "\n\n")
    assert "it is out of date" not in done.type(*STANDARD)


def test_a_changed_metric_costs_its_scores_alone(done):
    before, stage = done.record(), done.stage()
    done.edit(
        "evaluation/metrics/calibration.py", "def merge(self, subject: Subject", "def merge(self, subject: 'Subject'"
    )
    told = done.type(*STANDARD)
    assert "metric calibration (harness/evaluation/metrics/calibration.py changed)" in told
    assert "stage" not in told.partition("redo=true")[0] and "metric accuracy" not in told
    times = {path: path.stat().st_mtime_ns for path in done.folder.glob("runs/*/parts/accuracy/*")}
    done.type(*STANDARD, "redo=true")
    assert {path: path.stat().st_mtime_ns for path in times} == times and times
    assert len(list(done.folder.glob("runs/*/before/1/parts/calibration/*"))) == 1
    assert done.stage() == stage and done.record().scores == before.scores


def test_an_engine_that_is_committed_answers_by_numerics_and_one_that_is_edited_is_told(done):
    done.edit("core/walk.py", "x, centre = start.detach().clone()", "x, centre = start.clone().detach()")
    told = done.type(*STANDARD)
    assert "harness/core/walk.py changed" in told
    done.commit()
    assert "it is out of date" not in done.type(*STANDARD)


def test_an_interrupted_run_of_other_code_is_refused_with_both_ways_out(checkout):
    long = [word.replace(f"epochs={6 * 16 / 1707}", "epochs=4") for word in STANDARD]
    process = checkout.start(*long)
    while not list(checkout.folder.glob("runs/stages/*/checkpoints/[0-9]*.pt")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    checkout.edit(
        "methods/standard.py", '{"ce": cross_entropy(y)(logits).mean()}', '{"ce": 0 * cross_entropy(y)(logits).mean()}'
    )
    before = {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
    told = checkout.type(*long, status=2)
    assert "methods/standard.py changed" in told and "redo=true" in told and "mixed=true" in told
    assert {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()} == before

    checkout.type(*long, "mixed=true")
    assert checkout.record().mixed == ["harness.methods.standard"]
    assert len(checkout.stage()["codes"]) == 2
    checkout.type("report")
    page = (checkout.folder / "reports" / "LEADERBOARD.md").read_text()
    assert "**Not ranked**" in page and page.count(") †") == 1
    (details,) = (checkout.folder / "reports" / "pages").glob("*.md")
    assert "made by mixed code: methods/standard.py changed during the run: not ranked" in details.read_text()

    checkout.type(*long, "redo=true")
    assert checkout.record().mixed == [] and len(checkout.stage()["codes"]) == 1
    checkout.type("report")
    assert "**Not ranked**" not in (checkout.folder / "reports" / "LEADERBOARD.md").read_text()


def test_a_shared_stage_that_is_redone_leaves_the_other_run_out_of_date(checkout):
    two = bare("atjem", 4)
    one = bare("at", 4)
    checkout.type(*two)
    checkout.type(*one)
    shared = checkout.stage("robust-*")["weights"]
    assert checkout.record("at-*").cost.stages[0].weights == shared == checkout.record("atjem-*").cost.stages[0].weights
    checkout.edit(
        "methods/at.py", '{"ce": cross_entropy(y)(logits).mean()}', '{"ce": 2 * cross_entropy(y)(logits).mean()}'
    )
    checkout.type(*one, "redo=true")
    assert checkout.record("at-*").cost.stages[0].weights != shared
    told = checkout.type(*two)
    assert "stage joint (methods/at.py changed)" in told and "stage robust" not in told.partition("stage joint")[0]
    checkout.type("report")
    page = (checkout.folder / "reports" / "LEADERBOARD.md").read_text()
    ranked, _, unranked = page.partition("**Not ranked**")
    assert "| AT " in ranked and "| AT-JEM (DAT) " in unranked and "| AT " not in unranked
    (details,) = (checkout.folder / "reports" / "pages").glob("*.md")
    assert "out of date: its stage robust was trained again since: not ranked" in details.read_text()


def test_a_file_that_git_does_not_track_makes_the_run_dirty_and_is_kept(checkout):
    text = (checkout.code / "harness/methods/standard.py").read_text().replace("class Standard(", "class Mine(")
    (checkout.code / "harness/methods/mine.py").write_text(text)
    config = (checkout.code / "harness/configs/method/standard.yaml").read_text().replace("standard", "mine")
    (checkout.code / "harness/configs/method/mine.yaml").write_text(config)
    checkout.type(*(word.replace("method=standard", "method=mine") for word in STANDARD))
    assert checkout.record().origin.dirty
    (diff,) = checkout.folder.glob("runs/mine-*/uncommitted.diff")
    assert "+class Mine(" in diff.read_text()


def test_an_installed_package_says_its_version_even_inside_a_checkout_of_something_else(tmp_path):
    package = tmp_path / "project" / "site-packages"
    shutil.copytree(snapshot(tmp_path / "scratch"), package)
    (package / NOTE).unlink()
    project = tmp_path / "project"
    (project / "theirs.py").write_text("")
    for words in (
        ["init", "-q"],
        ["add", "theirs.py"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", project, *words], check=True, capture_output=True)
    script = (
        "import json, torch; from harness.runs.origin import origin, uncommitted_diff\n"
        "found = origin('x', torch.device('cpu')); print(json.dumps([found.commit, found.dirty]))"
    )
    variables = {**os.environ, **environment(package)}
    done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, cwd=tmp_path)
    commit, dirty = json.loads(done.stdout)
    assert commit.startswith("version ") and not dirty
