"""What every index shares: the checks of its input, and the k best rows of a score vector.

Rows of an index stand in the order of their doc_ids, so that "ties by doc_id" is a stable sort and costs nothing.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from genir.errors import ArtefactError, ConfigError, DataError
from genir.records import Document, ScoredDoc


def check_k(k: int) -> None:
    """Raise ConfigError unless k is at least 1."""
    if k < 1:
        raise ConfigError(f"k is {k}: a search returns k documents a query, so k must be at least 1")


def in_order_of_id(corpus: Sequence[Document]) -> list[Document]:
    """The corpus sorted by doc_id. Raises DataError where it is empty or holds a doc_id twice."""
    documents = sorted(corpus, key=lambda document: document.doc_id)
    if not documents:
        raise DataError("the corpus is empty: an index needs at least one document")
    for left, right in pairwise(documents):
        if left.doc_id == right.doc_id:
            raise DataError(f"two documents have the id {left.doc_id!r}: ids must be unique")
    return documents


def not_built(name: str) -> ArtefactError:
    """The error of a search or a save in front of `build`."""
    return ArtefactError(f"{name} has no index yet: call build(corpus), or load(folder)")


def best_rows(scores: np.ndarray, k: int, doc_ids: Sequence[str]) -> tuple[ScoredDoc, ...]:
    """The k best documents whose score is not 0; `scores` has shape (N,), `doc_ids` N ascending ids."""
    rows = np.flatnonzero(scores)
    if k < len(rows):
        # Keep everything that ties with the k-th best, so that doc_ids and not the partition decide who stays.
        threshold = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= threshold]
    rows = rows[np.argsort(-scores[rows], kind="stable")][:k]
    pairs = zip(rows.tolist(), scores[rows].tolist(), strict=True)
    return tuple(ScoredDoc(doc_ids[row], score) for row, score in pairs)
