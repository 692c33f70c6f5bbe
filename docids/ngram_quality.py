"""Diagnostics of n-gram identifiers, to be read before any training.

How long must an n-gram be before it names one document? A document that no n-gram of the greatest length names alone
cannot be told apart by what a model writes; it can still rank by several n-grams that it alone holds together.
"""

from typing import Any

import numpy as np

from docids.ngram import NgramTable

Ints = np.ndarray[Any, Any]


def diagnose_ngrams(table: NgramTable) -> dict[str, Any]:
    """Figures about the n-grams of a corpus up to the scheme's `longest` tokens, as plain JSON values.

    documents, tokens, identifiers (distinct n-grams), uniqueness (share of the documents that some n-gram names alone),
    collision_rate (the others), length (of n-grams), own_length (tokens of the shortest n-gram that names a document
    alone, over the documents that have one), document_length, bytes (of the index in memory), levels, one a length:
    tokens, occurrences, distinct, naming_one (n-grams that stand in one document only) and documents_named (documents
    that have such a one); facts (the scheme's own).
    """
    lengths = np.array([len(tokens) for tokens in table.tokens.values()])
    longest = min(int(table.documents.settings["longest"]), int(lengths.max()))
    levels, own = _levels(list(table.tokens.values()), longest)
    named = own[own > 0]
    return {
        "scheme": table.scheme,
        "documents": len(table),
        "tokens": int(lengths.sum()),
        "identifiers": sum(level["distinct"] for level in levels),
        "uniqueness": len(named) / len(table),
        "collision_rate": 1 - len(named) / len(table),
        "vocab_size": table.documents.vocab_size,
        "length": {"min": 1, "max": longest},
        "own_length": {"mean": float(named.mean()), "max": int(named.max())} if len(named) else None,
        "document_length": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())},
        "bytes": table.index.nbytes,
        "levels": levels,
        "facts": dict(table.documents.facts),
    }


def _levels(documents: list[tuple[int, ...]], longest: int) -> tuple[list[dict[str, int]], Ints]:
    """Figures of each length 1..longest, and for each document the length of its shortest n-gram of its own (0: none).

    N-grams are numbered length by length: one of n tokens is one of n - 1 and a token. A stable sort keeps the
    occurrences of each in corpus order, so that the first and the last tell whether they are of one document.
    """
    lengths = np.array([len(document) for document in documents])
    owner = np.repeat(np.arange(len(documents)), lengths)
    behind = np.repeat(np.cumsum(lengths), lengths)
    _, single = np.unique(np.concatenate([np.asarray(document) for document in documents]), return_inverse=True)
    kinds = int(single.max()) + 1
    number = np.zeros_like(single)
    starts = np.arange(len(single))
    own = np.zeros(len(documents), np.int64)
    levels = []
    for n in range(1, longest + 1):
        starts = starts[starts + n <= behind[starts]]
        keys = number[starts] * kinds + single[starts + n - 1]
        order = np.argsort(keys, kind="stable")
        heads = np.flatnonzero(np.diff(keys[order], prepend=-1))
        sizes = np.diff(heads, append=len(keys))
        number[starts[order]] = np.repeat(np.arange(len(heads)), sizes)
        first, last = owner[starts[order[heads]]], owner[starts[order[heads + sizes - 1]]]
        named = np.unique(first[first == last])
        own[named] = np.where(own[named] > 0, own[named], n)
        levels.append(
            {
                "tokens": n,
                "occurrences": len(keys),
                "distinct": len(heads),
                "naming_one": int((first == last).sum()),
                "documents_named": len(named),
            }
        )
    return levels, own
