"""JEM's replay buffer: where chains begin, where they are written back, and that a resume restores it."""

from dataclasses import replace

import pytest
import torch
from chains import STEP, flat_net, marked, rng, tilted_net
from scipy.stats import binomtest, kstest

from harness.core.random import PerImage
from harness.core.shard import Share
from harness.core.walk import Walk
from harness.methods.jem import JEM, Chains, Energy
from harness.methods.replay import kept, seen

LABELS = torch.tensor([4, 0, 2, 2, 1])


def test_restarted_chains_begin_from_uniform_noise_on_the_pixel_range():
    state = {"buffer": marked(2000)}
    x = Chains(STEP, buffer=2000, restart=1.0).draw(
        flat_net(), state, torch.zeros(2000, dtype=torch.long), 5, Share(rng())
    )
    assert kstest(x.flatten().numpy(), "uniform").pvalue > 0.01
    assert len(x.flatten(1).unique(dim=0)) == 2000, "each from noise of its own"


def test_chains_that_are_not_restarted_continue_from_the_buffer():
    state = {"buffer": marked(50)}
    x = Chains(STEP, buffer=50, restart=0.0).draw(flat_net(), state, LABELS, 5, Share(rng()))
    assert set(x.flatten().tolist()) <= set(marked(50).flatten().tolist())
    assert torch.equal(state["buffer"], marked(50)), "nothing moved, so nothing changed"


def test_the_share_of_restarts_is_the_chance_of_one():
    state = {"buffer": marked(4000)}
    x = Chains(STEP, buffer=4000, restart=0.05).draw(
        flat_net(), state, torch.zeros(4000, dtype=torch.long), 5, Share(rng())
    )
    fresh = int((x.flatten(1).amax(1) < 1).sum())
    assert binomtest(fresh, 4000, 0.05).pvalue > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_unconditional_chains_are_written_back_where_they_were_drawn_without_collision(seed):
    state = {"buffer": marked(6)}
    x = Chains(STEP, buffer=6, restart=0.0).draw(tilted_net(), state, LABELS, 5, Share(rng(seed)))
    places = (x[:, 0, 1, 1] - 10).long()
    assert len(set(places.tolist())) == 5
    expected = marked(6)
    expected[places, 0, 0, 0] += 0.5
    torch.testing.assert_close(state["buffer"], expected)
    torch.testing.assert_close(x, expected[places])


def test_restarted_chains_are_written_back_too():
    state = {"buffer": marked(5)}
    x = Chains(STEP, buffer=5, restart=1.0).draw(tilted_net(), state, LABELS, 5, Share(rng()))
    assert {tuple(i.flatten().tolist()) for i in x} == {tuple(i.flatten().tolist()) for i in state["buffer"]}


@pytest.mark.parametrize("seed", range(5))
def test_conditional_chains_stay_in_the_block_of_their_label(seed):
    state = {"buffer": marked(20)}
    x = Chains(STEP, buffer=20, restart=0.0, conditional=True).draw(tilted_net(), state, LABELS, 5, Share(rng(seed)))
    places = (x[:, 0, 1, 1] - 10).long()
    assert torch.equal(places // 4, LABELS)
    assert len(set(places.tolist())) == len(LABELS), "two chains were written to one place"
    expected = marked(20)
    expected[places, 0, 0, 0] += 0.5
    torch.testing.assert_close(state["buffer"], expected)


def test_every_place_is_drawn_sooner_or_later():
    for conditional in (False, True):
        chains = Chains(STEP, buffer=20, restart=0.0, conditional=conditional)
        places = set()
        for seed in range(80):
            x = chains.draw(flat_net(), {"buffer": marked(20)}, torch.arange(5), 5, Share(rng(seed)))
            places.update((x[:, 0, 1, 1] - 10).long().tolist())
        assert places == set(range(20))


def test_conditional_chains_climb_their_label_s_logit():
    model = flat_net()
    model.net[1].weight.data[:4] = torch.eye(4)  # logit y rises along pixel y
    state = {"buffer": torch.full((5, 1, 2, 2), 10.0)}
    x = Chains(STEP, buffer=5, restart=0.0, conditional=True).draw(model, state, torch.arange(4), 5, Share(rng()))
    torch.testing.assert_close(x.flatten(1) - 10, 0.5 * torch.eye(4))


@pytest.mark.parametrize("conditional", [False, True])
def test_samples_come_from_the_buffer_and_their_label_s_block(conditional, training):
    buffer = (torch.arange(20) / 100).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    energy = Energy(Chains(STEP, buffer=20, conditional=conditional), training(1))
    labels = torch.arange(200) % 5
    starts, rng_of_each = torch.zeros(200, 1, 2, 2), PerImage(range(200))
    x = JEM(energy, STEP).sample(flat_net(), starts, labels, {"buffer": buffer}, rng_of_each)
    places = (100 * x[:, 0, 0, 0]).round().long()
    assert torch.equal(buffer[places], x)
    assert set(places.tolist()) == set(range(20))
    assert torch.equal(places // 4, labels) == conditional


def test_the_buffer_is_at_first_uniform_noise_of_the_data_s_shape(digits, training):
    energy = Energy(Chains(STEP, buffer=100), training(1))
    first, again = energy.state(digits, rng())["buffer"], energy.state(digits, rng())["buffer"]
    assert first.shape == (100, 1, 8, 8)
    assert torch.equal(first, again)
    assert kstest(first.flatten().numpy(), "uniform").pvalue > 0.01


def test_the_buffer_is_restored_on_resume(digits_net, training, loop):
    energy = Energy(Chains(Walk(steps=2, step=0.25, direction="raw", noise=0.01, clamp=False), buffer=30), training(4))

    def begun():
        one = loop(energy, digits_net("none"))
        initial = one.state["buffer"].clone()
        one.resume()
        return one, initial

    whole, initial = begun()
    for step, batch in whole.remaining():
        if step == 2:
            whole.save(step)
            saved = whole.state["buffer"].clone()
        whole.step(step, batch)
    resumed, _ = begun()
    assert resumed.start == 2
    assert torch.equal(resumed.state["buffer"], saved)
    assert not torch.equal(saved, initial)
    for step, batch in resumed.remaining():
        resumed.step(step, batch)
    assert torch.equal(resumed.state["buffer"], whole.state["buffer"])


def test_a_buffer_that_its_classes_do_not_divide_is_declined(digits, training):
    def reason(**chains):
        return JEM(Energy(Chains(STEP, **chains), training(1)), STEP).skip(digits)

    assert reason(buffer=20, conditional=True) is None
    assert "25" in reason(buffer=25, conditional=True)
    assert reason(buffer=25) is None


def test_a_buffer_in_8_bits_holds_the_nearest_of_256_values_of_its_chains():
    chains = Chains(STEP, buffer=6, restart=0.0, stored="uint8")
    state = {"buffer": kept(marked(6) / 40, "uint8")}
    before = {"buffer": seen(state["buffer"])}
    net = tilted_net()
    x = chains.draw(net, state, LABELS, 5, Share(rng()))
    exact = replace(chains, stored="float32").draw(net, before, LABELS, 5, Share(rng()))
    assert torch.equal(x, exact), "a walk begins at what the buffer holds, and is itself not rounded"
    assert state["buffer"].dtype == torch.uint8
    assert (seen(state["buffer"]) - before["buffer"].clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6
    noise = torch.rand(1000, generator=rng())
    assert (seen(kept(noise, "uint8")) - noise).abs().max() <= 0.5 / 255 + 1e-6


def test_training_with_a_buffer_in_8_bits_resumes_exactly(digits_net, training, loop):
    def trained(interrupted):
        stage = Energy(Chains(STEP, buffer=20, stored="uint8"), training(6, optimizer="adam", lr=1e-3))
        one = loop(stage, digits_net("none"))
        one.resume()
        for step, batch in one.remaining():
            if interrupted and step == 3:
                one.save(step)
                one = loop(stage, digits_net("none"))
                one.resume()
                break
            one.step(step, batch)
        if interrupted:
            for step, batch in one.remaining():
                one.step(step, batch)
        return one

    whole, broken = trained(False), trained(True)
    assert whole.state["buffer"].dtype == torch.uint8
    assert torch.equal(whole.state["buffer"], broken.state["buffer"])
    for ours, theirs in zip(whole.model.parameters(), broken.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
