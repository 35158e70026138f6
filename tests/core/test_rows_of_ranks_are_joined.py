"""Rows that ranks hold are joined in their old order, by few collectives; other ranks are played by the test."""

from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from harness.core.distributed import World


@given(st.integers(0, 12), st.integers(2, 5), st.sampled_from([torch.float32, torch.uint8, torch.int64]))
def test_what_was_split_is_joined_again(length, size, dtype):
    whole = torch.arange(3 * length).view(length, 3).to(dtype)
    parts = [World(rank, size).split_rows(whole) for rank in range(size)]
    most = max(len(part) for part in parts)
    padded = [torch.cat([part, torch.zeros(most - len(part), 3, dtype=dtype)]) for part in parts]

    def sum_of_all(x, group=None):
        x.fill_(length)

    def rows_of_all(rows, x, group=None):
        assert any(torch.equal(x, part) for part in padded)
        rows.copy_(torch.cat(padded))

    for rank, part in enumerate(parts):
        assert len(part) == len(range(rank, length, size))
        with patch.object(dist, "all_reduce", sum_of_all), patch.object(dist, "all_gather_into_tensor", rows_of_all):
            joined = World(rank, size).join_rows(part)
        assert joined.dtype == dtype and torch.equal(joined, whole)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_equal_rows_take_one_collective_and_no_look_at_the_device(shape):
    calls = []

    def rows_of_all(rows, x, group=None):
        calls.append(x.shape)
        rows.copy_(torch.cat([x, x + 100]))

    x = torch.arange(torch.Size(shape).numel()).view(shape)
    others = dict.fromkeys(("all_gather", "all_reduce", "all_gather_object", "broadcast_object_list"), _fail)
    collectives = patch.multiple(dist, all_gather_into_tensor=rows_of_all, **others)
    with collectives, patch.object(torch.Tensor, "__int__", _fail):
        rows = World(0, 2).gather(x)
    assert torch.equal(rows, torch.cat([x, x + 100])) and calls == [shape]


def _fail(*arguments, **options):
    raise AssertionError("one collective must do, and the host must not wait for its numbers")
