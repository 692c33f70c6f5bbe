"""Retrieve or not: a gate that searches only where the reader is unsure of what it says from memory.

Every question is answered closed-book; where the signal (the reader's confidence, or its self-consistency) is at most the gate's
threshold, it is answered once more, from passages. After Mallen et al. 2023 (adaptive retrieval, there by the entity's popularity) and
Jiang et al. 2023 (FLARE, by token probability). The threshold is the one of the greatest utility on dev questions: the mean score less
`price` for every search; of equals the one that searches least.

Invariants: threshold NEVER searches for no question, ALWAYS for every one; a closed-book abstention has signal 0. What a gate buys against
never and always is measured by `genir rag eval --conditions gate` (`experiments.rag_evaluation.gating`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genir.errors import ConfigError, DataError
from genir.protocols import Generator, Retriever
from genir.records import Answer, Document, Query
from rag.answering import answer
from rag.conversation import Condenser, Turn
from rag.mitigations.signals import ConfidenceSignal, Signal
from rag.reading import Reader
from rag.scoring import score_answer
from rag.verification import SupportChecker

NEVER, ALWAYS = -1.0, 1.0  # below, and at, every value of a signal


@dataclass(frozen=True, slots=True)
class Gate:
    """Search where the signal is at most `threshold`. `measure`, `price`, `score` and `searched` (a share) say what it was chosen by on
    `questions` dev questions, and what it gave there."""

    threshold: float
    signal: str
    measure: str = "F1"
    price: float = 0.0
    score: float = 0.0
    searched: float = 0.0
    questions: int = 0

    def searches(self, value: float) -> bool:
        """Whether a question with this value is searched for."""
        return value <= self.threshold


def tune_gate(
    closed: Sequence[Answer],
    grounded: Sequence[Answer],
    values: Sequence[float],
    queries: Sequence[Query],
    signal: str = "confidence",
    measure: str = "F1",
    price: float = 0.0,
) -> Gate:
    """The gate of the greatest utility on dev: closed-book answers, grounded ones, and the signal of the former, question by question.

    `price`: what one search costs, in units of `measure` a question. Raises DataError without questions or with answers missing,
    ConfigError for a measure that `rag.scoring.score_answer` does not give.
    """
    if not queries or not len(closed) == len(grounded) == len(values) == len(queries):
        raise DataError(
            f"{len(closed)} closed-book answers, {len(grounded)} grounded ones and {len(values)} values for {len(queries)} dev questions: "
            "expected one of each a question, and at least one question"
        )
    rows = [_scores(both, query, measure) for *both, query in zip(closed, grounded, queries, strict=True)]

    def outcome(threshold: float) -> tuple[float, float]:
        taken = [value <= threshold for value in values]
        score = sum(row[searches] for row, searches in zip(rows, taken, strict=True)) / len(rows)
        return score, sum(taken) / len(rows)

    candidates = {threshold: outcome(threshold) for threshold in (NEVER, *sorted(set(values)), ALWAYS)}
    best = max(candidates, key=lambda one: (candidates[one][0] - price * candidates[one][1], -candidates[one][1], -one))
    return Gate(best, signal, measure, price, *candidates[best], len(rows))


def answer_adaptively(
    queries: Sequence[Query],
    retriever: Retriever,
    reader: Reader | Generator,
    documents: Mapping[str, Document],
    gate: Gate,
    k: int = 3,
    signal: Signal | None = None,
    closed_book: Reader | Generator | None = None,
    *,
    conversations: Sequence[Sequence[Turn]] = (),
    condenser: Condenser | None = None,
    checker: SupportChecker | None = None,
) -> list[Answer]:
    """One answer a question, in order: from memory (`closed_book`, by default the reader), or from passages where that is unsure.

    `conversations`, `condenser`, `checker`: see `rag.answering.answer`. Raises ConfigError where the gate was tuned for another signal,
    and what `rag.answering.answer` raises.
    """
    asked = _matching(gate, signal)
    told: Any = {"condenser": condenser, "checker": checker}
    answers = answer(queries, None, closed_book or reader, documents, k, conversations=conversations, **told)
    values = asked.of(answers, documents)
    rows = [row for row, value in enumerate(values) if gate.searches(value)]
    turns = [conversations[row] for row in rows] if conversations else ()
    again = answer([queries[row] for row in rows], retriever, reader, documents, k, conversations=turns, **told)
    for row, grounded in zip(rows, again, strict=True):
        answers[row] = grounded
    return answers


def _matching(gate: Gate, signal: Signal | None) -> Signal:
    asked = signal or ConfidenceSignal()
    if asked.name != gate.signal:
        raise ConfigError(f"a gate for {gate.signal!r} cannot judge {asked.name!r}: tune one for that signal")
    return asked


def _scores(answers: Sequence[Answer], query: Query, measure: str) -> list[float]:
    """[closed-book, grounded]."""
    found = []
    for one in answers:
        if one.query_id != query.query_id:
            raise DataError(
                f"an answer to {one.query_id!r} stands where {query.query_id!r} is asked: give them in one order"
            )
        scores = score_answer(one, query)
        if measure not in scores:
            raise ConfigError(f"measure {measure!r}: expected one of {', '.join(scores)}")
        found.append(scores[measure])
    return found
