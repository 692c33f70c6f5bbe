"""Dense retrieval: inner products of unit vectors in a flat faiss index, exhaustive, so exact.

Scores are rounded to six decimals: faiss's code paths for small and large batches agree no further in float32, and ties
must not depend on which of them ran. Documents with equal texts share one vector. Known gap: a text's vector depends a
little on the padding of its batch, in the last digits under float32 but by up to 1e-3 under bfloat16, where a batch and
its queries one at a time may therefore differ.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from genir.devices import Precision
from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ArtefactError, MissingExtraError, unknown_name
from genir.manifest import write_atomically
from genir.records import Document, Fields, Query, Run, ScoredDoc
from genir.words import terms
from retrievers.index_files import read_index_header, write_index_header
from retrievers.ranking import check_k, in_order_of_id, not_built

VECTORS = "vectors.safetensors"
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """What fixes the vectors; the prefixes are those that some encoders were trained with ("query: ", "passage: ")."""

    encoder: str = DEFAULT_ENCODER
    max_length: int = 256
    precision: Precision = "auto"
    query_prefix: str = ""
    document_prefix: str = ""
    fields: Fields = "title+text"

    def __post_init__(self) -> None:
        check_fields(self.fields)


def check_fields(fields: str) -> None:
    """Raise ConfigError for what documents are not read by."""
    if fields not in get_args(Fields):
        raise unknown_name("choice of fields", fields, get_args(Fields))


class DenseRetriever:
    """A flat index over an encoder's vectors: `build(corpus)` or `load(folder)`, then `search`."""

    def __init__(
        self,
        encoder: TextEncoder,
        query_prefix: str = "",
        document_prefix: str = "",
        fields: Fields = "title+text",
    ) -> None:
        self.encoder = encoder
        self.settings = DenseSettings(
            encoder.name, encoder.max_length, encoder.precision, query_prefix, document_prefix, fields
        )
        self.name = "dense"
        self._doc_ids: list[str] = []
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._index: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the index: the vectors, without the encoder's weights."""
        return self._vectors.nbytes

    def build(self, corpus: Sequence[Document]) -> Self:
        """Embed the fields. Raises DataError for no document or a repeated doc_id, MissingExtraError without faiss.

        Progress goes to stderr, as in `search`.
        """
        _faiss()  # before the long work
        documents = in_order_of_id(corpus)
        settings = self.settings
        texts = {one.doc_id: settings.document_prefix + one.read(settings.fields) for one in documents}
        # In the corpus' own order: the encoder's cache then serves everybody who embeds this corpus.
        given = [document.doc_id for document in corpus]
        vectors = self.encoder.encode([texts[doc_id] for doc_id in given], progress="embedding documents")
        row_of_text: dict[str, int] = {}
        for row, doc_id in enumerate(given):
            row_of_text.setdefault(texts[doc_id], row)
        self._doc_ids = [document.doc_id for document in documents]
        self._set_vectors(vectors[[row_of_text[texts[doc_id]] for doc_id in self._doc_ids]])
        return self

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query; none for a blank one. Raises ConfigError for k < 1.

        The encoder cuts a query at its `max_length` tokens; a warning counts the queries that are certainly longer.
        """
        check_k(k)
        if self._index is None:
            raise not_built(self.name)
        asked = [query for query in queries if query.text.strip()]
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        if asked:
            self._warn_of_cuts(asked)
            texts = [self.settings.query_prefix + query.text for query in asked]
            vectors = self.encoder.encode(texts, progress="embedding queries" if len(texts) > 100 else "")
            found = self._nearest(vectors, min(k, len(self._doc_ids)))
            rankings.update({query.query_id: ranking for query, ranking in zip(asked, found, strict=True)})
        return Run(self.name, rankings)

    def save(self, folder: Path) -> None:
        """Write vectors (N, D) as safetensors, doc_ids and settings as JSON."""
        if self._index is None:
            raise not_built(self.name)
        write_index_header(folder, self.name, self.settings, self._doc_ids)
        vectors = {"vectors": self._vectors}
        write_atomically(folder / VECTORS, lambda temporary: save_file(vectors, temporary))

    @classmethod
    def load(cls, folder: Path, encoder: TextEncoder | None = None) -> Self:
        """The retriever that `save` wrote, with an encoder made from its settings unless one is given.

        Raises ArtefactError where the folder is no dense index, or was made by another encoder than the given one.
        """
        settings, doc_ids = read_index_header(folder, "dense", DenseSettings)
        made_by = (settings.encoder, settings.max_length)
        if encoder is None:
            encoder = TextEncoder(settings.encoder, settings.max_length, precision=settings.precision)
        elif (encoder.name, encoder.max_length) != made_by:
            raise ArtefactError(
                f"{folder}: made by encoder and max_length {made_by}, got {(encoder.name, encoder.max_length)}: "
                "queries and documents need the same encoder"
            )
        self = cls(encoder, settings.query_prefix, settings.document_prefix, settings.fields)
        try:
            vectors = load_file(folder / VECTORS)["vectors"]
        except (OSError, KeyError, SafetensorError) as error:
            raise ArtefactError(f"{folder / VECTORS}: cannot be read ({error}); build the index again") from None
        if len(vectors) != len(doc_ids):
            raise ArtefactError(f"{folder}: {len(vectors)} vectors for {len(doc_ids)} documents; build the index again")
        self._doc_ids = doc_ids
        self._set_vectors(vectors)
        return self

    def _set_vectors(self, vectors: np.ndarray) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        faiss = _faiss()
        self._index = faiss.IndexFlatIP(self._vectors.shape[1])
        if faiss.get_num_gpus():  # faiss-gpu installed and a card at hand
            self._index = faiss.index_cpu_to_all_gpus(self._index)
        self._index.add(self._vectors)

    def _nearest(self, vectors: np.ndarray, k: int, width: int = 0) -> list[tuple[ScoredDoc, ...]]:
        """The k nearest of every vector (B, D), ties by row; `width` of them are asked of faiss, more than k.

        faiss drops documents that tie with the k-th at will: where the width ends within such a tie, it is widened.
        """
        width = min(width or k + 1, len(self._doc_ids))
        products, rows = self._index.search(vectors, width)
        scores = np.round(products.astype(np.float64), DECIMALS)
        found: list[tuple[ScoredDoc, ...]] = []
        for i in range(len(vectors)):
            if width < len(self._doc_ids) and scores[i, -1] == scores[i, k - 1]:
                found += self._nearest(vectors[i : i + 1], k, 4 * width)
            else:
                best = np.lexsort((rows[i], -scores[i]))[:k].tolist()
                found.append(tuple(ScoredDoc(self._doc_ids[rows[i, j]], float(scores[i, j])) for j in best))
        return found

    def _warn_of_cuts(self, queries: Sequence[Query]) -> None:
        # A word is at least one token, and so is an ideograph, which makes up to two terms: never counts too many.
        limit = self.encoder.max_length
        longer = sum(max(len(query.text.split()), len(terms(query.text)) / 2) > limit for query in queries)
        if longer:
            warnings.warn(
                f"{longer} of {len(queries)} queries are longer than {limit} tokens and were cut", stacklevel=3
            )


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "dense", "dense retrieval") from None
    return faiss
