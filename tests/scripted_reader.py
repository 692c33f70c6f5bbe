"""A reader, a retriever and a checker that say what they were told to, and keep what they were asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genir.records import Document, Query, Run, ScoredDoc
from rag.reading import Reading
from rag.verification import Statement, Support


@dataclass
class ScriptedReader:
    """A reply by question, else by the first passage's doc_id; what is in neither, and every "", is an abstention."""

    replies: Mapping[str, str]
    confidence: float = 0.5
    name: str = "scripted"
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """See Reader."""
        readings = []
        for question, found in zip(questions, passages, strict=True):
            self.asked.append((question, tuple(passage.doc_id for passage in found)))
            first = found[0].doc_id if found else "memory"
            text = self.replies.get(question, self.replies.get(first, ""))
            readings.append(Reading(text, abstained=not text, confidence=self.confidence, probability=self.confidence))
        return readings


@dataclass
class ScriptedRetriever:
    """A ranking by the text of the query, best first; of any other text nothing."""

    found: Mapping[str, Sequence[str]]
    name: str = "scripted"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """See Retriever."""
        assert len({query.query_id for query in queries}) == len(queries)
        self.asked += [(query.query_id, query.text) for query in queries]
        return Run(
            self.name,
            {
                query.query_id: tuple(
                    ScoredDoc(doc_id, 1.0 / rank) for rank, doc_id in enumerate(self.found.get(query.text, ())[:k], 1)
                )
                for query in queries
            },
        )


@dataclass
class ScriptedChecker:
    """Supports the claims that it is given; of others nothing is known."""

    supported: frozenset[str]
    name: str = "scripted"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        """See SupportChecker."""
        return [Support(0.9 if statement.claim in self.supported else 0.1) for statement in statements]
