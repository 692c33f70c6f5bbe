"""Hard negatives: documents that a retriever ranks high for a training query and that nobody judged relevant to it.

Invariant: a document judged relevant to a query (gain above zero) is never among that query's negatives. Known gap: a document that
answers the query but was not judged is; collections with many near-duplicates have such documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from genir.protocols import Retriever
from genir.records import Qrels, Query

T = TypeVar("T")


def mine(
    queries: Sequence[Query], qrels: Qrels, retrievers: Sequence[Retriever], depth: int
) -> Mapping[str, tuple[str, ...]]:
    """query_id -> the wrong documents among the first `depth` of every retriever, the retrievers in turn, hardest first."""
    runs = [retriever.search(queries, depth) for retriever in retrievers]
    mined: dict[str, tuple[str, ...]] = {}
    for query in queries:
        relevant = set(qrels.relevant(query.query_id))
        rankings = [[scored.doc_id for scored in run.rankings[query.query_id]] for run in runs]
        found = interleave([[doc_id for doc_id in ranking if doc_id not in relevant] for ranking in rankings])
        mined[query.query_id] = tuple(dict.fromkeys(found))
    return mined


def interleave(rankings: Sequence[Sequence[T]]) -> Iterator[T]:
    """The first of every ranking, then the second of every ranking, and so on."""
    for rank in range(max(map(len, rankings), default=0)):
        yield from (ranking[rank] for ranking in rankings if rank < len(ranking))
