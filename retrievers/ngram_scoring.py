"""SEAL's score of a document from the n-grams that a model wrote (Bevilacqua et al. 2022, arXiv 2204.10628, section 3).

Notation: q a query, R the corpus, d a document, n an n-gram and set(n) its tokens, F(n, R) its occurrences, K the n-grams
written for q. The formulas:

    P(n)       = F(n, R) / sum over d in R of |d|
    w(n, q)    = max(0, log (P(n|q) (1 - P(n)) / (P(n) (1 - P(n|q)))))
    W(d, q)    = sum over n in K(d) of w(n, q)^alpha * cover(n, K(d))                 the intersective score
    cover(n, K) = 1 - beta + beta * |set(n) \\ C(n, K)| / |set(n)|

K(d) holds the n-grams of K with an occurrence in d that overlaps no occurrence of an n-gram of K(d) with a greater
weight; C(n, K) is the union of the sets of the n-grams in K with a greater weight than n. So neither a piece of a better
n-gram nor its words once more count again.

Differences from the authors' code (facebookresearch/SEAL, seal/keys.py at bc95208): none of its smoothing of P(n), no
first stage that looks at 1,500 occurrences of an n-gram only and at 500 documents, and n-grams of equal weight neither
block nor cover each other, as in the formulas.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genir.records import DocIDTokens

Floats = np.ndarray[Any, Any]
Ints = np.ndarray[Any, Any]

_CERTAIN = -1e-10  # log P(n|q) is taken to be no higher, as in the authors' code: certainty has no finite odds


def unconditional(F: Ints, corpus_tokens: int) -> Floats:
    """P(n) of n-grams (M,) that occur F(n, R) times among so many tokens."""
    probabilities: Floats = np.asarray(F, np.float64) / corpus_tokens
    return probabilities


def weight(log_conditional: Floats, P: Floats) -> Floats:
    """w(n, q) of n-grams (M,) from log P(n|q) and P(n): how far the query raises their log-odds, at least 0."""
    log_p = np.minimum(log_conditional, _CERTAIN)
    with np.errstate(divide="ignore"):  # P(n) = 1: the corpus is this token and nothing else, and the weight 0
        odds = log_p + np.log1p(-P) - np.log(P) - np.log(-np.expm1(log_p))
    raised: Floats = np.maximum(odds, 0.0)
    return raised


def cover(new_tokens: Ints, ngram_tokens: int, beta: float) -> Floats:
    """cover(n, K) where |set(n) \\ C(n, K)| is `new_tokens` and |set(n)| is `ngram_tokens`."""
    covered: Floats = 1.0 - beta + beta * new_tokens / ngram_tokens
    return covered


def intersective_scores(
    ngrams: Sequence[DocIDTokens],
    w: Floats,
    occurrences: tuple[Ints, Ints, Ints],
    alpha: float,
    beta: float,
) -> tuple[Ints, Floats]:
    """W(d, q) of every document that holds one of M n-grams of weight above 0: documents (D,), ascending, and scores (D,).

    `w` (M,) are their weights; `occurrences` are all there are in the corpus: places in `ngrams` (E,), ascending, document
    numbers (E,) and the offsets behind the last token (E,). Memory: D x the distinct tokens of the n-grams, in bytes.
    """
    places, numbers, ends = occurrences
    documents, rows = np.unique(numbers, return_inverse=True)
    lengths = np.zeros(len(documents), np.int64)
    np.maximum.at(lengths, rows, ends)
    behind = ends + (np.cumsum(lengths) - lengths)[rows]  # the documents one behind the other, as far as n-grams reach
    occupied = np.zeros(int(lengths.sum()), bool)  # by n-grams of K(d) with a greater weight
    alphabet = {token: column for column, token in enumerate(sorted({token for ngram in ngrams for token in ngram}))}
    C = np.zeros((len(documents), len(alphabet)), bool)
    scores = np.zeros(len(documents))
    bounds = np.searchsorted(places, np.arange(len(ngrams) + 1))
    for equals in _by_weight(w):
        taken = []
        for n in equals:
            own = slice(bounds[n], bounds[n + 1])
            spans = behind[own, None] - np.arange(1, len(ngrams[n]) + 1)
            holders = np.zeros(len(documents), bool)
            holders[rows[own][~occupied[spans].any(1)]] = True
            K_d = np.flatnonzero(holders)[:, None]
            tokens = np.array([alphabet[token] for token in set(ngrams[n])])
            new_tokens = (~C[K_d, tokens]).sum(1)
            scores[K_d[:, 0]] += w[n] ** alpha * cover(new_tokens, len(tokens), beta)
            taken.append((K_d, tokens, spans[holders[rows[own]]]))
        for K_d, tokens, spans in taken:
            C[K_d, tokens] = True
            occupied[spans] = True
    return documents, scores


def _by_weight(w: Floats) -> Iterator[Ints]:
    """Places of the weights above 0, the greatest first, equal ones together."""
    for value in np.unique(w[w > 0])[::-1]:
        yield np.flatnonzero(w == value)
