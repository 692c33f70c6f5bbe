"""How well the prefixes of identifiers agree with the neighbours of embeddings: whether near documents begin alike.

A beam keeps prefixes, not documents: where neighbours share a prefix, a search that prunes keeps what is near. The
share of neighbours that share a prefix means little by itself (identifiers that all begin alike share everything), so
it stands beside the share among random documents, and their ratio, the lift: 1 for identifiers that know nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from docids.table import DocIDTable
from genir.records import DocIDTokens

_BLOCK = 256  # documents whose similarities to all others are held at once


def prefix_agreement(
    table: DocIDTable, vectors: np.ndarray, neighbours: int = 10, sample: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """For prefixes of 1, 2, ... tokens, how often two documents share them, as plain JSON values.

    `vectors` (N, D), finite, stand in the table's order. Of at most `sample` random documents: `neighbours`, the mean
    share of their k nearest documents by cosine that begin with the same tokens; `random`, the share of all other
    documents that do, which is what k documents drawn at random would give in the mean; `lift`, the first divided by
    the second, None where the second is 0. An identifier shorter than the prefix shares it with none. The list ends
    before the length at which no two documents of the corpus share one.
    """
    N = len(table)
    k = min(neighbours, N - 1)
    anchors = np.sort(np.random.default_rng(seed).permutation(N)[:sample])
    nearest = nearest_neighbours(vectors, anchors, k) if k else np.zeros((N, 0), dtype=np.int64)
    rows = []
    for length, labels in enumerate(_prefix_labels(list(table.tokens.values())), start=1):
        sizes = np.bincount(labels[labels >= 0])
        if sizes.max() == 1:
            break
        own = labels[anchors]
        near = float(((labels[nearest] == own[:, None]) & (own >= 0)[:, None]).mean())
        random = float(np.where(own >= 0, (sizes[own] - 1) / (N - 1), 0.0).mean())
        rows.append({"length": length, "neighbours": near, "random": random, "lift": near / random if random else None})
    return {"nearest": k, "documents": len(anchors), "prefixes": rows}


def nearest_neighbours(vectors: np.ndarray, anchors: np.ndarray, k: int) -> np.ndarray:
    """Shape (A, k), int64: for each row of `vectors` (N, D) named in `anchors` (A,), the k others of highest cosine.

    In no order. k is at most N - 1.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = np.zeros((len(anchors), k), dtype=np.int64)
    for start in range(0, len(anchors), _BLOCK):
        block = anchors[start : start + _BLOCK]
        cosine = unit[block] @ unit.T
        cosine[np.arange(len(block)), block] = -np.inf  # a document is no neighbour of itself
        found[start : start + _BLOCK] = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    return found


def _prefix_labels(identifiers: Sequence[DocIDTokens]) -> Iterator[np.ndarray]:
    """For prefixes of 1, 2, ... tokens, (N,): a number for each distinct prefix, -1 for identifiers that are shorter."""
    for length in range(1, max(map(len, identifiers)) + 1):
        seen: dict[DocIDTokens, int] = {}
        yield np.array(
            [seen.setdefault(tokens[:length], len(seen)) if len(tokens) >= length else -1 for tokens in identifiers]
        )
