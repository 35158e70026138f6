"""plan prices the rest of a sweep from earlier runs of its kind or from a probe, and writes nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from commandline import QUICK, quick

import harness
from harness.cli.plan import prices_table
from harness.core.tensors import save_tensors
from harness.cost import disk, price
from harness.cost.disk import size
from harness.cost.price import Price, warnings
from harness.cost.probe import measure
from harness.methods.atjem import Contrast
from harness.runs import build, pace
from harness.runs.pace import Pace, Paces
from harness.training.batches import StageInputs
from harness.training.checkpoint import KEPT, save
from harness.training.step import Step

CPU = torch.device("cpu")


@pytest.fixture
def planned(tmp_path):
    """A function that plans runs with some overrides in one folder."""
    return lambda *overrides: harness.plan(f"runs={tmp_path / 'runs'}", *overrides)


def note_stage(run, index, seconds, processes=1, device=CPU):
    training = run.stage_runs[index]
    key = pace.stage_key(run, training)
    pace.note(training.folder, key, device, processes, seconds_per_step=seconds, steps=100)


def cells(prices):
    """The table as rows of strings."""
    return list(zip(*(column.cells for column in prices_table(prices).columns), strict=True))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("method.robust.training.epochs=3", True),
        ("method.robust.training.milestones=[1,2]", True),
        ("seed=7", True),
        ("protocol.samples.count=900", True),
        ("method.robust.training.batch=64", False),
        ("method.robust.attack.steps=3", False),
        ("model.width=8", False),
    ],
)
def test_a_pace_is_that_of_stages_which_differ_in_their_budget_alone(planned, override, same):
    (one,), (other,) = planned("method=at"), planned("method=at", override)
    keys = [pace.stage_key(run, run.stage_runs[0]) for run in (one, other)]
    assert (keys[0] == keys[1]) is same


def test_a_protocol_has_its_own_pace_of_evaluation(planned):
    runs = [planned("method=at", *more)[0] for more in ([], ["seed=1"], ["protocol.samples.count=900"])]
    first, of_another_seed, of_another_protocol = map(pace.evaluation_key, runs)
    assert first == of_another_seed != of_another_protocol


def test_hours_are_the_steps_left_times_the_pace(planned):
    (run,) = planned("method=at")
    note_stage(run, 0, 2.0)
    pace.note(run.folder, pace.evaluation_key(run), CPU, 1, seconds=60.0)
    (line, total) = cells([Price(run, Paces(run.root))])
    assert line[1:4] == ("19 min 38 s", "1 min", "0.34")  # 589 steps of two seconds, plus a minute
    assert total[1:4] == line[1:4]


def test_steps_that_were_logged_are_paid(planned):
    (run,) = planned("method=at")
    note_stage(run, 0, 1.0)
    (run.stage_runs[0].folder / "metrics.jsonl").write_text('{"step": 489}\n')
    assert Price(run, Paces(run.root)).stages[run.stage_runs[0].fingerprint] == 100


def test_what_is_done_costs_nothing(planned):
    (run,) = planned("method=atjem")
    note_stage(run, 1, 1.0)
    (run.stage_runs[0].folder).mkdir(parents=True)
    (run.stage_runs[0].folder / "done.json").touch()
    found = Price(run, Paces(run.root))
    assert list(found.stages.values()) == [0.0, 314.0]


def test_a_shared_stage_is_paid_once(planned):
    runs = planned("method=at,atjem")
    note_stage(runs[0], 0, 1.0)
    note_stage(runs[1], 1, 1.0)
    prices = [Price(run, Paces(run.root)) for run in runs]
    alone, both, total = cells(prices)
    assert (alone[1], both[1]) == ("9 min 49 s (shared)", "15 min 3 s (shared)")
    assert total[0] == "2 runs, shared stages once" and total[1] == "15 min 3 s"


def test_the_pace_of_another_device_is_not_taken(planned):
    (run,) = planned("method=at", "threads=1")
    path = run.stage_runs[0].folder / "pace.json"
    note_stage(run, 0, 1.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": "another"}))
    (line, _) = cells([Price(run, Paces(run.root))])
    assert line[1:4] == ("unknown", "unknown", "unknown")


def test_a_cluster_s_device_is_the_one_that_most_runs_were_on():
    paces = Paces(Path("nowhere"))
    paces.known["a"] = [Pace(1, "one"), Pace(3, "two"), Pace(5, "two")]
    assert paces.find("a", None) == Pace(4, "two")
    assert paces.find("a", "one") == Pace(1, "one")
    assert paces.find("b", None) is None


def test_processes_share_a_step_and_are_all_paid(planned):
    (run,) = planned("method=at", "launcher=slurm", "launcher.nodes=2", "launcher.gpus=4")
    note_stage(run, 0, 1.0, processes=2)
    pace.note(run.folder, pace.evaluation_key(run), CPU, 1, seconds=0.0)
    of = Price(run, Paces(run.root))
    (line, _) = cells([of])
    assert of.processes == 8
    assert line[1] == "2 min 27 s"  # 589 steps of two process-seconds each, divided by eight
    assert line[3] == "0.33"
    assert prices_table([of]).columns[3].header == "GPU hours"


def test_what_is_unknown_makes_a_sum_the_least_that_it_can_be(planned):
    (run,) = planned("method=at")
    note_stage(run, 0, 2.0)
    prices = [Price(run, Paces(run.root))]
    (line, _) = cells(prices)
    assert line[2:4] == ("unknown", "≥ 0.33")
    assert any("evaluated" in told for told in warnings(prices))


@pytest.mark.parametrize("content", ["", "[]", '{"key": "a"}', '{"key": "a", "seconds": "x", "processes": null}'])
def test_a_pace_of_another_make_tells_nothing(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pace.json").write_text(content)
    assert not any(Paces(tmp_path).known.values())


def test_a_probe_leaves_nothing_behind(type_, tmp_path):
    status, out, err = type_("plan", *quick("atjem"), "--probe")
    assert status == 0, err
    assert "thread" in out and "probe=true" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_probe_times_the_steps_that_cost_most_where_a_stage_can_tell(planned, monkeypatch):
    (run,) = planned(*quick("atjem"), "method.joint.contrast.walk.steps=40")
    robust, joint = (measure(run, training) for training in run.stage_runs)
    assert not robust.upper and joint.upper and joint.seconds > 0 and str(joint).startswith("at most")
    lengths = []
    walk = Contrast.images
    monkeypatch.setattr(Contrast, "images", lambda *given: lengths.append(int(given[3]["T"])) or walk(*given))
    measure(run, run.stage_runs[1])
    assert set(lengths) == {40}, "the walk must have its full length"


@pytest.mark.parametrize("method", ["at", "jem"])
def test_checkpoints_and_weights_are_no_larger_than_was_said(planned, tmp_path, method):
    more = [] if method == "at" else ["method.energy.training.optimizer=adam", "method.energy.training.ema=0.9"]
    (run,) = planned(f"method={method}", *QUICK, "model.width=32", *more)
    said = disk.disk(run)
    (training,) = run.stage_runs
    loop = Step(training.stage, build.untrained(run), StageInputs(run.data, None, (0,), CPU))
    for step, batch in loop.batches():
        loop(step, batch)
        break
    for step in range(KEPT + 1):
        save(tmp_path / "checkpoints", step, loop.content())
    (one, *_) = (path.stat().st_size for path in (tmp_path / "checkpoints").iterdir())
    assert (KEPT + 1) * one < 1.05 * said.meanwhile + 20_000  # names and padding of a net this small
    save_tensors(tmp_path / "weights", loop.result().state_dict())
    save_tensors(tmp_path / "state", loop.whole_state())
    kept = sum((tmp_path / name).stat().st_size for name in ("weights", "state"))
    assert kept < 1.05 * said.stages[training.fingerprint] + 5_000
    assert said.meanwhile < 5 * (KEPT + 1) * one


def test_a_disk_that_is_too_small_is_warned_of(planned, monkeypatch):
    (run,) = planned("method=at")
    prices = [Price(run, Paces(run.root))]
    assert not any("may be too small" in told for told in warnings(prices))
    monkeypatch.setattr(price, "free", lambda root: 1000)
    assert any("may be too small" in told and "1 kB free" in told for told in warnings(prices))


def test_free_space_is_asked_where_the_folder_will_be(tmp_path):
    assert disk.free(tmp_path / "not" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_sizes_are_told_in_three_digits():
    assert [size(n) for n in (12, 1234, 5.6e6, 7.8e9, 1.2e13)] == ["12 B", "1.23 kB", "5.6 MB", "7.8 GB", "12.0 TB"]
