"""Diagnostics of a table, to be read before any training.

A collision rate above a tenth, codes that hardly vary, or prefixes that neighbours share no oftener than strangers
(`docids.neighbours`) cannot be mended by a model.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import numpy as np

from docids.neighbours import prefix_agreement
from docids.residual import Quantisation, mean_cosine
from docids.table import DocIDTable
from docids.vectors import checked_vectors
from genir.errors import DataError
from genir.records import DocIDTokens


def diagnose(table: DocIDTable, vectors: np.ndarray | None = None) -> dict[str, Any]:
    """Figures about a table's identifiers, as plain JSON values.

    documents, identifiers (distinct), uniqueness (identifiers / documents), collision_rate (share of the documents
    that share theirs with another), largest_group, prefixes (identifiers that begin another), length (min, mean, max
    over documents), levels (see `_level`), facts (the scheme's own). Where embeddings `vectors` (N, D) are given in
    the table's order: neighbour_agreement (see `prefix_agreement`), and, where it has codebooks, reconstruction.
    Raises DataError where `vectors` are of another number or width, or not finite.
    """
    sizes = [len(table.documents_of(tokens)) for tokens in table.identifiers()]
    lengths = [len(tokens) for tokens in table.tokens.values()]
    figures: dict[str, Any] = {
        "scheme": table.scheme,
        "documents": len(table),
        "identifiers": len(sizes),
        "uniqueness": len(sizes) / len(table),
        "collision_rate": sum(size for size in sizes if size > 1) / len(table),
        "largest_group": max(sizes),
        "prefixes": _prefix_count(table.identifiers()),
        "vocab_size": table.vocab_size,
        "length": {"min": min(lengths), "mean": float(np.mean(lengths)), "max": max(lengths)},
        "levels": [_level(table, level) for level in range(max(lengths))],
        "facts": dict(table.facts),
    }
    if vectors is not None:
        expected = (len(table), (vectors if table.codebooks is None else table.codebooks).shape[-1])
        if vectors.shape != expected:
            raise DataError(f"expected vectors of shape {expected} for this table, got {vectors.shape}")
        vectors = checked_vectors(vectors, list(table.tokens))
        figures["neighbour_agreement"] = prefix_agreement(table, vectors)
        if table.codebooks is not None:
            figures["reconstruction"] = _reconstruction(table, table.codebooks, vectors)
    return figures


def _level(table: DocIDTable, level: int) -> dict[str, Any]:
    """One position of the identifiers.

    documents that reach it, distinct tokens there, entropy in bits of the token of a random document, balance
    (entropy over log2 of the tokens that could stand there; 1 is uniform), and branching: continuations of a prefix,
    mean and max over the distinct prefixes that are continued.
    """
    reaching = [tokens for tokens in table.tokens.values() if len(tokens) > level]
    counts = np.array(list(Counter(tokens[level] for tokens in reaching).values()), dtype=np.float64)
    shares = counts / counts.sum()
    entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
    continuations: dict[DocIDTokens, set[int]] = defaultdict(set)
    for tokens in reaching:
        continuations[tokens[:level]].add(tokens[level])
    fan_out = [len(tokens) for tokens in continuations.values()]
    possible = table.codes_per_level or table.vocab_size
    return {
        "level": level,
        "documents": len(reaching),
        "distinct": len(counts),
        "entropy_bits": entropy,
        "balance": entropy / float(np.log2(possible)) if possible > 1 else 1.0,
        "branching_mean": float(np.mean(fan_out)),
        "branching_max": max(fan_out),
    }


def _prefix_count(identifiers: list[DocIDTokens]) -> int:
    """In sorted order an identifier that begins others stands directly before one of them."""
    return sum(after[: len(before)] == before for before, after in pairwise(identifiers))


def _reconstruction(table: DocIDTable, codebooks: np.ndarray, vectors: np.ndarray) -> dict[str, float]:
    levels, size, _ = codebooks.shape
    offsets = np.arange(levels) * size
    rebuilt = Quantisation(np.array(list(table.tokens.values())) - offsets, codebooks).reconstruct()
    return {
        "mean_cosine": mean_cosine(vectors, rebuilt),
        "mean_squared_error": float(((vectors - rebuilt) ** 2).sum(axis=1).mean()),
    }
