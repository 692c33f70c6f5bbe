"""The table of arms: one reader, the same questions, and everything that may stand between them.

Each retriever, an oracle passage and a random passage are read by the same reader under the same rule with the same k, so
that these rows differ in the evidence alone; closed-book, a reader has its own way (see `rag.small_reader.reader`). `OracleRetriever`
and `RandomRetriever` are the two ends of the scale.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genir.errors import ConfigError
from genir.measures import bootstrap_interval
from genir.protocols import Generator, Retriever
from genir.records import Answer, Document, Qrels, Query, Run, ScoredDoc
from rag.answering import answer
from rag.reading import Reader
from rag.scoring import AnswerScores, summarise

TABLE_MEASURES = ("EM", "F1", "hallucination", "abstention")


@dataclass(frozen=True, slots=True)
class OracleRetriever:
    """Returns what the qrels call relevant, and nothing else: the reader's ceiling. A query without judgements gets nothing."""

    qrels: Qrels
    name: str = "oracle"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The first k relevant documents, in the qrels' order."""
        return Run(
            self.name,
            {
                query.query_id: tuple(ScoredDoc(doc_id, 1.0) for doc_id in self.qrels.relevant(query.query_id)[:k])
                for query in queries
            },
        )


@dataclass(frozen=True, slots=True)
class RandomRetriever:
    """Returns documents drawn at random, never a relevant one: a reader that looks must abstain. The draw hangs on seed and query_id."""

    doc_ids: tuple[str, ...]
    qrels: Qrels | None = None
    seed: int = 0
    name: str = "random"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """k distinct documents a query, or as many as there are."""
        rankings = {}
        for query in queries:
            relevant = set(self.qrels.relevant(query.query_id)) if self.qrels else set()
            drawn = random.Random(f"{self.seed}\0{query.query_id}").sample(
                self.doc_ids, min(len(self.doc_ids), k + len(relevant))
            )
            kept = [doc_id for doc_id in drawn if doc_id not in relevant][:k]
            rankings[query.query_id] = Run.rank(dict.fromkeys(kept, 0.0), k)
        return Run(self.name, rankings)


@dataclass(frozen=True, slots=True)
class Arm:
    """One row: means over all questions, 95 % bootstrap intervals, and the answers behind them."""

    name: str
    scores: AnswerScores
    intervals: Mapping[str, tuple[float, float]]
    answers: tuple[Answer, ...]

    def row(self) -> dict[str, object]:
        """The row as plain values, for a table or JSON: {"arm", measure: mean, "measure low", "measure high"}."""
        plain: dict[str, object] = {"arm": self.name, "questions": len(self.answers)}
        for measure, value in self.scores.mean.items():
            plain[measure] = value
            if measure in self.intervals:
                plain[f"{measure} low"], plain[f"{measure} high"] = self.intervals[measure]
        return plain


def compare_arms(
    arms: Mapping[str, Retriever | None],
    reader: Reader | Generator,
    queries: Sequence[Query],
    documents: Mapping[str, Document],
    k: int = 3,
    seed: int = 0,
) -> list[Arm]:
    """One row an arm, in the order given; None stands for closed-book. Raises ConfigError without arms or queries."""
    if not arms or not queries:
        raise ConfigError(f"expected at least one arm and one question, got {len(arms)} and {len(queries)}")
    rows = []
    for name, retriever in arms.items():
        answers = tuple(answer(queries, retriever, reader, documents, k))
        scores = summarise(answers, queries, documents)
        intervals = {
            measure: bootstrap_interval(list(scores.per_query[measure].values()), seed=seed)
            for measure in TABLE_MEASURES
        }
        rows.append(Arm(name, scores, intervals, answers))
    return rows
