"""Reranking: new scores for what was found, the first retriever's share of them, and the weight that dev chooses."""

from collections.abc import Sequence

import pytest

from genir.errors import ArtefactError, ConfigError
from genir.records import Document, Qrels, Query, Run, ScoredDoc
from retrievers.bm25 import BM25Retriever
from retrievers.rerank import Pair, RerankingRetriever, combine, tune_weight

CORPUS = tuple(Document(f"d{i}", f"lake number {'one two three four five'.split()[i]}") for i in range(5))
FIRST = Run("first", {"q": (ScoredDoc("a", 3.0), ScoredDoc("b", 2.0), ScoredDoc("c", 1.0)), "none": ()})
SCORED = Run("scored", {"q": (ScoredDoc("c", 0.3), ScoredDoc("b", 0.2), ScoredDoc("a", 0.1)), "none": ()})


class ByNumber:
    """Later documents are better; remembers what it was asked."""

    name = "by-number"
    nbytes = 0

    def __init__(self) -> None:
        self.asked: list[Pair] = []

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        self.asked += pairs
        return [float(document.doc_id[1:]) for _, document in pairs]


def test_only_what_was_found_is_scored_and_kept() -> None:
    scorer = ByNumber()
    made = RerankingRetriever(BM25Retriever().build(CORPUS), CORPUS, scorer, depth=3)
    run = made.search([Query("q", "lake number"), Query("x", "unknown words")], 2)
    assert made.name == run.name == "bm25+by-number"
    assert {one.doc_id for _, one in scorer.asked} == {"d0", "d1", "d2"}  # equal scores: by doc_id
    assert run.rankings == {"q": (ScoredDoc("d2", 2.0), ScoredDoc("d1", 1.0)), "x": ()}


def test_the_first_retriever_has_its_share() -> None:
    assert [one.doc_id for one in combine(FIRST, SCORED, 0.0, 3).rankings["q"]] == ["c", "b", "a"]
    weighted = combine(FIRST, SCORED, 1.0, 2, "mixed")
    deviation = (2 / 3) ** 0.5
    assert [one.doc_id for one in weighted.rankings["q"]] == ["a", "b"]
    assert [one.score for one in weighted.rankings["q"]] == pytest.approx([0.1 + 1 / deviation, 0.2])
    assert (weighted.name, weighted.rankings["none"]) == ("mixed", ())


def test_dev_chooses_the_weight_and_the_lowest_of_equals() -> None:
    tuned = tune_weight(FIRST, SCORED, Qrels({"q": {"a": 1}}), "RR@10")
    assert (tuned.value, tuned.measure) == (1.0, "RR@10")
    assert tuned.weight == min(weight for weight, value in tuned.curve if value == 1.0) > 0
    assert tune_weight(FIRST, SCORED, Qrels({"q": {"c": 1}}), "RR@10").weight == 0.0
    empty = Run("empty", {"q": ()})
    assert tune_weight(empty, empty, Qrels({"q": {"c": 1}}), "RR@10").weight == 0.0


@pytest.mark.parametrize(("depth", "weight"), [(0, 0.0), (5, -1.0), (5, float("nan"))])
def test_impossible_settings(depth: int, weight: float) -> None:
    with pytest.raises(ConfigError, match="expected a depth of at least 1 and a weight of 0 or more"):
        RerankingRetriever(BM25Retriever(), CORPUS, ByNumber(), depth, weight)


def test_a_corpus_that_lacks_what_was_found() -> None:
    made = RerankingRetriever(BM25Retriever().build(CORPUS), CORPUS[:1], ByNumber())
    with pytest.raises(ArtefactError, match="bm25 finds document 'd1', which is not among the 1 to rerank"):
        made.search([Query("q", "number two")], 3)
