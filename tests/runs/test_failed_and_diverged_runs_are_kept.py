"""An error leaves failure.md and the run waits for retry=true; divergence is a result; neither stops other runs."""

import pytest
from commandline import quick
from markdown_it import MarkdownIt

import harness
from harness.core.errors import UserError
from harness.launch.launchers import launch
from harness.launch.show import Show
from harness.methods.at import Robust
from harness.runs.failure import RunFailed, write_failure
from harness.runs.folder import failure_reason


@pytest.fixture
def run(tmp_path):
    (found,) = harness.plan(*quick("at", steps=4), f"runs={tmp_path}", f"tracking=sqlite:///{tmp_path}/mlflow.db")
    return found


def test_a_fault_is_written_down_and_retried_when_asked(run, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Robust, "loss", lambda *arguments: 1 / 0)
        with pytest.raises(RunFailed, match="ZeroDivisionError"):
            harness.run(run)
    assert run.state == "failed"
    text = (run.folder / "failure.md").read_text()
    assert "ZeroDivisionError" in text and "retry=true" in text

    assert launch([run], Show()) == 1  # the failed run is skipped, and the exit status says so
    assert run.state == "failed"
    (again,) = harness.plan(*quick("at", steps=4), f"runs={run.root}", "retry=true")
    assert launch([again], Show()) == 0
    assert again.state == "done" and not (run.folder / "failure.md").exists()


def test_what_failure_md_quotes_of_others_is_code_on_any_page(run):
    nasty = "a `b` <script>\n# c | d\n```\n![e](f)\x1b[31m"
    run.freeze()
    write_failure(run, UserError(nasty))
    text = (run.folder / "failure.md").read_text(encoding="utf-8")
    assert failure_reason(run.folder) == "a `b` <script>"
    tokens = MarkdownIt().parse(text)
    kinds = [token.type for token in tokens if token.type.endswith("_open") or token.type in ("code_block", "fence")]
    assert kinds == ["heading_open", "code_block", "paragraph_open", "fence", "paragraph_open", "code_block"]
    assert "\x1b" not in text and tokens[3].content == nasty.replace("\x1b", "␛") + "\n"
    assert tokens[-1].content == f"{run.config.command}\n"


def test_a_failed_run_does_not_stop_the_next(tmp_path, monkeypatch):
    runs = harness.plan(*quick("at", steps=4), "seed=0,1", f"runs={tmp_path}")
    sound = Robust.loss

    def fails_once(self, model, *rest):
        if runs[0].state == "running":
            raise RuntimeError("only the first")
        return sound(self, model, *rest)

    monkeypatch.setattr(Robust, "loss", fails_once)
    assert launch(runs, Show()) == 1
    assert [run.state for run in runs] == ["failed", "done"]


def test_divergence_is_recorded_once_and_for_all_that_share_the_stage(tmp_path, monkeypatch):
    overrides = [*quick("at", steps=8), f"runs={tmp_path}", "method.robust.training.lr=1e30"]
    (run,) = harness.plan(*overrides)
    record = harness.run(run)
    assert record.state == run.state == "diverged"
    assert "stage robust" in record.reason and not record.scores
    assert harness.run(run) == record
    monkeypatch.setattr(Robust, "loss", lambda *arguments: pytest.fail("the stage was trained again"))
    (other,) = harness.plan(*overrides, "method.sampler.steps=3")
    assert harness.run(other).reason == record.reason
