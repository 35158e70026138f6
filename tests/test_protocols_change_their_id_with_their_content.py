"""A protocol's content and id change together, so that a leaderboard never mixes two under one name."""

import pytest

from harness.core.registry import names
from harness.runs.compose import compose
from harness.runs.run import tag

PUBLISHED = {
    ("digits", "digits"): ("digits-2", "6a670b45c979"),
    ("digits_stability", "digits"): ("digits-stability-1", "7efbbbd09018"),
    ("cifar", "cifar10"): ("cifar-1", "e3d55847e258"),
    ("cifar", "cifar100"): ("cifar-1", "6d472dd20e87"),
    ("imagenet256", "imagenet256"): ("imagenet256-2", "21865c5e2878"),
    ("dat-paper", "cifar10"): ("dat-paper-1", "540852b47303"),
    ("dat-paper", "cifar100"): ("dat-paper-1", "8907375923b8"),
    ("quick", "digits"): ("quick-1", "8a45490d100c"),
    ("quick", "cifar10"): ("quick-1", "62d679d044ea"),
    ("quick", "imagenet256"): ("quick-1", "5a46e5a3401d"),
}
"""protocol, data → id and hash. If this test fails, give the changed protocol a new id and add it here."""


@pytest.mark.parametrize(("protocol", "data"), PUBLISHED)
def test_every_protocol_is_the_one_that_its_id_was_given_to(protocol, data):
    (config,) = compose([f"protocol={protocol}", f"data={data}"])
    found = tag(config["protocol"])
    assert PUBLISHED[protocol, data] == (found.id, found.hash)


def test_no_protocol_is_left_out():
    assert {protocol for protocol, _ in PUBLISHED} == set(names("protocol"))


def test_two_contents_never_share_an_id_on_the_same_data():
    ids = [(data, found) for (_, data), (found, _) in PUBLISHED.items()]
    assert len(ids) == len(set(ids))


def test_where_files_are_is_no_part_of_a_protocol():
    here, there = (compose(["data=cifar10", *more])[0] for more in ([], ["data.root=/elsewhere", "data.download=true"]))
    assert here["protocol"] != there["protocol"]
    assert tag(here["protocol"]) == tag(there["protocol"])
    (changed,) = compose(["data=cifar10", "protocol.metrics.ood.count=7"])
    assert tag(here["protocol"]).hash != tag(changed["protocol"]).hash


def test_a_label_is_part_of_the_tag():
    assert tag(compose(["protocol=quick"])[0]["protocol"]).label == "for trying out"
