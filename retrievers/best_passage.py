"""Documents ranked by the best of their passages (MaxP: Dai & Callan 2019, arXiv:1905.09217), which any retriever may search.

Exact where the retriever is: of k documents' passages, no more than `most` stand in front of another document's best one.
"""

from collections.abc import Mapping, Sequence

from genir.protocols import Retriever
from genir.records import Document, Query, Run, ScoredDoc
from retrievers.ranking import check_k


def part_name(doc_id: str, number: int) -> str:
    """What a document's passage, or another part of it, is called beside those of other documents."""
    return f"{doc_id} {number}"


def whole_of(name: str) -> tuple[str, int]:
    """The document that a part's name is of, and the part's number."""
    doc_id, _, number = name.rpartition(" ")
    return doc_id, int(number)


def passage_corpus(texts: Mapping[str, Sequence[str]]) -> list[Document]:
    """{doc_id: its passages} as documents under their `part_name`."""
    return [Document(part_name(doc_id, n), text) for doc_id, own in texts.items() for n, text in enumerate(own)]


class BestPassageRetriever:
    """A retriever over a `passage_corpus`, whose documents have at most `most` passages, as one over the documents."""

    def __init__(self, passages: Retriever, most: int) -> None:
        self.passages, self.most = passages, most
        self.name = passages.name

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, each with the score of its best passage. Raises ConfigError for k < 1."""
        check_k(k)
        found = self.passages.search(queries, k * self.most)
        return Run(self.name, {query_id: _best(ranking, k) for query_id, ranking in found.rankings.items()})


def _best(ranking: Sequence[ScoredDoc], k: int) -> tuple[ScoredDoc, ...]:
    scores: dict[str, float] = {}
    for one in ranking:  # best first
        scores.setdefault(whole_of(one.doc_id)[0], one.score)
    return Run.rank(scores, k)
