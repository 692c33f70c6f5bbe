"""The shared vocabulary: Document, Query, Qrels, Run, Answer.

`doc_id` is the corpus key (str); `docid_tokens` is the identifier that a model writes (tuple of ints). Neither is ever a bare "docid".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

DocIDTokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One entry of the corpus. `title` and `url` may be empty."""

    doc_id: str
    text: str
    title: str = ""
    url: str = ""

    @property
    def title_and_text(self) -> str:
        """What retrievers index unless told otherwise."""
        return f"{self.title}. {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `answers` are the accepted short answers; empty where none are known or none exist."""

    query_id: str
    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Qrels:
    """Relevance judgements: query_id -> doc_id -> gain."""

    judgements: Mapping[str, Mapping[str, int]]

    def __len__(self) -> int:
        return len(self.judgements)

    def __iter__(self) -> Iterator[str]:
        return iter(self.judgements)

    def relevant(self, query_id: str) -> tuple[str, ...]:
        """The doc_ids judged above zero for a query, in the file's order."""
        return tuple(doc_id for doc_id, gain in self.judgements.get(query_id, {}).items() if gain > 0)


@dataclass(frozen=True, slots=True)
class ScoredDoc:
    """One line of a ranking."""

    doc_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Run:
    """Rankings of one system: query_id -> documents, best first, ties broken by doc_id."""

    name: str
    rankings: Mapping[str, tuple[ScoredDoc, ...]]

    @staticmethod
    def rank(scores: Mapping[str, float], k: int) -> tuple[ScoredDoc, ...]:
        """The k best of doc_id -> score, best first, ties by doc_id."""
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
        return tuple(ScoredDoc(doc_id, score) for doc_id, score in best)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus with its queries and its judged splits ("train", "dev", "test", ...), as read from one folder."""

    name: str
    corpus: tuple[Document, ...]
    queries: Mapping[str, Query]
    qrels: Mapping[str, Qrels] = field(default_factory=dict)

    def documents(self) -> dict[str, Document]:
        """doc_id -> Document."""
        return {document.doc_id: document for document in self.corpus}

    def split(self, name: str) -> tuple[Query, ...]:
        """The judged queries of a split, in the order of its qrels."""
        return tuple(self.queries[query_id] for query_id in self.qrels[name])


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer comes from: characters start..end (end exclusive) of a document's text."""

    doc_id: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader said to one question, with its sources. An abstention has `abstained` set and no citation."""

    query_id: str
    question: str
    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    support: float = 0.0
    retriever: str = "none"
    generator: str = ""
    passages: tuple[ScoredDoc, ...] = ()
