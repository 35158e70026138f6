"""A run whose validation accuracy fell to chance and stayed there ends as collapsed, and is not attacked."""

import pytest
import torch
from commandline import bare

import harness
from harness.core.errors import Collapsed, UserError
from harness.core.method import Loss, Stage
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.walk import cross_entropy
from harness.methods.standard import Classify
from harness.runs import record
from harness.runs.build import stage_inputs
from harness.runs.execute import execute
from harness.runs.progress import Watch
from harness.runs.run import load
from harness.training.batches import StageInputs
from harness.training.loop import train
from harness.training.monitors import Monitors

CPU = torch.device("cpu")
HIGH, LOW = 0.9, 0.1
# 180 validation images of ten classes: 0.1 + 3 √(0.1 · 0.9 / 180) = 0.1671, that is 30 images of 180.
AT_CHANCE, ABOVE = 30 / 180, 31 / 180


@settings
class Forgetting(Stage):
    """Learns to classify for `learning` steps, and then to give all images the same logits."""

    training: Training
    learning: int
    streams = ("labelled",)

    def state(self, data, rng):
        return {"step": torch.tensor(0)}

    def loss(self, model, batch, state, shard):
        state["step"] += 1
        logits = model(batch.images["labelled"])
        if int(state["step"]) <= self.learning:
            return Loss({"loss": cross_entropy(batch.labels["labelled"])(logits).mean()})
        return Loss({"loss": cross_entropy(torch.zeros_like(batch.labels["labelled"]))(logits).mean()})


@settings
class Unlabelled(Classify):
    """A stage that sees no labels, so that its accuracy says nothing."""

    streams = ("real",)


def check(digits, stage, accuracies):
    Monitors(stage, StageInputs(digits, None, ("test",), CPU), 100, 1, accuracies).check()


@pytest.mark.parametrize(
    "accuracies",
    [
        [HIGH, LOW, LOW, LOW],
        [LOW, ABOVE, AT_CHANCE, LOW, 0.0],
        [LOW, HIGH, LOW, HIGH, HIGH, LOW, LOW, AT_CHANCE],
    ],
)
def test_three_measurements_at_chance_after_one_above_it_are_a_collapse(digits, training, accuracies):
    with pytest.raises(Collapsed, match="chance"):
        check(digits, Classify(training(4)), accuracies)
    check(digits, Classify(training(4)), accuracies[:-1])
    check(digits, Classify(training(4, collapse=None)), accuracies)
    check(digits, Classify(training(4, collapse=4)), accuracies)
    check(digits, Unlabelled(training(4)), accuracies)


@pytest.mark.parametrize(
    "accuracies",
    [[], [LOW], [LOW] * 9, [LOW, AT_CHANCE, LOW, LOW, LOW], [HIGH, LOW, ABOVE, LOW, LOW], [HIGH] * 5 + [LOW] * 2],
)
def test_what_never_learned_or_came_back_has_not_collapsed(digits, training, accuracies):
    check(digits, Classify(training(4)), accuracies)


@pytest.mark.parametrize("collapse", [0, 2, -1])
def test_so_few_measurements_say_too_little(training, collapse):
    with pytest.raises(ValueError, match="3 or more, or null"):
        training(4, collapse=collapse)


def test_a_net_that_forgets_is_stopped(digits, digits_net, training, tmp_path):
    def run(folder, **changes):
        stage = Forgetting(training(400, lr=0.05, ema=None, **changes), learning=150)
        train(stage, digits_net(), StageInputs(digits, None, ("test",), CPU), tmp_path / folder, 1e9, lambda _: None)

    with pytest.raises(Collapsed, match=r"fell from \d\d\.\d % to chance \(at most 16\.7 % of 180 images\)"):
        run("stopped")
    assert not (tmp_path / "stopped" / "done.json").exists()
    run("allowed", collapse=None)
    assert (tmp_path / "allowed" / "done.json").exists()


@pytest.fixture
def falling(monkeypatch):
    """Accuracies as measured: of trained weights above chance, and then at it."""
    monkeypatch.setattr(Monitors, "_figures", lambda self, model: {"validation_accuracy": 0.1})
    monkeypatch.setattr(
        Monitors, "measure", lambda self, model: self.accuracies.append([HIGH, LOW][len(self.accuracies) > 0]) or {}
    )


def test_the_run_ends_as_collapsed_and_tables_show_it(falling, tmp_path, type_):
    overrides = [*bare("standard", steps=8), f"runs={tmp_path}"]
    status, out, err = type_(*overrides)
    assert status == 0, out + err
    (path,) = tmp_path.glob("*/record.json")
    found = record.read(path)
    assert found.state == "collapsed" and found.reason.startswith(
        "stage classify: validation accuracy fell from 90.0 %"
    )
    assert not found.scores and not list(path.parent.glob("samples/*")), "it must be neither attacked nor sampled"
    assert "collapsed" in out and found.reason[:40] in out
    status, out, _ = type_("status", f"runs={tmp_path}")
    assert status == 0 and "collapsed" in out and found.reason[:20] in out
    run = load(path.parent)
    assert execute(run, Watch()) == found
    with pytest.raises(UserError, match="collapsed"):
        harness.load(path.parent)
    # Another run of the same stage ends so too, without training.
    (other,) = harness.plan(*overrides, "method.sampler.steps=3")
    again = harness.run(other)
    assert (again.state, again.reason) == (found.state, found.reason)


def test_the_rule_can_be_switched_off_and_its_default_is_in_no_name(falling, tmp_path):
    overrides = [*bare("standard", steps=8), f"runs={tmp_path}"]
    (on,), (spelled,), (off,) = (
        harness.plan(*overrides, *more)
        for more in ([], ["method.classify.training.collapse=3"], ["method.classify.training.collapse=null"])
    )
    assert on.fingerprint == spelled.fingerprint != off.fingerprint
    assert harness.run(off).state == "done"


def test_a_second_stage_begins_from_what_the_first_has_learned(digits, digits_net, training, tmp_path):
    (run,) = harness.plan(*bare("atjem", steps=8), f"runs={tmp_path}")
    stage_runs = run.stage_runs
    trained = [stage_inputs(run, s.name, s.stage, CPU, "weights" if s.parent else "").trained for s in stage_runs]
    assert trained == [False, True]

    # Weights that are good at first and spoilt by the first step are a fall, too.
    def continued(stage, folder, **fields):
        train(stage, net, StageInputs(digits, None, ("test",), CPU, **fields), tmp_path / folder, 1e9, lambda _: None)

    net = digits_net()
    continued(Classify(training(150, lr=0.05, ema=None)), "learned")
    with pytest.raises(Collapsed):
        continued(Classify(training(12, lr=3000.0, ema=None, bound=1e30)), "spoilt", trained=True)
