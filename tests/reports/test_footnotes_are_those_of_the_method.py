"""Deviations from published settings are told of the methods that they concern, and of no others."""

import pytest

from harness.core.registry import build, names
from harness.runs.compose import compose
from harness.runs.config import Config
from harness.runs.run import Run

HOLD_OUT = ("jem", "jempp")
"""Methods whose authors hold out 5,000 training images too."""


def composed(*words: str) -> Config:
    (config,) = compose(words)
    return config


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "imagenet256"])
@pytest.mark.parametrize("name", names("method"))
def test_outliers_and_what_is_held_out_concern_those_that_train_so(name: str, data: str) -> None:
    config = composed(f"method={name}", f"data={data}")
    trained_against = any("outliers" in stage.streams for stage in build("method", config.method).stages.values())
    has_recipe = f"{name}_{data}" in names("recipe")
    assert ("outliers" in config.notes) == (trained_against and has_recipe)
    assert "validation" not in config.notes or name not in HOLD_OUT


def test_the_outliers_that_are_named_are_those_of_the_run() -> None:
    for name in ("cifar100", "svhn", "noise"):
        assert (
            composed("method=atjem", "data=cifar10", f"outliers={name}").notes["outliers"].startswith(f"here {name},")
        )


@pytest.mark.parametrize(
    ("words", "topic", "told"),
    [
        ("method=atjem data=cifar10", "budget", "the authors' code sets none"),
        ("method=atjem data=cifar100", "budget", "the authors' code sets none"),
        ("experiment=imagenet256_atjem_convnext_l_t110", "budget", "the authors' code sets none"),
        ("method=atjem data=cifar10", "weights", "the authors report the EMA with the best FID"),
        ("method=at data=cifar10", "weights", "best robust accuracy on test images"),
        ("method=jem data=cifar100", "noise at test", "none is added"),
        ("method=jempp data=cifar10", "noise at test", "none is added"),
        ("method=at data=imagenet256", "AT", "keeps the last iterate"),
        ("experiment=imagenet224_atjem_resnet50_t15_1k_noaugm", "framing of outliers", "the central 87.5 %"),
        ("method=sadajem data=cifar10", "validation", "train on all 50,000"),
        ("method=atjem data=imagenet256", "validation", "use all 1,281,167"),
    ],
)
def test_what_deviates_is_told(words: str, topic: str, told: str) -> None:
    assert told in composed(*words.split()).notes[topic]


def test_what_is_told_is_so() -> None:
    at = composed("method=at", "data=imagenet256")
    assert at.method["robust"]["attack"]["keep"] == "last"
    study = composed("experiment=imagenet224_atjem_resnet50_t15_1k_noaugm")
    assert study.data["outliers"] == {"crop": "centre", "flip": False}
    assert composed("method=atjem", "data=cifar10").method["joint"]["training"]["ema"] is not None


def test_notes_name_no_run() -> None:
    config = composed("method=atjem", "data=digits")
    before = Run(config).name
    config.notes["a topic"] = "a note"
    assert Run(config).name == before
