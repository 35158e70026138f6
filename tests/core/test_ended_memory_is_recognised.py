"""An error that says in its own words that memory has ended is recognised; others, and bugs, are not."""

import pytest

from harness.core.errors import out_of_memory

SIGNS = (
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    ImportError("libx.so: failed to map segment from shared object"),
    SystemError("error return without exception set"),
    ValueError("quantization error"),
)


@pytest.mark.parametrize("error", SIGNS, ids=str)
def test_each_sign_is_recognised_also_behind_another_error(error):
    assert out_of_memory(error)
    outer = RuntimeError("the figure was not drawn")
    outer.__cause__ = error
    assert out_of_memory(outer)


@pytest.mark.parametrize("error", [ValueError("shapes differ"), SystemError("unknown opcode"), OSError(28, "No space")])
def test_others_are_not(error):
    assert not out_of_memory(error)
