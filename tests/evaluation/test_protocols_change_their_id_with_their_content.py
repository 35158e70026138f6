"""A protocol's content and id change together, so that a leaderboard never mixes two protocols under one name."""

import pytest
from published import PUBLISHED

from harness.core.registry import names
from harness.runs.compose import compose
from harness.runs.run import Run


@pytest.mark.parametrize(("protocol", "data"), PUBLISHED)
def test_every_protocol_is_the_one_that_its_id_was_given_to(protocol, data):
    (config,) = compose([f"protocol={protocol}", f"data={data}"])
    found = Run(config).protocol
    assert PUBLISHED[protocol, data] == (found.id, found.hash)


def test_no_protocol_is_left_out():
    assert {protocol for protocol, _ in PUBLISHED} == set(names("protocol"))


def test_two_contents_never_share_an_id_on_the_same_data():
    ids = [(data, found) for (_, data), (found, _) in PUBLISHED.items()]
    assert len(ids) == len(set(ids))


def test_where_files_are_is_no_part_of_a_protocol():
    here, there = (compose(["data=cifar10", *more])[0] for more in ([], ["data.root=/elsewhere", "data.download=true"]))
    assert here.protocol != there.protocol
    assert Run(here).protocol == Run(there).protocol
    (changed,) = compose(["data=cifar10", "protocol.metrics.ood.count=7"])
    assert Run(here).protocol.hash != Run(changed).protocol.hash


def test_a_label_is_part_of_the_tag():
    assert Run(compose(["protocol=quick"])[0]).protocol.label == "for trying out"
