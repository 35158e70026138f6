"""A stage of a method without a recipe for a dataset sees no more images than fit the data; recipes are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.optim import Training, scaled
from harness.core.registry import names
from harness.core.settings import canonical
from harness.launch.preflight import without_recipe
from harness.runs.compose import compose
from harness.runs.run import Run

MOST = "+customary.images=30000"


def composed(*words):
    (config,) = compose(words)
    return config


def bounds(config):
    stages = [part for part in config.method.values() if isinstance(part, dict) and "training" in part]
    return {part["training"].get("most_images") for part in stages}


@given(st.floats(0.1, 500), st.integers(1, 10**6), st.integers(100, 10**6))
def test_a_bound_is_one_of_images(epochs, most, images):
    how = Training(epochs, 128, "sgd", 0.1, most_images=most)
    assert how.steps(images) == max(1, round(min(epochs * images, most) / 128))


def test_the_schedule_ends_where_training_ends():
    how = Training(100, 10, "sgd", 0.1, schedule="step", milestones=(50,), gamma=0.5, most_images=2000)
    steps = how.steps(1000)
    assert steps == 200
    assert [how.rate(step, steps) for step in (0, 99, 100, 199)] == [0.1, 0.1, 0.05, 0.05]


def test_a_budget_scales_the_bound():
    assert scaled(Training(300, 128, "sgd", 0.1, most_images=2000), 0.1).steps(10_000) == round(200 / 128)


def test_a_method_without_a_recipe_is_bounded_and_says_so():
    config = composed("method=trades", "data=cifar100", MOST)
    assert bounds(config) == {30_000} and "30,000 images" in config.notes["recipe"]
    assert Run(config).stage_runs[0].stage.training.steps(45_000) == round(30_000 / 128)


def test_epochs_that_the_command_gives_are_taken():
    assert bounds(composed("method=trades", "data=cifar100", MOST, "method.tradeoff.training.epochs=2")) == {None}


@pytest.mark.parametrize("method", ["atjem", "jem"])
def test_a_recipe_is_left_alone(method):
    bounded, plain = composed(f"method={method}", MOST), composed(f"method={method}")
    assert bounds(bounded) == {None} and "recipe" not in bounded.notes
    assert Run(bounded).fingerprint == Run(plain).fingerprint


@pytest.mark.parametrize("data", ["cifar100", "imagenet256"])
def test_runs_on_data_that_say_nothing_keep_their_names(data):
    assert bounds(composed("method=trades", f"data={data}")) == {None}


def test_a_bound_that_is_none_leaves_the_name():
    fields = {"epochs": 3, "batch": 8, "optimizer": "sgd", "lr": 0.1}
    assert canonical({**fields, "most_images": None}, Training) == fields
    assert canonical({**fields, "most_images": 5}, Training) != fields


def test_the_command_says_which_stages_are_cut(digits):
    config = composed("method=trades", "data=cifar100", "+customary.images=600")
    run = Run(config)
    run.__dict__["data"] = digits  # which needs no files
    (line,) = without_recipe([run])
    assert "stage tradeoff takes 0.477 epochs, 600 images, instead of 76" in line
    assert "harness search method=trades data=cifar100" in line
    assert f"{config.method['name']}_{config.data['name']}" not in names("recipe")
