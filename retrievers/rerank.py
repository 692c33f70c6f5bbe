"""Reranking: the documents that any retriever finds get new scores from something that reads question and document together.

    s(q, d) = weight * z(first retriever's score) + scorer(q, d)

with z to mean 0 and deviation 1 within the question's ranking, so that one weight goes with every first retriever. Scorers: a
cross-encoder (`retrievers.cross_encoder`), the likelihood of the question (`retrievers.likelihood`), a head trained on a model's own
features (`retrievers.rerank_head`).

Invariant: only documents that the first retriever found among its `depth` best are returned, however large k is; `depth` and not k
decides what is scored, so the ranking for k = 10 begins that for k = 100.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from genir.errors import ArtefactError, ConfigError
from genir.measures import evaluate
from genir.protocols import Retriever
from genir.records import Document, Qrels, Query, Run, ScoredDoc
from retrievers.fusion import Normalisation, Tuned, normalise
from retrievers.ranking import check_k

Pair = tuple[str, Document]  # the text of a question, and a document
_SHARES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # weights to try, in spreads of the scorer's scores
_NORMALISATION: Normalisation = "z"


class PairScorer(Protocol):
    """Anything that says how well a document answers a question."""

    @property
    def name(self) -> str:
        """What tables and run files call it; no white space."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory of the weights that it runs, beyond those of the first retriever."""
        ...

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """A score for each pair, higher is better; of pairs with the same question they compare."""
        ...


@dataclass(frozen=True, slots=True)
class RerankSettings:
    """`depth` documents are scored anew; `weight` (0 or more) is the share of the first retriever's normalised score."""

    depth: int = 50
    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.depth < 1 or not self.weight >= 0:
            raise ConfigError(
                f"rerank depth is {self.depth} and weight {self.weight}: expected a depth of at least 1 and a weight of 0 or more"
            )


class RerankingRetriever:
    """A retriever (`genir.protocols.Retriever`) over another one."""

    def __init__(
        self, first: Retriever, corpus: Sequence[Document], scorer: PairScorer, depth: int = 50, weight: float = 0.0
    ) -> None:
        """Raises ConfigError for a depth below 1 or a weight below 0."""
        self.first, self.corpus, self.scorer = first, corpus, scorer
        self.settings = RerankSettings(depth, weight)
        self.name = f"{first.name}+{scorer.name}"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The first retriever's best `depth`, scored anew; at most k of them.

        Raises ConfigError for k < 1, ArtefactError where the first retriever finds what the corpus does not hold.
        """
        check_k(k)
        found = self.first.search(queries, self.settings.depth)
        return combine(found, self.rescore(queries, found), self.settings.weight, k, self.name)

    def rescore(self, queries: Sequence[Query], found: Run) -> Run:
        """The documents of `found` ranked by the scorer alone."""
        documents = {document.doc_id: document for document in self.corpus}
        wanted = [(query, one.doc_id) for query in queries for one in found.rankings[query.query_id]]
        for _, doc_id in wanted:
            if doc_id not in documents:
                raise ArtefactError(
                    f"{self.first.name} finds document {doc_id!r}, which is not among the {len(documents)} to rerank: give the "
                    "data folder that it was made from"
                )
        scores = self.scorer.score([(query.text, documents[doc_id]) for query, doc_id in wanted])
        rescored: dict[str, dict[str, float]] = {query.query_id: {} for query in queries}
        for (query, doc_id), score in zip(wanted, scores, strict=True):
            rescored[query.query_id][doc_id] = score
        return Run(self.scorer.name, {name: Run.rank(one, len(one)) for name, one in rescored.items()})


def combine(first: Run, scored: Run, weight: float, k: int, name: str = "rerank") -> Run:
    """The k best of `scored` by weight * (normalised score in `first`) + score."""
    rankings: dict[str, tuple[ScoredDoc, ...]] = {}
    for query_id, ranking in scored.rankings.items():
        before: Mapping[str, float] = normalise(first.rankings[query_id], _NORMALISATION) if weight else {}
        scores = {one.doc_id: one.score + weight * before.get(one.doc_id, 0.0) for one in ranking}
        rankings[query_id] = Run.rank(scores, k)
    return Run(name, rankings)


def tune_weight(first: Run, scored: Run, qrels: Qrels, measure: str) -> Tuned:
    """The weight with the best mean measure on the (dev) judgements; of equals the lowest.

    0 and weights from an eighth of the scorer's typical deviation within a ranking up to eight times as much are tried.
    """
    deviations = [float(np.std([one.score for one in ranking])) for ranking in scored.rankings.values() if ranking]
    spread = float(np.mean(deviations)) if deviations else 0.0
    depth = max(map(len, scored.rankings.values()), default=1)
    curve = []
    for weight in sorted({share * spread for share in _SHARES}):
        run = combine(first, scored, weight, max(depth, 1))
        (value,) = evaluate(run, qrels, [measure]).means.values()
        curve.append((weight, value))
    weight, value = max(curve, key=lambda point: (point[1], -point[0]))
    return Tuned(weight, value, measure, tuple(curve))
