"""Condition `removed`: what holds the answer is taken out of what an arm finds, and the reader should abstain.

Taken out are the relevant documents, and every other one that holds an accepted answer word for word (`answer_in_context`): who answers
from such a passage is not wrong. What stands behind them moves up, and where fewer than k passages are left the arm searches deeper, to
DEEPEST. A question for which it still finds fewer is read with those, and counted.

Known gaps: documents are taken out of rankings, not out of the index, so that BM25's word statistics stay those of the whole corpus; an
answer that stands there in other words stays; a short answer ("two") takes out documents that hold the word for another reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.rag_evaluation.arms import Rankings
from experiments.rag_evaluation.bench import Arm, Bench, Part, Row
from experiments.rag_evaluation.reading import Answered
from experiments.rag_evaluation.settings import ENDS
from genir.records import Query, ScoredDoc
from rag.measures.per_question import PerQuery
from rag.scoring import answer_in_context

LABEL = "removed"
DEEPEST = 128  # documents of a ranking that are looked at, at most


@dataclass(frozen=True)
class Remainder:
    """What is left of an arm's rankings, k documents a question at most.

    `also`: query_id -> documents taken out though no judgement names them; `short`: questions with fewer than k documents left.
    """

    rankings: Rankings
    also: dict[str, int]
    short: int

    @property
    def about(self) -> dict[str, int]:
        """The counts for a person."""
        return {"questions": len(self.also), "documents": sum(self.also.values()), "with_fewer_passages": self.short}


def removed(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """The part: each searching arm without what holds the answer, compared with the whole corpus. Abstaining is "refusal" here: it is what
    is wanted.
    """
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    also: dict[str, Any] = {}
    for arm in arms:
        if arm.retriever in ENDS:
            continue
        name = bench.name(arm.retriever, arm.generator)
        left = remainder(bench, arm.retriever)
        also[name] = left.about
        evidence = bench.evidence(arm.retriever, bench.questions.asked)
        after = bench.read(replace(evidence, playback=bench.shown(arm.retriever, left.rankings)), arm.generator)
        whole = f"{name}, whole corpus"
        rows[whole] = Row(arm.answered.values)
        rows[name] = Row(_wanting_silence(after.values), against=whole)
        answered[name] = after
    return [Part(LABEL, rows, answered, {"removed_beside_relevant": also})]


def remainder(bench: Bench, retriever: str) -> Remainder:
    """What a retriever finds to the questions asked that holds no accepted answer, searched as deep as that takes."""
    queries, k = bench.questions.asked, bench.config.k
    rankings = bench.evidence(retriever, queries).rankings
    found = {query.query_id: rankings.get(query.query_id, ()) for query in queries}
    depth = max(map(len, found.values()))
    left = {query.query_id: _without(bench, query, found[query.query_id]) for query in queries}
    while depth < DEEPEST:
        # A ranking that ends before the depth has no more to give.
        few = [one for one in queries if len(left[one.query_id][0]) < k and len(found[one.query_id]) >= depth]
        if not few:
            break
        depth = min(2 * depth, DEEPEST)
        found |= bench.searcher.run(retriever, few, depth)
        left |= {query.query_id: _without(bench, query, found[query.query_id]) for query in few}
    remaining = {query_id: kept for query_id, (kept, _) in left.items()}
    also = {query_id: taken for query_id, (_, taken) in left.items() if taken}
    return Remainder(remaining, also, sum(len(kept) < k for kept in remaining.values()))


def _without(bench: Bench, query: Query, ranking: Sequence[ScoredDoc]) -> tuple[tuple[ScoredDoc, ...], int]:
    """The first k documents that are not relevant and hold no accepted answer, and how many irrelevant ones before them do."""
    relevant = set(bench.questions.relevant.relevant(query.query_id))
    kept: list[ScoredDoc] = []
    taken = 0
    for one in ranking:
        if len(kept) == bench.config.k:
            break
        if one.doc_id in relevant:
            continue
        if answer_in_context(query.answers, [bench.documents[one.doc_id]]):
            taken += 1
        else:
            kept.append(one)
    return tuple(kept), taken


def _wanting_silence(values: PerQuery) -> PerQuery:
    """Where nothing holds the answer, an abstention is a refusal, and none is too many."""
    kept = {measure: by_query for measure, by_query in values.items() if measure != "over-refusal"}
    return {**kept, "refusal": dict(values["abstention"])}
