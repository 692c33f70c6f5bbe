"""TF-IDF: the cosine of sublinear tf-idf vectors, with scikit-learn. The simplest baseline, and a check on the others.

Terms, and what becomes of Han and Kana, are those of `genir.words`, without stemming or stop words: idf does their
work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from genir.errors import ArtefactError
from genir.manifest import write_atomically, write_json
from genir.records import Document, Query, Run, ScoredDoc
from genir.words import terms
from retrievers.index_files import read_index_header, read_json, write_index_header
from retrievers.ranking import best_rows, check_k, in_order_of_id, not_built

VOCABULARY = "vocabulary.json"
MATRIX = "matrix.safetensors"
_CHUNK = 256  # queries scored at once: a chunk of dense scores is (256, N)


@dataclass(frozen=True, slots=True)
class TfidfSettings:
    """`sublinear_tf` takes 1 + log(tf) for tf (Manning et al. 2008, 6.4.1)."""

    sublinear_tf: bool = True


class TfidfRetriever:
    """TF-IDF with frozen settings: `build(corpus)` or `load(folder)`, then `search`."""

    def __init__(self, sublinear_tf: bool = True) -> None:
        self.settings = TfidfSettings(sublinear_tf)
        self.name = "tfidf"
        self._doc_ids: list[str] = []
        self._vectorizer: Any = None
        self._matrix: Any = None  # (N, V) float32, rows of length 1 or, without terms, 0

    def build(self, corpus: Sequence[Document]) -> Self:
        """Index title and text. Raises DataError for an empty corpus or a repeated doc_id."""
        documents = in_order_of_id(corpus)
        # A vocabulary of our own: scikit-learn refuses a corpus without a single term (one of emoji, say).
        vocabulary: dict[str, int] = {}
        texts = [document.title_and_text for document in documents]
        for text in tqdm(texts, desc="vocabulary", delay=2, leave=False):
            for term in terms(text):
                vocabulary.setdefault(term, len(vocabulary))
        self._vectorizer = self._new_vectorizer(vocabulary or {"": 0})
        self._matrix = self._vectorizer.fit_transform(texts)
        self._doc_ids = [document.doc_id for document in documents]
        return self

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, those without a common term left out. Raises ConfigError for k < 1."""
        check_k(k)
        if self._vectorizer is None:
            raise not_built(self.name)
        rankings: dict[str, tuple[ScoredDoc, ...]] = {}
        for start in tqdm(range(0, len(queries), _CHUNK), desc=self.name, delay=2, leave=False):
            chunk = queries[start : start + _CHUNK]
            vectors = self._vectorizer.transform([query.text for query in chunk])
            scores = (vectors @ self._matrix.T).toarray()
            for query, row in zip(chunk, scores, strict=True):
                rankings[query.query_id] = best_rows(row, k, self._doc_ids)
        return Run(self.name, rankings)

    def save(self, folder: Path) -> None:
        """Write the matrix and idf as safetensors, the vocabulary as JSON."""
        if self._vectorizer is None:
            raise not_built(self.name)
        write_index_header(folder, self.name, self.settings, self._doc_ids)
        write_json(folder / VOCABULARY, list(self._vectorizer.vocabulary_))
        arrays = {name: np.ascontiguousarray(getattr(self._matrix, name)) for name in ("data", "indices", "indptr")}
        arrays["idf"] = np.ascontiguousarray(self._vectorizer.idf_)
        write_atomically(folder / MATRIX, lambda temporary: save_file(arrays, temporary))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The retriever that `save` wrote. Raises ArtefactError where the folder is no TF-IDF index."""
        from scipy.sparse import csr_matrix

        settings, doc_ids = read_index_header(folder, "tfidf", TfidfSettings)
        words = cast(list[str], read_json(folder / VOCABULARY))
        try:
            arrays = load_file(folder / MATRIX)
        except (OSError, SafetensorError) as error:
            raise ArtefactError(f"{folder / MATRIX}: cannot be read ({error}); build the index again") from None
        self = cls(settings.sublinear_tf)
        self._vectorizer = self._new_vectorizer({word: column for column, word in enumerate(words)})
        self._vectorizer.idf_ = arrays["idf"]
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        self._matrix = csr_matrix(parts, shape=(len(doc_ids), len(words)))
        self._doc_ids = doc_ids
        return self

    def _new_vectorizer(self, vocabulary: dict[str, int]) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(
            analyzer=terms, vocabulary=vocabulary, sublinear_tf=self.settings.sublinear_tf, dtype=np.float32
        )
