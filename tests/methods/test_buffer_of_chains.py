"""JEM's replay buffer: where chains start, where they are written back, and that resuming restores the buffer."""

from dataclasses import replace

import pytest
import torch
from chains import STEP, flat_net, marked, rng, tilted_net
from scipy.stats import binomtest, kstest

from harness.core.random import PerImage
from harness.core.shard import Shard
from harness.core.walk import Walk
from harness.methods.jem import JEM, Chains, Energy
from harness.methods.replay import to_images, to_stored
from harness.training.checkpoint import copy_to_cpu


def test_restarted_chains_begin_from_uniform_noise_on_the_pixel_range():
    state = {"buffer": marked(2000)}
    x = Chains(STEP, buffer=2000, restart=1.0).draw(flat_net(), state, 2000, Shard(rng()))
    assert kstest(x.flatten().numpy(), "uniform").pvalue > 0.01
    assert len(x.flatten(1).unique(dim=0)) == 2000, "each chain must start from different noise"


def test_chains_that_are_not_restarted_continue_from_the_buffer():
    state = {"buffer": marked(50)}
    x = Chains(STEP, buffer=50, restart=0.0).draw(flat_net(), state, 5, Shard(rng()))
    assert set(x.flatten().tolist()) <= set(marked(50).flatten().tolist())
    assert torch.equal(state["buffer"], marked(50)), "the chains did not move, so the buffer must not change"


def test_the_share_of_restarts_is_the_chance_of_one():
    state = {"buffer": marked(4000)}
    x = Chains(STEP, buffer=4000, restart=0.05).draw(flat_net(), state, 4000, Shard(rng()))
    fresh = int((x.flatten(1).amax(1) < 1).sum())
    assert binomtest(fresh, 4000, 0.05).pvalue > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_chains_are_written_back_where_they_were_drawn_without_collision(seed):
    state = {"buffer": marked(6)}
    x = Chains(STEP, buffer=6, restart=0.0).draw(tilted_net(), state, 5, Shard(rng(seed)))
    places = (x[:, 0, 1, 1] - 10).long()
    assert len(set(places.tolist())) == 5
    expected = marked(6)
    expected[places, 0, 0, 0] += 0.5
    torch.testing.assert_close(state["buffer"], expected)
    torch.testing.assert_close(x, expected[places])


def test_restarted_chains_are_written_back_too():
    state = {"buffer": marked(5)}
    x = Chains(STEP, buffer=5, restart=1.0).draw(tilted_net(), state, 5, Shard(rng()))
    assert {tuple(i.flatten().tolist()) for i in x} == {tuple(i.flatten().tolist()) for i in state["buffer"]}


def test_every_place_of_the_buffer_is_drawn_from_in_the_long_run():
    chains, places = Chains(STEP, buffer=20, restart=0.0), set()
    for seed in range(30):
        x = chains.draw(flat_net(), {"buffer": marked(20)}, 5, Shard(rng(seed)))
        places.update((x[:, 0, 1, 1] - 10).long().tolist())
    assert places == set(range(20))


def test_samples_come_from_the_buffer(training):
    buffer = (torch.arange(20) / 100).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    energy = Energy(Chains(STEP, buffer=20), training(1))
    starts, rng_of_each = torch.zeros(200, 1, 2, 2), PerImage(range(200))
    x = JEM(energy, STEP).sample(flat_net(), starts, torch.arange(200) % 5, {"buffer": buffer}, rng_of_each)
    places = (100 * x[:, 0, 0, 0]).round().long()
    assert torch.equal(buffer[places], x)
    assert set(places.tolist()) == set(range(20))


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
        return one, initial

    whole, initial = begun()
    for step, batch in whole.batches():
        if step == 2:
            saved = copy_to_cpu(whole.content())
        whole(step, batch)
    resumed, _ = begun()
    resumed.restore(saved)
    assert torch.equal(resumed.state["buffer"], saved["state"]["buffer"])
    assert not torch.equal(resumed.state["buffer"], initial)
    for step, batch in resumed.batches(2):
        resumed(step, batch)
    assert torch.equal(resumed.state["buffer"], whole.state["buffer"])


def test_a_buffer_in_8_bits_holds_the_nearest_of_256_values_of_its_chains():
    chains = Chains(STEP, buffer=6, restart=0.0, stored="uint8")
    state = {"buffer": to_stored(marked(6) / 40, "uint8")}
    before = {"buffer": to_images(state["buffer"])}
    net = tilted_net()
    x = chains.draw(net, state, 5, Shard(rng()))
    exact = replace(chains, stored="float32").draw(net, before, 5, Shard(rng()))
    assert torch.equal(x, exact), "the walk must start from the stored images and must not be rounded itself"
    assert state["buffer"].dtype == torch.uint8
    assert (to_images(state["buffer"]) - before["buffer"].clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6
    noise = torch.rand(1000, generator=rng())
    assert (to_images(to_stored(noise, "uint8")) - noise).abs().max() <= 0.5 / 255 + 1e-6


def test_training_with_a_buffer_in_8_bits_resumes_exactly(digits_net, training, loop):
    def trained(interrupted):
        stage = Energy(Chains(STEP, buffer=20, stored="uint8"), training(6, optimizer="adam", lr=1e-3))
        one = loop(stage, digits_net("none"))
        for step, batch in one.batches():
            if interrupted and step == 3:
                saved = copy_to_cpu(one.content())
                one = loop(stage, digits_net("none"))
                one.restore(saved)
                break
            one(step, batch)
        if interrupted:
            for step, batch in one.batches(3):
                one(step, batch)
        return one

    whole, broken = trained(False), trained(True)
    assert whole.state["buffer"].dtype == torch.uint8
    assert torch.equal(whole.state["buffer"], broken.state["buffer"])
    for ours, theirs in zip(whole.model.parameters(), broken.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
