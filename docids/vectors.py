"""The corpus as vectors, checked, for the schemes that cluster them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genir.embedding import TextEncoder
from genir.errors import DataError
from genir.records import Document


def corpus_vectors(corpus: Sequence[Document], encoder: TextEncoder) -> np.ndarray:
    """Embeddings (N, D) float32 of every document's title and text.

    Raises DataError naming a document without finite ones.
    """
    vectors = encoder.encode([document.title_and_text for document in corpus], progress="embedding documents")
    return checked_vectors(vectors, [document.doc_id for document in corpus])


def checked_vectors(vectors: np.ndarray, doc_ids: Sequence[str] | None = None) -> np.ndarray:
    """`vectors` (N, D) as contiguous float32.

    Raises DataError for another shape, for N = 0, and for NaN or infinity.
    """
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise DataError(f"expected vectors of shape (documents, dimensions), at least one of each, got {vectors.shape}")
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        name = f"document {doc_ids[broken[0]]!r}" if doc_ids is not None else f"row {broken[0]}"
        raise DataError(
            f"{name} has an embedding that is not finite (one of {broken.size}); check its text and the encoder"
        )
    return np.ascontiguousarray(vectors, dtype=np.float32)


def encoder_settings(encoder: TextEncoder) -> dict[str, Any]:
    """What decides the vectors; not where or how fast they were made."""
    return {"encoder": encoder.name, "max_length": encoder.max_length}
