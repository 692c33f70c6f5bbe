"""BM25 over bm25s or rank-bm25, behind one interface.

`backend="bm25s"` is Lucene's variant (Kamphuis et al. 2020), scored at indexing time into a sparse matrix;
`backend="rank-bm25"` is that package's BM25Okapi. Their scores do not compare: BM25Okapi keeps the original formula's
factor (k1 + 1), and its idf, log(N - n + .5) - log(n + .5), is 0 for a term in half of the documents and, where it
would be negative, a quarter of the mean idf; Lucene's log(1 + (N - n + .5) / (n + .5)) is always positive.

Terms are those of `genir.words`: words, and for Han and Kana single characters with pairs of neighbours. A document
that shares no term with the query scores 0 and is not returned, so a query without letters or digits (empty, emoji) has
an empty ranking. Queries are never cut, however long. Known gap: under rank-bm25 a match on terms of idf 0 alone is no
match.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
from tqdm import tqdm

from genir.errors import ArtefactError, ConfigError, MissingExtraError, unknown_name
from genir.manifest import write_atomically
from genir.records import Document, Query, Run, ScoredDoc
from genir.words import ENGLISH_STOPWORDS, terms
from retrievers.index_files import read_index_header, read_json, write_index_header
from retrievers.ranking import best_rows, check_k, in_order_of_id, not_built

FIELDS = ("title", "text", "url")
TOKENS = "tokens.json"


@dataclass(frozen=True, slots=True)
class BM25Settings:
    """k1 and b are Anserini's defaults; `stemmer` is an algorithm of PyStemmer, `stopwords` Lucene's English list.

    Fields are read as one text, so that one named n times weighs n times as much: ("title", "title", "text") doubles a title's
    frequencies and its length, which is how Robertson, Zaragoza and Taylor (2004) extend BM25 to weighted fields.
    """

    k1: float = 0.9
    b: float = 0.4
    stemmer: str | None = "english"
    stopwords: Literal["english"] | None = "english"
    fields: tuple[str, ...] = ("title", "text")
    backend: Literal["bm25s", "rank-bm25"] = "bm25s"

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ConfigError(f"k1 is {self.k1} and b is {self.b}: expected k1 >= 0 and 0 <= b <= 1")
        if self.backend not in _BACKENDS:
            raise unknown_name("BM25 backend", self.backend, _BACKENDS)
        if self.stopwords not in (None, "english"):
            raise unknown_name("stop word list", str(self.stopwords), ("english",))
        if not self.fields:
            raise ConfigError("fields is empty: name at least one of " + ", ".join(FIELDS))
        for field in self.fields:
            if field not in FIELDS:
                raise unknown_name("document field", field, FIELDS)
        if self.stemmer is not None:
            import Stemmer

            if self.stemmer not in Stemmer.algorithms():
                raise unknown_name("stemmer", self.stemmer, Stemmer.algorithms())


class BM25Retriever:
    """BM25 with frozen parameters: `build(corpus)` or `load(folder)`, then `search`."""

    def __init__(
        self,
        k1: float = 0.9,
        b: float = 0.4,
        stemmer: str | None = "english",
        stopwords: Literal["english"] | None = "english",
        fields: tuple[str, ...] = ("title", "text"),
        backend: Literal["bm25s", "rank-bm25"] = "bm25s",
    ) -> None:
        """Raises ConfigError for an impossible value or an unknown stemmer, field or backend."""
        self.settings = BM25Settings(k1, b, stemmer, stopwords, tuple(fields), backend)
        self.name = "bm25" if backend == "bm25s" else backend
        self._doc_ids: list[str] = []
        self._index: _Index | None = None

    def build(self, corpus: Sequence[Document]) -> Self:
        """Index a corpus. Raises DataError where it is empty or repeats an id, MissingExtraError without rank-bm25."""
        documents = in_order_of_id(corpus)
        texts = (" ".join(getattr(document, field) for field in self.settings.fields) for document in documents)
        tokens = self._tokenise(texts, len(documents), "indexing")
        self._index = _BACKENDS[self.settings.backend](self.settings)
        self._index.build(tokens)
        self._doc_ids = [document.doc_id for document in documents]
        return self

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, none of them with score 0. Raises ConfigError for k < 1."""
        check_k(k)
        index = self._built()
        tokens = self._tokenise((query.text for query in queries), len(queries), "")
        rankings: dict[str, tuple[ScoredDoc, ...]] = {}
        for query, query_tokens in zip(tqdm(queries, desc=self.name, delay=2, leave=False), tokens, strict=True):
            rankings[query.query_id] = best_rows(index.scores(query_tokens), k, self._doc_ids)
        return Run(self.name, rankings)

    def save(self, folder: Path) -> None:
        """Write the index: arrays as .npy without pickle, everything else as JSON."""
        index = self._built()
        write_index_header(folder, "bm25", self.settings, self._doc_ids)
        index.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The retriever that `save` wrote. Raises ArtefactError where the folder is no BM25 index."""
        settings, doc_ids = read_index_header(folder, "bm25", BM25Settings)
        self = cls(**{name: getattr(settings, name) for name in BM25Settings.__slots__})
        self._index = _BACKENDS[settings.backend](settings)
        self._index.load(folder)
        self._doc_ids = doc_ids
        return self

    def _built(self) -> "_Index":
        if self._index is None:
            raise not_built(self.name)
        return self._index

    def _tokenise(self, texts: Iterable[str], total: int, label: str) -> list[list[str]]:
        stemmer = None
        if self.settings.stemmer is not None:
            import Stemmer

            stemmer = Stemmer.Stemmer(self.settings.stemmer)  # one for every call: stemmers are not thread-safe
        stopwords = ENGLISH_STOPWORDS if self.settings.stopwords else frozenset()
        tokens = []
        for text in tqdm(texts, total=total, desc=label, delay=2, leave=False, disable=not label):
            kept = [term for term in terms(text) if term not in stopwords]
            tokens.append(stemmer.stemWords(kept) if stemmer is not None else kept)
        return tokens


class _Index(Protocol):
    """What a backend does with token lists; rows are documents in the order of `build`."""

    def __init__(self, settings: BM25Settings) -> None: ...

    def build(self, tokens: list[list[str]]) -> None: ...

    def scores(self, query: list[str]) -> np.ndarray: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


class _Bm25s:
    """Lucene's BM25 in bm25s' sparse matrix; a query term that stands twice counts twice, as in Lucene."""

    def __init__(self, settings: BM25Settings) -> None:
        import bm25s

        self.settings = settings
        self.index = bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene", backend="numpy")

    def build(self, tokens: list[list[str]]) -> None:
        # Our own vocabulary, in order of appearance: bm25s numbers a set, so its files would differ from run to run.
        # The empty token is never looked up; it spares bm25s an empty vocabulary.
        vocabulary = {"": 0}
        ids = [[vocabulary.setdefault(token, len(vocabulary)) for token in document] for document in tokens]
        with np.errstate(invalid="ignore"):  # 0 / 0, unused, where no document has a term
            self.index.index((ids, vocabulary), create_empty_token=False, show_progress=False)

    def scores(self, query: list[str]) -> np.ndarray:
        scores: np.ndarray = self.index.get_scores_from_ids(self.index.get_tokens_ids(query))
        return scores

    def save(self, folder: Path) -> None:
        self.index.save(folder, allow_pickle=False, show_progress=False)

    def load(self, folder: Path) -> None:
        import bm25s

        try:
            self.index = bm25s.BM25.load(folder, allow_pickle=False, show_progress=False)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder}: not a readable bm25s index ({error}); build it again") from None


class _RankBm25:
    """BM25Okapi of rank-bm25. It has no file format of its own: the tokens are kept, and indexed again by `load`."""

    def __init__(self, settings: BM25Settings) -> None:
        try:
            import rank_bm25
        except ImportError:
            raise MissingExtraError("rank-bm25", "rank-bm25", "the BM25 backend 'rank-bm25'") from None
        self.okapi = rank_bm25.BM25Okapi
        self.settings = settings
        self.tokens: list[list[str]] = []
        self.index: Any = None

    def build(self, tokens: list[list[str]]) -> None:
        self.tokens = tokens
        if any(tokens):  # BM25Okapi divides by the size of the vocabulary
            self.index = self.okapi(tokens, k1=self.settings.k1, b=self.settings.b)

    def scores(self, query: list[str]) -> np.ndarray:
        if self.index is None:
            return np.zeros(len(self.tokens))
        known = [
            term for term in query if term in self.index.idf
        ]  # others cost a pass over the corpus each, for nothing
        scores: np.ndarray = self.index.get_scores(known)
        return scores

    def save(self, folder: Path) -> None:
        text = json.dumps(self.tokens, ensure_ascii=False)
        write_atomically(folder / TOKENS, lambda temporary: cast(None, temporary.write_text(text, encoding="utf-8")))

    def load(self, folder: Path) -> None:
        self.build(read_json(folder / TOKENS))


_BACKENDS: dict[str, type[_Index]] = {"bm25s": _Bm25s, "rank-bm25": _RankBm25}
