"""Blocks cover every pair once an epoch, and any block can be reached without the ones before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbkit.core.errors import ConfigError
from perturbkit.data.sampler import BlockSampler

sizes = st.integers(1, 17)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(0, 3))
def test_every_pair_once(rows: int, columns: int, r: int, q: int, epoch: int) -> None:
    sampler = BlockSampler(rows, columns, r, q, seed=1)
    seen = np.zeros((rows, columns), int)
    blocks = list(sampler.epoch(epoch))
    for row, column in blocks:
        assert len(row) <= r
        assert len(column) <= q
        seen[np.ix_(row, column)] += 1
    assert (seen == 1).all()
    assert len(blocks) == sampler.n_blocks


def test_an_epoch_can_be_entered_anywhere() -> None:
    sampler = BlockSampler(10, 13, 3, 4, seed=5)
    whole = list(sampler.epoch(2))
    late = list(sampler.epoch(2, start=7))
    for (a, b), (c, d) in zip(whole[7:], late, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_epochs_and_seeds_differ() -> None:
    first = next(BlockSampler(50, 50, 10, 10, seed=0).epoch(0))[0]
    assert not np.array_equal(first, next(BlockSampler(50, 50, 10, 10, seed=0).epoch(1))[0])
    assert not np.array_equal(first, next(BlockSampler(50, 50, 10, 10, seed=1).epoch(0))[0])


def test_empty_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one row"):
        BlockSampler(0, 3, 1, 1, seed=0)
