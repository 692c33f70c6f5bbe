"""SEAL's formulas against arithmetic by hand and against their definitions, a document and an n-gram at a time."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrievers.ngram_scoring import cover, intersective_scores, unconditional, weight
from tests.fm_index_oracle import Ngram, scan

corpora = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=6).filter(any)


def literal_scores(
    documents: dict[int, list[int]], w: dict[Ngram, float], alpha: float, beta: float
) -> dict[int, float]:
    """The definitions, word by word."""
    found = scan(documents, 12)
    scores = {}
    for number in documents:
        spans = {n: [(i, i + len(n)) for d, i in found.get(n, ()) if d == number] for n in w}
        K: list[Ngram] = []
        for n in sorted(w, key=lambda n: -w[n]):
            better = [other for other in K if w[other] > w[n]]
            if w[n] > 0 and any(
                all(end <= i or j <= start for other in better for start, end in spans[other]) for i, j in spans[n]
            ):
                K.append(n)
        for n in K:
            C = {token for other in K if w[other] > w[n] for token in other}
            gain = w[n] ** alpha * (1 - beta + beta * len(set(n) - C) / len(set(n)))
            scores[number] = scores.get(number, 0.0) + gain
    return scores


def our_scores(documents: dict[int, list[int]], w: dict[Ngram, float], alpha: float, beta: float) -> dict[int, float]:
    found, ngrams = scan(documents, 12), list(w)
    rows = [(n, d, i + len(ngram)) for n, ngram in enumerate(ngrams) for d, i in found.get(ngram, ())]
    places, numbers, ends = np.array(rows, np.int64).reshape(-1, 3).T
    held, scores = intersective_scores(ngrams, np.array(list(w.values())), (places, numbers, ends), alpha, beta)
    return {number: score for number, score in zip(held.tolist(), scores.tolist(), strict=True) if score > 0}


def test_unconditional_is_the_share_of_the_corpus() -> None:
    assert unconditional(np.array([3, 1]), 12).tolist() == [0.25, 1 / 12]


def test_weight_is_the_rise_of_the_log_odds() -> None:
    # odds of 1/2 are 1, those of 1/5 are 1/4, those of 9/10 are 9
    w = weight(np.log([0.5, 0.9, 0.1]), np.array([0.2, 0.2, 0.2]))
    assert w.tolist() == pytest.approx([log(4), log(36), 0.0])


def test_weight_of_what_is_certain_is_finite() -> None:
    w = weight(np.array([0.0, -1.0, -np.inf]), np.array([0.5, 1.0, 0.5]))
    assert w.tolist() == pytest.approx([log(1e10), 0.0, 0.0], rel=1e-6)


def test_cover_takes_away_what_better_ngrams_brought() -> None:
    assert cover(np.array([2, 1, 0]), 2, 0.8).tolist() == pytest.approx([1.0, 0.6, 0.2])
    assert cover(np.array([0]), 3, 0.0).tolist() == [1.0]


def test_intersective_score_by_hand() -> None:
    documents = {0: [1, 2, 3, 1], 1: [1, 2], 2: [9, 1], 3: [9]}
    w = {(1, 2): 3.0, (1,): 2.0, (3, 1): 1.0}
    assert our_scores(documents, w, 2.0, 0.5) == pytest.approx(
        {
            # (1, 2) whole; (1) at offset 3 is free, but its only token is covered; (3, 1) overlaps that (1)
            0: 9.0 + 4.0 * 0.5,
            1: 9.0,  # (1) is a piece of (1, 2) here
            2: 4.0,
        }
    )


def test_ngrams_of_equal_weight_neither_block_nor_cover_each_other() -> None:
    assert our_scores({0: [1, 2, 3]}, {(1, 2): 2.0, (2, 3): 2.0}, 1.0, 1.0) == {0: 4.0}


def test_an_ngram_that_left_no_room_free_blocks_nothing() -> None:
    # (2, 3) has no place of its own beside (1, 2), so (3, 4) overlaps no n-gram of K(d)
    w = {(1, 2): 3.0, (2, 3): 2.0, (3, 4): 1.0}
    assert our_scores({0: [1, 2, 3, 4]}, w, 1.0, 0.8) == pytest.approx({0: 4.0})


def test_no_ngram_at_all() -> None:
    assert our_scores({0: [1]}, {}, 2.0, 0.8) == {}
    assert our_scores({0: [1]}, {(1,): 0.0}, 2.0, 0.8) == {}


@settings(max_examples=150, deadline=None)
@given(corpora, st.data(), st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([0.0, 0.8, 1.0]))
def test_equals_the_definitions(texts: list[list[int]], data: st.DataObject, alpha: float, beta: float) -> None:
    documents = dict(enumerate(texts))
    ngrams = data.draw(st.lists(st.sampled_from(sorted(scan(documents, 4))), max_size=12, unique=True))
    w = {ngram: float(data.draw(st.integers(0, 5))) for ngram in ngrams}
    assert our_scores(documents, w, alpha, beta) == pytest.approx(literal_scores(documents, w, alpha, beta))
