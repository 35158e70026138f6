"""A protocol's content and id change together, so that a leaderboard never mixes two under one name."""

import harness
from harness.evaluate import tag
from harness.registry import names

PUBLISHED = {"digits-1": "b2555dd88a1d"}
"""id → hash of every protocol. If this test fails, give the changed protocol a new id and add it here."""


def test_every_protocol_is_the_one_that_its_id_was_given_to():
    for protocol in names("protocol"):
        (run,) = harness.plan(f"protocol={protocol}")
        found = tag(run.config["protocol"])
        assert PUBLISHED.get(found.id) == found.hash, f"{found.id}: {found.hash}"
