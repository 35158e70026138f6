"""A run that would compute in bf16 on a CPU that is slow at it says so in one line, with a measured factor."""

import pytest
import torch
from commandline import quick

import harness
from harness.launch import preflight
from harness.launch.preflight import bf16_slowdown, slow_precision


def planned(*overrides):
    (run,) = harness.plan("method=atjem", *overrides)
    return run


@pytest.mark.parametrize(
    ("overrides", "factor", "told"),
    [
        (["precision=bf16"], 9.84, True),
        (["precision=bf16"], 1.4, False),
        (["precision=bf16"], 0.5, False),
        (["walk_precision=bf16"], 2.0, True),
        (["precision=bf16", "walk_precision=fp32"], 2.0, True),
        (["method.joint.contrast.walk.precision=bf16"], 2.0, True),
    ],
)
def test_it_is_told_if_bf16_takes_clearly_longer(overrides, factor, told):
    lines = slow_precision([planned(*overrides), planned(*overrides, "seed=1")], lambda: factor)
    assert len(lines) == told
    if told:
        assert f"{factor:.1f} times as long" in lines[0] and "precision=fp32" in lines[0] and "\n" not in lines[0]


def refuse():
    raise AssertionError("nothing is to be measured")


def test_nothing_is_measured_where_it_does_not_matter(tmp_path):
    assert slow_precision([planned(), planned("precision=tf32")], refuse) == []
    assert slow_precision([], refuse) == []
    assert slow_precision([planned("precision=bf16", "launcher=slurm")], refuse) == []
    run = planned("precision=bf16", f"runs={tmp_path}")
    for stage_run in run.stage_runs:
        stage_run.folder.mkdir(parents=True)
        (stage_run.folder / "done.json").touch()
    assert slow_precision([run], refuse) == []


def test_a_gpu_is_not_warned_of(monkeypatch):
    run = planned("precision=bf16")
    monkeypatch.setattr(preflight, "choose_device", lambda name: torch.device("cuda"))
    assert slow_precision([run], refuse) == []


def test_the_command_says_it_before_the_run_begins(type_, monkeypatch):
    monkeypatch.setattr(preflight, "bf16_slowdown", lambda: 9.84)
    monkeypatch.setattr("harness.cli.run.launch", lambda runs, show: 0)
    status, out, err = type_(*quick("at"), "precision=bf16")
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if "9.8 times" in line]
    assert out.index(line) < out.index("1 run")
    status, out, _ = type_(*quick("at"))
    assert status == 0 and "times as long" not in out


def test_a_run_from_python_warns_of_it_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "bf16_slowdown", lambda: 9.84)
    monkeypatch.setattr("harness.runs.execute.execute", lambda run, watch: "its record")
    run = planned("precision=bf16", "tracking=off", f"runs={tmp_path}")
    with pytest.warns(UserWarning, match=r"9\.8 times as long"):
        assert harness.run(run, progress=False) == "its record"


def test_the_factor_is_that_of_the_clock(monkeypatch):
    """With a clock that runs four times as fast in bf16, the factor is four, and no random number is drawn."""
    now = [0.0]

    def clock():
        now[0] += 0.4 if torch.is_autocast_enabled("cpu") else 0.1
        return now[0]

    monkeypatch.setattr(preflight.time, "perf_counter", clock)
    before = torch.get_rng_state()
    assert bf16_slowdown() == pytest.approx(4)
    assert torch.equal(torch.get_rng_state(), before)
