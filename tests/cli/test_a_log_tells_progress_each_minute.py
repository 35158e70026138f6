"""Where the output is no terminal, a line a minute tells of each run: step, rate and time left."""

from types import SimpleNamespace

import pytest
from recorded import make

from harness.cli import bars
from harness.cli.bars import Reporter, Terminal
from harness.launch.show import Lines
from harness.launch.status import StatusRow


@pytest.fixture
def clock():
    """A clock that stands still until `clock.now` is changed."""
    return type("Clock", (SimpleNamespace,), {"__call__": lambda self: self.now})(now=0.0)


def train(lines: Lines, run, done: int, total: int = 600) -> None:
    lines.training(run, "robust", SimpleNamespace(step=done, steps=total, figures={"ce": 0.3125}))


def test_a_run_in_this_process_tells_its_step_rate_and_time_left_once_a_minute(tmp_path, clock, capsys):
    run, lines = make(tmp_path), Lines(2, print, clock)
    for second in range(0, 130):
        clock.now = float(second)
        train(lines, run, 2 * second)
    assert capsys.readouterr().out.splitlines() == [
        f"1/2 {run.name}  train robust",
        f"1/2 {run.name}  train robust  120/600  ce 0.312  2.0/s  4 min left",
        f"1/2 {run.name}  train robust  240/600  ce 0.312  2.0/s  3 min left",
    ]


def test_each_run_and_phase_has_its_own_minute_and_rate(tmp_path, clock, capsys):
    first, second = make(tmp_path, 0), make(tmp_path, 1)
    lines = Lines(2, print, clock)
    for now, run, done in (
        (0.0, first, 0),
        (50.0, first, 100),
        (59.0, second, 300),
        (110.0, second, 320),
        (119.0, second, 330),
    ):
        clock.now = now
        train(lines, run, done)
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"2/2 {second.name}  train robust  330/600  ce 0.312  30.0/min  9 min left", "it began at step 300"


def test_an_attack_is_named(tmp_path, clock, capsys):
    run, lines = make(tmp_path), Lines(1, print, clock)
    for clock.now, words in ((0.0, ""), (30.0, "apgd-ce: 120 of 120 stand"), (61.0, "apgd-t: 66 of 120 stand")):
        lines.working(run, "robustness", 1, 3, words)
    assert capsys.readouterr().out.splitlines()[-1] == f"{run.name}  robustness  1/3  apgd-t: 66 of 120 stand"


def test_runs_in_other_processes_and_the_stages_that_they_share_tell_theirs(tmp_path, clock, capsys, monkeypatch):
    run = make(tmp_path)
    run.freeze()
    stage = StatusRow("stage robust-digits-s0-0", "running", "312/589  ce 0.3", 66.0, rate=4.2)
    monkeypatch.setattr(bars, "rows", lambda folders, jobs: [StatusRow(run.name, "queued", "waits for stage robust")])
    monkeypatch.setattr(bars, "stages", lambda root, jobs: [stage])
    reporter = Reporter([run], clock)
    for clock.now in (0.0, 59.0, 61.0, 62.0, 120.0, 122.0):
        reporter.refresh()
    line = "stage robust-digits-s0-0  312/589  ce 0.3  4.2/s  1 min 6 s left"
    assert capsys.readouterr().out.splitlines() == [f"{run.name}  queued", line, line]


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_are_for_where_there_is_no_terminal(monkeypatch, terminal):
    monkeypatch.setattr(bars.console, "_force_terminal", terminal)
    assert isinstance(Terminal().bars(2), Lines) is not terminal
