"""The FM-index's parts: suffixes sorted as a plain sort does, ranks and distinct symbols as counting does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.constraints.segment import Segment
from genir.constraints.suffix_array import suffix_array
from genir.constraints.wavelet import RankedBits, WaveletMatrix


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60), st.sampled_from([1, 10**4, 2**40]))
def test_suffixes_as_a_plain_sort(symbols: list[int], scale: int) -> None:
    text = [(symbol + 1) * scale for symbol in symbols] + [0]
    expected = sorted(range(len(text)), key=lambda start: text[start:])
    found = suffix_array(np.array(text))
    assert found.tolist() == expected
    assert found.dtype == np.int32


def test_long_repeats_are_sorted_to_their_end() -> None:
    text = np.array([1] * 5000 + [0])
    assert suffix_array(text).tolist() == list(range(5000, -1, -1))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_ranked_bits(size: int) -> None:
    bits = np.random.default_rng(size).random(size) < 0.5
    ranked = RankedBits.build(bits)
    assert ranked.before(np.arange(size + 1)).tolist() == [int(bits[:end].sum()) for end in range(size + 1)]
    assert ranked[np.arange(size)].tolist() == bits.tolist()


@pytest.mark.parametrize("sigma", [1, 2, 3, 8, 9, 300])
def test_wavelet_matrix_as_counting_does(sigma: int) -> None:
    generator = np.random.default_rng(sigma)
    sequence = generator.integers(0, sigma, 700)
    matrix = WaveletMatrix.build(sequence, sigma)
    symbols, positions = generator.integers(0, sigma, 200), generator.integers(0, 701, 200)
    expected = [int((sequence[:end] == symbol).sum()) for symbol, end in zip(symbols, positions, strict=True)]
    assert matrix.rank(symbols, positions).tolist() == expected

    ranges = np.sort(generator.integers(0, 701, (2, 40)), axis=0)
    ranges[:, 7] = 3  # an empty one
    owners, found, ranks = matrix.distinct(ranges)
    pairs = [(owner, s) for owner, (low, high) in enumerate(ranges.T) for s in np.unique(sequence[low:high]).tolist()]
    assert list(zip(owners.tolist(), found.tolist(), strict=True)) == pairs
    for owner, symbol, low, high in zip(owners, found, *ranks, strict=True):
        assert [low, high] == [int((sequence[:end] == symbol).sum()) for end in ranges[:, owner]]


def test_a_segment_gives_its_documents_back() -> None:
    documents = [np.array(document, np.int64) for document in ([5, 3, 3], [], [9], [3, 5])]
    segment = Segment.build(documents)
    assert [document.tolist() for document in segment.documents()] == [[5, 3, 3], [], [9], [3, 5]]
    assert (segment.num_rows, segment.num_documents) == (10, 4)
    assert segment.rows_where(np.array([True, False, False, True])).sum() == 7
    assert Segment.build(documents[1:2]).documents()[0].tolist() == []
