"""A config that is accepted can be read from its run's folder; one that is nested too deep is refused before."""

import pytest
from recorded import make

from harness.core.errors import UserError
from harness.core.reading import DEEPEST
from harness.runs.run import load


def nested(depth):
    return [nested(depth - 1)] if depth else 1


def test_a_config_of_the_largest_depth_is_read_again(tmp_path):
    run = make(tmp_path, model={"name": "digits", "deep": nested(DEEPEST - 2)})  # in the config, in the model
    run.freeze()
    assert load(run.folder).config.model == run.config.model


def test_a_deeper_one_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.deep\.0.*nested more than 50 levels deep"):
        make(tmp_path, model={"name": "digits", "deep": nested(DEEPEST - 1)})
