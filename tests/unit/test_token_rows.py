"""Packed rows read as the lists they were; batches hold every row once, rows of like length together."""

import numpy as np
import pytest

from genir.token_rows import TokenRows, bucketed_batches

ROWS = [[1, 2, 3], [], [70_000], [5, 6]]


def test_rows_come_back() -> None:
    packed = TokenRows.pack(ROWS)
    assert list(packed) == ROWS
    assert packed[-1] == [5, 6]
    assert packed.lengths.tolist() == [3, 0, 1, 2]
    assert list(TokenRows.pack([])) == []


def test_the_digest_sees_where_a_row_ends() -> None:
    digest = TokenRows.pack(ROWS).sha256()
    assert digest == TokenRows.pack(ROWS).sha256()
    assert digest != TokenRows.pack([[1, 2], [3], [70_000], [5, 6]]).sha256()


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_batches_hold_every_row_once(count: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 64, count)
    batches = bucketed_batches(lengths, 4, seed=0, epoch=0)
    assert sorted(row for batch in batches for row in batch) == list(range(count))
    assert all(len(batch) <= 4 for batch in batches)
    assert len(batches) == -(-count // 4)


def test_little_is_padded_and_every_epoch_is_another() -> None:
    lengths = np.random.default_rng(0).integers(1, 64, 4096)
    first, same, second = (bucketed_batches(lengths, 16, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    padded = sum(len(batch) * lengths[batch].max() for batch in first)
    assert padded < 1.05 * lengths.sum()
    assert first == same
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    means = [lengths[batch].mean() for batch in first]
    assert abs(np.mean(means[:50]) - np.mean(means[-50:])) < 10  # long and short batches are mixed
