"""Settings that were wrong once, as the released code has them, in the units of that code."""

import pytest

from harness.runs.compose import compose


def composed(*words):
    return compose(["data=cifar10", *words])[0]


def test_pixels_are_standardised_as_dat_and_ratio_do():
    model = composed("method=ratio").model
    assert model["mean"] == [0.4913997551666284, 0.48215855929893703, 0.4465309133731618]
    assert model["std"] == [0.24703225141799082, 0.24348516474564, 0.26158783926049628]


def test_trades_trains_its_last_two_epochs_at_the_lower_rate():
    import harness

    (run,) = harness.plan("method=trades", "data=digits")
    training = run.method.stages["tradeoff"].training
    assert training.epochs == 76
    rates = [training.rate(epoch * 100 + 50, 7600) for epoch in range(76)]
    assert rates[73] == pytest.approx(0.1) and rates[74] == rates[75] == pytest.approx(0.01)


def test_ebjdats_adversarial_images_are_within_8_of_255_on_minus_1_to_1():
    adversary = composed("method=ebjdat").method["joint"]["adversary"]
    assert 2 * adversary["walk"]["eps"] == 2 * adversary["start"] == pytest.approx(8 / 255)
    assert 2 * adversary["walk"]["step"] == pytest.approx(2 / 255)
