"""Fusion: both formulas by hand, absent documents, and the tuned weight."""

from typing import Any

import pytest

from genir.errors import ConfigError
from genir.records import Qrels, Query, Run, ScoredDoc
from retrievers.fusion import HybridRetriever, linear_fusion, normalise, reciprocal_rank_fusion, tune


def run(name: str = "run", **rankings: list[tuple[str, float]]) -> Run:
    """A run from query_id=[(doc_id, score), ...]."""
    return Run(name, {key: tuple(ScoredDoc(*pair) for pair in pairs) for key, pairs in rankings.items()})


FIRST = run("first", q=[("a", 10.0), ("b", 5.0), ("c", 0.0)])
SECOND = run("second", q=[("b", 0.9), ("d", 0.7)])


def scores(fused: Run) -> dict[str, float]:
    return {scored.doc_id: scored.score for scored in fused.rankings["q"]}


def test_reciprocal_ranks_by_hand() -> None:
    fused = reciprocal_rank_fusion([FIRST, SECOND], 10)
    assert scores(fused) == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "d": 1 / 62, "c": 1 / 63})
    assert [scored.doc_id for scored in fused.rankings["q"]] == ["b", "a", "d", "c"]
    assert scores(reciprocal_rank_fusion([FIRST], 1, constant=0)) == {"a": 1.0}


def test_linear_by_hand() -> None:
    fused = linear_fusion(FIRST, SECOND, 0.6, 10)
    assert scores(fused) == pytest.approx({"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.0})
    assert [scored.doc_id for scored in fused.rankings["q"]] == ["b", "a", "c", "d"]


def test_z_gives_absent_documents_the_lowest_score() -> None:
    deviation = (50 / 3) ** 0.5
    fused = linear_fusion(FIRST, SECOND, 0.5, 10, "z")
    assert scores(fused) == pytest.approx(
        {"a": 2.5 / deviation - 0.5, "b": 0.5, "c": -2.5 / deviation - 0.5, "d": -2.5 / deviation - 0.5}
    )


def test_normalisation() -> None:
    assert normalise([], "min-max") == normalise([], "z") == {}
    one = [ScoredDoc("a", 3.0)]
    assert (normalise(one, "min-max"), normalise(one, "z")) == ({"a": 1.0}, {"a": 0.0})
    with pytest.raises(ConfigError, match="unknown normalisation 'max': did you mean 'min-max'"):
        normalise(one, "max")  # type: ignore[arg-type]


def test_the_only_document_of_a_ranking_beats_absent_ones() -> None:
    fused = linear_fusion(run(q=[("a", 3.0)]), run(q=[("b", 1.0), ("c", 0.5)]), 0.9, 10)
    assert scores(fused) == pytest.approx({"a": 0.9, "b": 0.1, "c": 0.0})


def test_queries_of_either_run_and_empty_rankings() -> None:
    fused = linear_fusion(run(p=[("a", 1.0)], q=[]), run(q=[("b", 1.0)], r=[]), 0.5, 10)
    assert {key: [scored.doc_id for scored in ranking] for key, ranking in fused.rankings.items()} == {
        "p": ["a"],
        "q": ["b"],
        "r": [],
    }


@pytest.mark.parametrize("normalisation", ["min-max", "z"])
def test_the_ends_of_the_weight_are_the_runs_themselves(normalisation: Any) -> None:
    for weight, alone in ((1.0, FIRST), (0.0, SECOND)):
        above_the_last = alone.rankings["q"][:-1]  # with which absent documents tie
        fused = linear_fusion(FIRST, SECOND, weight, len(above_the_last), normalisation)
        assert [scored.doc_id for scored in fused.rankings["q"]] == [scored.doc_id for scored in above_the_last]


def test_tuning_finds_the_weight_and_keeps_the_curve() -> None:
    # b wins where its lead in the second run outweighs a's in the first: weight below 2/3.
    first, second = run(q=[("a", 1.0), ("b", 0.5), ("z", 0.0)]), run(q=[("b", 1.0), ("z", 0.0)])
    qrels = Qrels({"q": {"b": 1}, "unanswered": {"x": 1}})
    tuned = tune(first, second, qrels, "Success@1", steps=10)
    assert [value for _, value in tuned.curve] == [0.5] * 7 + [0.0] * 4
    assert [weight for weight, _ in tuned.curve] == pytest.approx([step / 10 for step in range(11)])
    assert (tuned.weight, tuned.value, tuned.measure) == (0.5, 0.5, "Success@1")  # the plateau's point nearest 1/2


def test_tuning_judges_only_judged_queries() -> None:
    others = run(q=[("a", 1.0)], unjudged=[("b", 1.0)])
    assert tune(others, others, Qrels({"q": {"a": 1}}), "RR@10", steps=1).curve == ((0.0, 1.0), (1.0, 1.0))


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match=r"weight is 1\.5: the first retriever's share lies between 0 and 1"):
        linear_fusion(FIRST, SECOND, 1.5, 10)
    with pytest.raises(ConfigError, match="k is 0"):
        reciprocal_rank_fusion([FIRST], 0)
    with pytest.raises(ConfigError, match="steps is 0"):
        tune(FIRST, SECOND, Qrels({"q": {"a": 1}}), steps=0)
    with pytest.raises(ConfigError, match="unknown measure 'nDGC@10'"):
        tune(FIRST, SECOND, Qrels({"q": {"a": 1}}), "nDGC@10")
    with pytest.raises(ConfigError, match="unknown fusion method 'linaer': did you mean 'linear'"):
        HybridRetriever(Fixed(FIRST), Fixed(SECOND), method="linaer")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="weight is -1"):
        HybridRetriever(Fixed(FIRST), Fixed(SECOND), weight=-1)


class Fixed:
    """A retriever that knows one run, and notes the k it was asked for."""

    def __init__(self, known: Run) -> None:
        self.name, self.known, self.asked = known.name, known, 0

    def search(self, queries: list[Query], k: int) -> Run:
        self.asked = k
        return Run(self.name, {query.query_id: self.known.rankings[query.query_id][:k] for query in queries})


@pytest.mark.parametrize("k", [1, 500])
def test_the_hybrid_fuses_to_its_depth_whatever_k_is(k: int) -> None:
    first, second = Fixed(FIRST), Fixed(SECOND)
    found = HybridRetriever(first, second, weight=0.6, depth=3).search([Query("q", "text")], k)
    assert (first.asked, second.asked) == (3, 3)
    assert found == linear_fusion(FIRST, SECOND, 0.6, k)
    ranks = HybridRetriever(first, second, method="reciprocal-rank").search([Query("q", "text")], k)
    assert ranks == reciprocal_rank_fusion((FIRST, SECOND), k)
