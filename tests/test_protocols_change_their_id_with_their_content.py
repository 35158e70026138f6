"""A protocol's content and id change together, so that a leaderboard never mixes two under one name."""

import harness
from harness.evaluate import tag
from harness.registry import names

PUBLISHED = {
    "digits-1": "b2555dd88a1d",
    "digits-stability-1": "7efbbbd09018",
    "cifar10-1": "8a371b759a39",
    "cifar10-linf-1": "5b0b8b94112f",
    "cifar100-1": "fdf9833d06c6",
    "imagenet256-1": "f552eda352f7",
}
"""id → hash of every protocol. If this test fails, give the changed protocol a new id and add it here."""


def test_every_protocol_is_the_one_that_its_id_was_given_to():
    for protocol in names("protocol"):
        (run,) = harness.plan(f"protocol={protocol}")
        found = tag(run.config["protocol"])
        assert PUBLISHED.get(found.id) == found.hash, f"{found.id}: {found.hash}"
