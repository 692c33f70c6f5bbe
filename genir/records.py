"""The shared vocabulary: Document, Query, Qrels, Run, Claim, Answer.

`doc_id` is the corpus key (str); `docid_tokens` is the identifier that a model writes (tuple of ints). Neither is ever a bare "docid".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

DocIDTokens = tuple[int, ...]
Fields = Literal["title+text", "title"]


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

    def read(self, fields: Fields) -> str:
        """What a retriever of these fields indexes: title and text where there is no title."""
        return self.title if fields == "title" and self.title.strip() else self.title_and_text


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


# What a SupportChecker says of a claim, given what it cites.
Verdict = Literal["supported", "unsupported", "contradicted"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a claim comes from: characters start..end (end exclusive) of a document's text.

    `passage` is the document's rank among the answer's passages, from 0 (-1: not recorded). `docid_tokens` and `identifier` are the DocID
    as the model wrote it, in tokens and in words; both are empty where the retriever writes none. `written`: the reader itself gave it (by
    a marker, by quoting, by naming the passage); otherwise the claim was attributed to it afterwards, by its words.
    """

    doc_id: str
    start: int
    end: int
    text: str
    passage: int = -1
    docid_tokens: DocIDTokens = ()
    identifier: str = ""
    written: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of an answer: characters start..end (end exclusive) of the answer's text, with what it rests on.

    `support` is the checker's probability, 0..1, that the cited text says so; a claim without a citation has 0 and is unsupported.
    `out_of_range`: how many of the reader's markers behind it name a passage that was not shown; they are no citations.
    """

    text: str
    start: int
    end: int
    citations: tuple[Citation, ...] = ()
    support: float = 0.0
    verdict: Verdict = "unsupported"
    out_of_range: int = 0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another answer to the same question, that a passage which was read gives; `confidence` is the reader's in it, 0..1."""

    text: str
    citation: Citation
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader said to one question, claim by claim, with its sources. An abstention has `abstained` set, no claim and no citation.

    `citations` are the claims' citations, in order, each once. `support` is lexical: the share of the answer's words that the cited
    text holds. `confidence` is the reader's own, 0..1 (0 where it gives none). `search_query`: what was searched for where the conversation
    made it differ from the question; else empty. `rivals`: what other passages answer instead, where the reader looks for it.
    """

    query_id: str
    question: str
    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    support: float = 0.0
    retriever: str = "none"
    generator: str = ""
    passages: tuple[ScoredDoc, ...] = ()
    claims: tuple[Claim, ...] = ()
    confidence: float = 0.0
    search_query: str = ""
    rivals: tuple[Rival, ...] = ()
