"""Fusion of rankings: reciprocal ranks, or a weighted sum of normalised scores with the weight tuned on dev.

Only rankings are seen, so a document outside one counts as its last: it gets nothing from reciprocal ranks, 0 from
min-max and the ranking's lowest score from z. A ranking that is empty for a query contributes nothing to it. How deep
the fused rankings are changes what is fused: tune on rankings as deep as those that are fused later.

Known gap: z sees no difference between the one document of a ranking and those outside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from genir.errors import ConfigError, unknown_name
from genir.measures import evaluate, parse_measure
from genir.protocols import Retriever
from genir.records import Qrels, Query, Run, ScoredDoc
from retrievers.ranking import check_k

Normalisation = Literal["min-max", "z"]
Method = Literal["linear", "reciprocal-rank"]


def reciprocal_rank_fusion(runs: Sequence[Run], k: int, constant: float = 60.0, name: str = "hybrid") -> Run:
    """The k best by the sum over runs of 1 / (constant + rank), ranks from 1 (Cormack, Clarke, Buettcher 2009)."""
    check_k(k)
    fused: dict[str, tuple[ScoredDoc, ...]] = {}
    for query_id in _query_ids(runs):
        scores: dict[str, float] = {}
        for run in runs:
            for rank, scored in enumerate(run.rankings.get(query_id, ()), start=1):
                scores[scored.doc_id] = scores.get(scored.doc_id, 0.0) + 1 / (constant + rank)
        fused[query_id] = Run.rank(scores, k)
    return Run(name, fused)


def linear_fusion(
    first: Run, second: Run, weight: float, k: int, normalisation: Normalisation = "min-max", name: str = "hybrid"
) -> Run:
    """The k best by weight * first + (1 - weight) * second, of scores normalised within each ranking.

    Raises ConfigError for a weight outside 0..1 or an unknown normalisation.
    """
    check_k(k)
    _check_weight(weight)
    return _weighted(_aligned(first, second, normalisation), weight, k, name)


def normalise(ranking: Sequence[ScoredDoc], normalisation: Normalisation) -> Mapping[str, float]:
    """doc_id -> score within its ranking: "min-max" onto 0..1, "z" to mean 0 and deviation 1.

    Where all scores are equal, min-max gives 1 and z gives 0.
    """
    if normalisation not in get_args(Normalisation):
        raise unknown_name("normalisation", normalisation, get_args(Normalisation))
    scores = np.array([scored.score for scored in ranking], dtype=np.float64)
    if not len(scores):
        return {}
    if normalisation == "min-max":
        low, spread = scores.min(), np.ptp(scores)
        scores = (scores - low) / spread if spread else np.ones_like(scores)
    else:
        deviation = scores.std()
        scores = (scores - scores.mean()) / deviation if deviation else np.zeros_like(scores)
    return {scored.doc_id: score for scored, score in zip(ranking, scores.tolist(), strict=True)}


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best weight, its value, and the whole curve: (weight, value of the measure) for every weight tried."""

    weight: float
    value: float
    measure: str
    curve: tuple[tuple[float, float], ...]


def tune(
    first: Run,
    second: Run,
    qrels: Qrels,
    measure: str = "nDCG@10",
    steps: int = 20,
    normalisation: Normalisation = "min-max",
) -> Tuned:
    """The weight in 0, 1/steps, ..., 1 with the best mean measure on the (dev) qrels; of equals the nearest to 1/2.

    Weights equally near to 1/2 go by the lower. Raises ConfigError for an unknown measure or no step.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}: a grid of weights needs at least 1")
    judged = [Run(run.name, {key: run.rankings.get(key, ()) for key in qrels}) for run in (first, second)]
    aligned = _aligned(judged[0], judged[1], normalisation)
    depth = parse_measure(measure).params.get("cutoff", sum(map(_longest, judged)))  # no deeper than the measure looks
    curve = []
    for step in tqdm(range(steps + 1), desc="tuning the hybrid's weight", delay=2, leave=False):
        fused = _weighted(aligned, step / steps, depth, "hybrid")
        (value,) = evaluate(fused, qrels, [measure]).means.values()
        curve.append((step / steps, value))
    weight, value = max(curve, key=lambda point: (point[1], -abs(point[0] - 0.5), -point[0]))
    return Tuned(weight, value, measure, tuple(curve))


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """`weight` is the first retriever's share; `depth` documents of each are fused, so that k changes no order."""

    weight: float = 0.5
    method: Method = "linear"
    normalisation: Normalisation = "min-max"
    depth: int = 100

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        check_k(self.depth)
        if self.method not in get_args(Method):
            raise unknown_name("fusion method", self.method, get_args(Method))
        if self.normalisation not in get_args(Normalisation):
            raise unknown_name("normalisation", self.normalisation, get_args(Normalisation))


class HybridRetriever:
    """Two retrievers as one. Under "reciprocal-rank" the weight and the normalisation are not used."""

    def __init__(
        self,
        first: Retriever,
        second: Retriever,
        weight: float = 0.5,
        method: Method = "linear",
        normalisation: Normalisation = "min-max",
        depth: int = 100,
    ) -> None:
        """Raises ConfigError for a weight outside 0..1, a depth below 1, an unknown method or normalisation."""
        self.first = first
        self.second = second
        self.settings = HybridSettings(weight, method, normalisation, depth)
        self.name = "hybrid"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, and at most those among the first `depth` of either retriever."""
        check_k(k)
        settings = self.settings
        first, second = (retriever.search(queries, settings.depth) for retriever in (self.first, self.second))
        if settings.method == "reciprocal-rank":
            return reciprocal_rank_fusion((first, second), k, name=self.name)
        return linear_fusion(first, second, settings.weight, k, settings.normalisation, self.name)


# query_id -> its candidates in order of doc_id, and their normalised scores (2, candidates): one row a run
_Aligned = dict[str, tuple[list[str], np.ndarray]]


def _aligned(first: Run, second: Run, normalisation: Normalisation) -> _Aligned:
    aligned: _Aligned = {}
    for query_id in _query_ids((first, second)):
        sides = [normalise(run.rankings.get(query_id, ()), normalisation) for run in (first, second)]
        doc_ids = sorted(sides[0].keys() | sides[1].keys())
        scores = np.zeros((2, len(doc_ids)))
        for row, side in zip(scores, sides, strict=True):
            outside = min(side.values(), default=0.0) if normalisation == "z" else 0.0
            row[:] = [side.get(doc_id, outside) for doc_id in doc_ids]
        aligned[query_id] = doc_ids, scores
    return aligned


def _weighted(aligned: _Aligned, weight: float, k: int, name: str) -> Run:
    rankings = {}
    for query_id, (doc_ids, scores) in aligned.items():
        fused = weight * scores[0] + (1 - weight) * scores[1]
        best = np.argsort(-fused, kind="stable")[:k]
        pairs = zip(best.tolist(), fused[best].tolist(), strict=True)
        rankings[query_id] = tuple(ScoredDoc(doc_ids[row], score) for row, score in pairs)
    return Run(name, rankings)


def _query_ids(runs: Sequence[Run]) -> list[str]:
    """Every query of any run, once, in order of appearance."""
    return list(dict.fromkeys(query_id for run in runs for query_id in run.rankings))


def _longest(run: Run) -> int:
    return max(map(len, run.rankings.values()), default=0)


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight is {weight}: the first retriever's share lies between 0 and 1")
