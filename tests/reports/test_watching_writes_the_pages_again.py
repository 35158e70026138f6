"""`report watch=SECONDS` writes the pages again when a run changes, not else; meanwhile the page reloads itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import finish, make, scores

from harness.cli.main import command
from harness.core.errors import UserError
from harness.core.files import write_text
from harness.reports import leaderboard


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """A function that lets things happen while the watch sleeps, one after the other, then presses Ctrl-C."""

    def plan(*events: Callable[[], object]) -> list[float]:
        slept, coming = list[float](), iter(events)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            event = next(coming, None)
            if event is None:
                raise KeyboardInterrupt
            event()

        monkeypatch.setattr(leaderboard.time, "sleep", sleep)
        monkeypatch.setattr(leaderboard, "figures", lambda *_: [])
        return slept

    return plan


def test_a_record_a_failure_and_a_new_run_are_seen_and_nothing_else(tmp_path: Path, pause: Callable) -> None:
    finish(make(tmp_path, 0), scores(50, 2.0, 1.0))
    queued = make(tmp_path, 1)
    slept = pause(
        lambda: None,
        queued.freeze,
        lambda: write_text(queued.folder / "metrics.jsonl", ""),
        lambda: write_text(queued.folder / "failure.md", "# Failed\n\nout of memory\n"),
        lambda: finish(make(tmp_path, 2), scores(60, 2.0, 1.0)),
    )
    states, pages = [], []
    with pytest.raises(KeyboardInterrupt):
        for report in leaderboard.watch(queued.config, 7):
            states.append([run.state for run in report.sections[0].runs])
            pages.append(report.page.with_name("leaderboard.html").read_text(encoding="utf-8"))
    assert states == [["done"], ["done", "queued"], ["done", "failed"], ["done", "failed", "done"]]
    assert slept == [7] * 6
    assert all('name="reload" value="7" checked' in page for page in pages)
    left = (tmp_path / "reports" / "leaderboard.html").read_text(encoding="utf-8")
    assert 'name="reload"' not in left and left.count("<tr") == pages[-1].count("<tr"), "only the reloading ends"


def test_an_unreadable_run_does_not_end_it(tmp_path: Path, pause: Callable) -> None:
    run = finish(make(tmp_path, 0), scores(50, 2.0, 1.0))
    other = make(tmp_path, 1)
    other.freeze()
    pause(lambda: write_text(other.folder / "record.json", "{"))
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(len(report.faults) for report in leaderboard.watch(run.config, 1))
    assert found == [0, 1]


def test_the_command_ends_with_ctrl_c_as_if_all_was_well(
    tmp_path: Path, pause: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(make(tmp_path, 0), scores(50, 2.0, 1.0))
    pause()
    assert command(["report", "watch=3", f"runs={run.config.runs}", f"reports={run.config.reports}"]) == 0
    assert "Looking for changes every 3 s; Ctrl-C ends it." in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["watch=-1"], ["watch=often"], ["watch=5", "source=mlflow"]])
def test_what_cannot_be_watched_is_refused(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(UserError, match="watch"):
        command(["report", *wrong, f"runs={tmp_path}"])
