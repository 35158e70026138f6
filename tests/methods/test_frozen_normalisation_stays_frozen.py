"""In the second stage running statistics stay bit-identical, γ and β are trained, and both modes give the same."""

import pytest
import torch

from harness.core.method import Batch
from harness.core.shard import Shard
from harness.core.walk import Walk
from harness.methods.atjem import Contrast, Joint

STEPS = 5


def joint(training, **changes):
    contrast = Contrast(Walk(steps=2, step=0.1), curriculum=None)
    return Joint(contrast, Walk(steps=2, step=0.1, eps=0.5), training(STEPS, lr=0.01, **changes))


def settled(digits_net, digits):
    """A net whose running statistics come from data, as they do after the first stage."""
    model = digits_net().train()
    with torch.no_grad():
        model(digits.tensors("train")[0][:64])
    return model


def statistics(model):
    return {name: b.clone() for name, b in model.named_buffers() if "running" in name or "tracked" in name}


def affine(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if "norm" in name}


def trained(stage, model, loop):
    one = loop(stage, model)
    for step, batch in one.batches():
        one(step, batch)
    return one


def test_steps_leave_the_statistics_bit_identical_and_train_the_affine_part(digits_net, digits, training, loop):
    model = settled(digits_net, digits)
    before, affine_before = statistics(model), affine(model)
    one = trained(joint(training, freeze_norm=True), model, loop)
    for of in (model, one.result()):
        assert len(statistics(of)) == 12
        assert all(torch.equal(value, before[name]) for name, value in statistics(of).items())
        assert all(not torch.equal(value, affine_before[name]) for name, value in affine(of).items())


def test_without_freezing_the_statistics_move(digits_net, digits, training, loop):
    model = settled(digits_net, digits)
    before = statistics(model)
    one = trained(joint(training, freeze_norm=False), model, loop)
    for of in (model, one.result()):
        assert all(not torch.equal(value, before[name]) for name, value in statistics(of).items())


@pytest.mark.parametrize("frozen", [True, False])
def test_training_and_evaluation_logits_are_alike_exactly_where_frozen(digits_net, digits, training, loop, frozen):
    model = settled(digits_net, digits)
    trained(joint(training, freeze_norm=frozen), model, loop)
    images = digits.tensors("test")[0][:16]
    with torch.no_grad():
        in_evaluation, in_training = model.eval()(images), model.train()(images)
    assert torch.equal(in_evaluation, in_training) == frozen


def test_freezing_survives_every_change_of_mode(digits_net):
    model = digits_net()
    model.freeze_norm = True
    for module in (model.train(), model.eval().train(), model.train(True)):
        assert module.training
        assert module.net.conv0.training
        assert not any(m.training for name, m in module.named_modules() if "norm" in name)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("labels", ["paired", "random"])
def test_making_contrastive_images_leaves_the_statistics_alone_even_where_they_are_learned(digits_net, digits, labels):
    model = settled(digits_net, digits).train()
    before = statistics(model)
    images, y = digits.tensors("train")
    batch = Batch({"real": images[:8], "outliers": images[8:16]}, {"real": y[:8]})
    contrast = Contrast(Walk(steps=2, step=0.1), curriculum=None, labels=labels)
    contrast.images(model, batch, contrast.state(8), Shard(torch.Generator().manual_seed(0)))
    assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
