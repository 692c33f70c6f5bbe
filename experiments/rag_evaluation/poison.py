"""Condition `poisoned`: in the passages that an arm found, the right answer is replaced by another span of the same kind and length.

After entity substitution for knowledge conflicts (Longpre et al. 2021, arXiv:2109.05052), with the substitute taken from the same
evidence, so that it is at home there. A reader that follows its evidence now says the substitute; one that does not, says what it knew,
or nothing.

Invariants: no poisoned passage holds an accepted answer any more, in text or title; a question is poisoned alike wherever it is shown
the same passages; one whose passages hold no accepted answer, or no other span of its kind, is left out and counted. Kinds are years, other
numbers and names; answers of none of these ("are usually stated") are left out, since what takes their place makes no sentence, and
counted apart. To a question in Chinese kinds are those of `experiments.rag_evaluation.chinese_rivals`. Known gap: an answer that stands
there in other words stays.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.rag_evaluation.arms import ranked
from experiments.rag_evaluation.bench import Arm, Bench, Part, Row, agreeing, restricted, says
from experiments.rag_evaluation.chinese_rivals import chinese_rivals
from experiments.rag_evaluation.reading import Answered, Evidence
from genir.records import Document, Query
from rag.checkers.spans import Place, find, kind_of, rivals
from rag.template import written_in

LABEL = "poisoned"


@dataclass(frozen=True, slots=True)
class Swap:
    """For one question: the accepted answers, and what takes their place."""

    query_id: str
    accepted: tuple[str, ...]
    substitute: str

    def of(self, document: Document) -> Document:
        """The document with every accepted answer replaced, under an id of its own."""
        return replace(
            document,
            doc_id=f"{document.doc_id}~{self.query_id}",
            text=swap(document.text, self.accepted, self.substitute),
            title=swap(document.title, self.accepted, self.substitute),
        )


def poisoned(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """The part: each arm before and after. An arm of which no question can be poisoned has no rows, and all its questions are left out."""
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    left_out: dict[str, int] = {}
    for arm in arms:
        if arm.retriever == "none":
            continue
        name, clean = bench.name(arm.retriever, arm.generator), f"{bench.name(arm.retriever, arm.generator)}, before"
        evidence, swaps = poison(bench, arm)
        left_out[name] = len(arm.answered.queries) - len(swaps)
        if not swaps:
            continue
        after = bench.read(evidence, arm.generator)
        before = agreeing(arm.answered)
        values = {**after.values, **_flips(after, swaps, before)}
        rows[clean] = Row(restricted(arm.answered.values, list(swaps)))
        rows[name] = Row(values, against=clean)
        answered[name] = after
    about = {"left_out": left_out, "left_out_of_no_kind": len(of_no_kind(bench.questions.asked))}
    why = (
        ""
        if rows
        else "no passage that was found holds an accepted answer beside another year, number or name of its length"
    )
    return [Part(LABEL, rows, answered, about, why)]


def poison(bench: Bench, arm: Arm) -> tuple[Evidence, dict[str, Swap]]:
    """The questions that can be poisoned, with their poisoned passages, and the swap of each."""
    swaps: dict[str, Swap] = {}
    changed: dict[str, Document] = {}
    rankings = {}
    for query, answer in zip(arm.answered.queries, arm.answered.answers, strict=True):
        passages = [bench.documents[one.doc_id] for one in answer.passages]
        found = choose_swap(query, passages, bench.config.seed)
        if found is None:
            continue
        swaps[query.query_id] = found
        new = [found.of(passage) for passage in passages]
        changed |= {one.doc_id: one for one in new}
        rankings[query.query_id] = ranked([one.doc_id for one in new])
    queries = tuple(query for query in arm.answered.queries if query.query_id in swaps)
    return Evidence(queries, bench.shown(arm.retriever, rankings), changed), swaps


def choose_swap(query: Query, passages: Sequence[Document], seed: int = 0) -> Swap | None:
    """A swap for a question, drawn among the rivals of its answer in the first passage that holds both; None where there is none."""
    others = chinese_rivals if written_in(query.text) == "zh" else rivals
    of_a_kind = _of_a_kind(query)
    for passage in passages:
        for answer in of_a_kind:
            spans = others(answer, passage.text, query.answers, query.text) if find(answer, passage.text) else []
            if spans:
                start, end = random.Random(f"{seed}\0{query.query_id}").choice(spans)
                return Swap(query.query_id, query.answers, passage.text[start:end])
    return None


def of_no_kind(queries: Sequence[Query]) -> list[Query]:
    """The questions all of whose accepted answers are neither years, numbers nor names."""
    return [query for query in queries if not _of_a_kind(query)]


def _of_a_kind(query: Query) -> list[str]:
    """The accepted answers that have a kind; in Chinese all of them: `chinese_rivals` has kinds of its own."""
    chinese = written_in(query.text) == "zh"
    return [answer for answer in query.answers if chinese or kind_of(answer) != "other"]


def swap(text: str, accepted: Sequence[str], substitute: str) -> str:
    """`text` with every accepted answer that stands in it word for word replaced; of overlapping ones the longest."""
    places: list[Place] = []
    for place in sorted(
        (one for answer in accepted for one in find(answer, text)), key=lambda one: (one[0] - one[1], one)
    ):
        if all(place[1] <= start or end <= place[0] for start, end in places):
            places.append(place)
    for start, end in sorted(places, reverse=True):
        text = text[:start] + substitute + text[end:]
    return text


def _flips(after: Answered, swaps: Mapping[str, Swap], before: Mapping[str, bool]) -> dict[str, dict[str, float]]:
    """What the swap did: over all questions, and over those that were answered rightly before."""
    keeps = agreeing(after)
    follows = {
        one.query_id: not one.abstained
        and not keeps[one.query_id]
        and says(one.text, [swaps[one.query_id].substitute], one.question)
        for one in after.answers
    }
    right = [query_id for query_id in follows if before[query_id]]
    found = {
        "says the substitute": {query_id: float(value) for query_id, value in follows.items()},
        "keeps the right answer": {query_id: float(keeps[query_id]) for query_id in follows},
        "flipped": {query_id: float(follows[query_id]) for query_id in right},
        "silenced": {one.query_id: float(one.abstained) for one in after.answers if before[one.query_id]},
    }
    return {measure: by_query for measure, by_query in found.items() if by_query}
