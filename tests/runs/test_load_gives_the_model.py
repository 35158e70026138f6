"""harness.load gives one model for a run's folder and its checkpoint; it samples as evaluations do, and explains."""

import re

import pytest
import torch
from commandline import quick

import harness
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.evaluation.counterfactual import counterfactuals
from harness.evaluation.samples import eight_bits
from harness.runs import build
from harness.runs.build import last_stage
from harness.runs.execute import train_stage
from harness.runs.progress import Watch

CPU = torch.device("cpu")
DATA = ("data.test=20", "data.validation=70", "model.width=4", "outliers.count=200")


def trained(folder, method):
    """A run whose stages are trained, but which is not evaluated."""
    (run,) = harness.plan(*quick(method, steps=8), "protocol.selection.factors=[0.5,1]", f"runs={folder}")
    run.freeze()
    for stage in run.stage_runs:
        train_stage(run, stage, Watch())
    return run


@pytest.fixture(scope="module", params=["atjem", "jem"])
def done(request, tmp_path_factory):
    """A trained run and its samples; no metric is evaluated."""
    run = trained(tmp_path_factory.mktemp("load"), request.param)
    evaluation = build.evaluation(run, CPU)
    for phase in ("selection", "samples"):
        for piece in evaluation.pieces(phase):
            piece.do()
        evaluation.finish(phase)
    return run, torch.cat(list(evaluation.subject.samples))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("load"), "at")


def test_a_folder_and_its_checkpoint_give_the_same_logits(run):
    of_folder = harness.load(run.folder)
    of_file = harness.load(last_stage(run).folder / "weights.safetensors", *DATA)
    images, _ = run.data.tensors("test")
    assert isinstance(of_folder, EnergyModel) and not of_folder.training and not of_file.training
    assert torch.equal(of_folder(images), of_file(images))
    assert torch.equal(of_folder.energy(images), of_file.energy(images))


def test_its_samples_are_the_evaluations(done):
    run, stored = done
    assert (run.folder / "selection.json").exists()
    samples = harness.load(run.folder).sample(len(stored))
    assert samples.dtype == torch.float32 and samples.min() >= 0 and samples.max() <= 1
    assert torch.equal(eight_bits(samples), stored)


def test_a_sample_depends_on_its_class_seed_and_number_alone(done):
    run, _ = done
    model = harness.load(run.folder)
    few, more = model.sample(3, classes=[4], steps=5), model.sample(6, classes=[4, 4], steps=5)
    torch.testing.assert_close(few, more[:3], rtol=0, atol=1e-5)
    assert not torch.equal(few, model.sample(3, classes=[4], steps=2))
    if run.config.method["name"] == "jem":
        assert not torch.equal(few, model.sample(3, classes=[4], steps=5, seed=1)), "another seed must give other noise"
    else:
        assert not torch.equal(few, model.sample(3, classes=[7], steps=5))
        mixed = model.sample(4, classes=[4, 7], steps=5)
        torch.testing.assert_close(mixed[[0, 2]], more[[0, 2]], rtol=0, atol=1e-5)


def test_the_steps_are_the_chosen_ones(done):
    run, stored = done
    chosen = int(build.evaluation(run, CPU).selections()["sampler: number of steps"].by.rpartition(": ")[2].split()[0])
    model = harness.load(run.folder)
    assert model.sampler(None).sampler.steps == chosen
    assert torch.equal(eight_bits(model.sample(len(stored), steps=chosen)), stored)


def test_it_explains_images(run):
    model = harness.load(run.folder)
    images, _ = run.data.tensors("test")
    found = model.explain(images[:4], target=3, eps=1.5, steps=10)
    expected = counterfactuals(model, images[:4], torch.full((4,), 3), 1.5, 10)
    assert torch.equal(found.images, expected.images) and torch.equal(found.after, expected.after)
    assert (found.after > found.before).all() and (found.distance <= 1.5 + 1e-5).all()
    each = model.explain(images[:4], target=torch.tensor([3, 3, 3, 5]), eps=1.5, steps=10)
    torch.testing.assert_close(each.images[:3], found.images[:3])
    assert not torch.equal(each.images[3], found.images[3])


def test_classes_are_found_by_name_or_number(run):
    class Named(type(run.data)):
        classes = ("tench, Tinca tinca", "Goldfish", *"23456789")

    model = harness.load(run.folder)
    assert model.label("7") == 7
    model.run.__dict__["data"] = Named()
    assert [model.label(word) for word in ("tench", "Tench, tinca Tinca", "goldfish", "0", "9")] == [0, 0, 1, 0, 9]
    with pytest.raises(UserError, match=r"no class 'goldfisch'. Did you mean Goldfish.*0 … 9"):
        model.label("goldfisch")
    with pytest.raises(UserError, match="no class '10'"):
        model.label("10")


@pytest.mark.parametrize(("n", "classes"), [(0, None), (3, []), (3, [10]), (3, [-1])])
def test_samples_of_nothing_are_refused(run, n, classes):
    with pytest.raises(UserError, match=r"n must be 1 or more, and classes must be from 0 to 9"):
        harness.load(run.folder).sample(n, classes)


def test_what_cannot_be_loaded_is_explained(run, tmp_path):
    with pytest.raises(UserError, match=r"method=… cannot be changed in .*frozen"):
        harness.load(run.folder, "method=atjem")
    weights = last_stage(run).folder / "weights.safetensors"
    with pytest.raises(UserError, match="does not fit"):
        harness.load(weights, *DATA, "model.width=8")
    with pytest.raises(UserError, match="method=at would continue training"):
        harness.load(weights, *DATA, "method=at")
    (untrained,) = harness.plan(*quick("at"), f"runs={tmp_path}")
    untrained.freeze()
    with pytest.raises(UserError, match=rf"not trained yet.*stage robust.*: {re.escape(untrained.config.command)}"):
        harness.load(untrained.folder)
    last_stage(untrained).folder.mkdir(parents=True)
    (last_stage(untrained).folder / "diverged.json").write_text('"loss"')
    with pytest.raises(UserError, match="diverged"):
        harness.load(untrained.folder)
