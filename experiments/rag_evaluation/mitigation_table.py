"""The table of mitigations: what each of them, and none, changes in EM, F1, hallucination, coverage and cost.

Every row revises the same answers, so that rows differ in their steps alone and pair up question by question: each difference from the
first row has a 95 % bootstrap interval and, where it is a difference of means, the p of the paired randomisation test, corrected for all
tests of the table (Holm).

Cost is what a question takes in all: the search, the first reading and every step behind it; a row whose first step reads in another way
(`contrast`, `copy-decode`) does not pay for the reading that it replaces. What tuning on dev answers took is not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.rag_evaluation.mitigation_steps import REREADING, Kit, in_order, make_steps
from experiments.tables import figure
from genir.errors import ConfigError
from genir.measures import bootstrap_interval, compare_scores
from genir.protocols import Retriever
from genir.records import Answer, Document, Query
from rag.answering import answer
from rag.measures.estimates import UNDEFINED, Estimate, estimate
from rag.measures.per_question import PerQuery, measure_answers, run_scores
from rag.mitigations.cost import Cost, Meter
from rag.mitigations.step import apply
from rag.reading import Reader
from rag.verification import SupportChecker

NONE = "none"
MEASURES = (
    "EM",
    "F1",
    "hallucination",
    "coverage",
    "refusal",
    "over-refusal",
)  # the last two where the questions have them
OF_ANSWERED = "hallucination of answered"
COSTS = ("calls", "searches", "checks", "tokens", "words", "seconds")


@dataclass(frozen=True, slots=True)
class Change:
    """A figure with its 95 % interval; the difference from the first row with its own, and the p of it, plain and corrected.

    The difference is None in the first row, and p also for what is no mean over all questions.
    """

    value: Estimate
    delta: Estimate | None = None
    p: float | None = None
    p_corrected: float | None = None


@dataclass(frozen=True)
class MitigationRow:
    """One row: its steps by name, the answers after them, their measures question by question, the figures, the cost of all questions."""

    name: str
    steps: tuple[str, ...]
    answers: tuple[Answer, ...]
    values: PerQuery
    figures: Mapping[str, Change]
    cost: Cost

    def summary(self) -> dict[str, Any]:
        """Plain values: measure -> {mean, low, high, and delta with its interval and p}, and the cost of a question."""
        measures: dict[str, Any] = {}
        for measure, change in self.figures.items():
            measures[measure] = asdict(change.value)
            if change.delta is not None:
                measures[measure]["delta"] = asdict(change.delta) | {"p": change.p, "p_corrected": change.p_corrected}
        return {"steps": list(self.steps), **measures, "cost": self.cost.each(len(self.answers))}

    def cells(self) -> dict[str, Any]:
        """The row for a person: figures with their differences in brackets, costs a question."""
        shown = {measure: _shown(change) for measure, change in self.figures.items()}
        return {"mitigation": self.name, **shown, **self.cost.each(len(self.answers))}


def answer_measured(
    queries: Sequence[Query],
    retriever: Retriever | None,
    reader: Reader,
    documents: Mapping[str, Document],
    k: int = 3,
    checker: SupportChecker | None = None,
) -> tuple[list[Answer], Cost]:
    """What `rag.answering.answer` gives, and what it cost."""
    meter = Meter()
    answers = answer(
        queries,
        meter.retriever(retriever) if retriever else None,
        meter.reader(reader),
        documents,
        k,
        checker=meter.checker(checker) if checker else None,
    )
    return answers, meter.spent


def rows_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Row -> steps: none, each of `names` alone, and all of them one behind another, where there are several, in the order in which they
    make sense (`mitigation_steps.in_order`).

    Of several steps that read every question anew the last would undo the others: each begins a row of its own with all the rest.
    """
    rows: dict[str, tuple[str, ...]] = {NONE: (), **{name: (name,) for name in names}}
    rest = tuple(name for name in in_order(names) if name not in REREADING)
    beginnings: list[tuple[str, ...]] = [(name,) for name in in_order(names) if name in REREADING]
    for first in beginnings or [()]:
        chain = (*first, *rest)
        rows |= {"+".join(chain): chain} if chain else {}
    return rows


def mitigation_table(
    rows: Mapping[str, Sequence[str]],
    answers: Sequence[Answer],
    queries: Sequence[Query],
    kit: Kit,
    cost: Cost | None = None,
    seed: int = 0,
    searched: Cost | None = None,
) -> list[MitigationRow]:
    """One row for each of `rows` (`rows_of` makes the usual ones), in order, each compared with the first.

    `answers` answer `queries`, one each; `cost` is what they took (`answer_measured`), `searched` the part of it that finding the passages
    took, which a row that reads them in another way pays, too. Raises ConfigError without rows or questions, and
    what `make_steps` and `rag.scoring.one_each` raise.
    """
    if not rows or not queries:
        raise ConfigError(f"expected at least one row and one question, got {len(rows)} and {len(queries)}")
    revised, spent, values = {}, {}, {}
    for name, steps in rows.items():
        revised[name], own = revise(steps, answers, kit)
        spent[name] = own + ((searched if reads_anew(steps) else cost) or Cost())
        measured = measure_answers(revised[name], queries, kit.documents, costly=False)
        values[name] = {measure: dict(measured[measure]) for measure in MEASURES if measured.get(measure)}
    figures = _figures(values, seed)
    return [
        MitigationRow(name, tuple(rows[name]), tuple(revised[name]), values[name], figures[name], spent[name])
        for name in rows
    ]


def revise(steps: Sequence[str], answers: Sequence[Answer], kit: Kit) -> tuple[list[Answer], Cost]:
    """The answers after the steps, and what the steps took by themselves, without their tuning."""
    meter = Meter()
    made = make_steps(steps, replace(kit, meter=meter))
    tuning = meter.spent
    return apply(made, answers, kit.documents), meter.spent - tuning


def reads_anew(steps: Sequence[str]) -> bool:
    """Whether the steps begin with one that takes the first reading's place."""
    return bool(steps) and steps[0] in REREADING


def _figures(values: Mapping[str, PerQuery], seed: int) -> dict[str, dict[str, Change]]:
    """Row -> measure -> figure, each row against the first."""
    first = next(iter(values))
    found: dict[str, dict[str, Change]] = {name: {} for name in values}
    for one in compare_scores([run_scores(name, by_measure) for name, by_measure in values.items()], seed):
        delta = None
        if one.run != first:
            pairs = values[one.run][one.measure], values[first][one.measure]
            differences = [pairs[0][query_id] - pairs[1][query_id] for query_id in pairs[1]]
            delta = Estimate(one.delta, *bootstrap_interval(differences, seed))
        found[one.run][one.measure] = Change(Estimate(one.mean, one.low, one.high), delta, one.p, one.p_corrected)
    base = _wrong_and_given(values[first])
    for name, by_measure in values.items():
        mine = _wrong_and_given(by_measure)
        value = estimate(partial(_share, mine), len(mine), seed)
        delta = None if name == first else estimate(partial(_less, mine, base), len(mine), seed)
        found[name][OF_ANSWERED] = Change(value, delta)
    return found


Pairs = npt.NDArray[np.float64]  # (N, 2): wrong, answered


def _wrong_and_given(values: PerQuery) -> Pairs:
    wrong, given = values["hallucination"], values["coverage"]
    return np.array([(wrong[query_id], given[query_id]) for query_id in given])


def _share(pairs: Pairs, rows: npt.NDArray[np.intp]) -> float | None:
    wrong, given = pairs[rows].sum(axis=0)
    return float(wrong / given) if given else None


def _less(mine: Pairs, base: Pairs, rows: npt.NDArray[np.intp]) -> float | None:
    one, other = _share(mine, rows), _share(base, rows)
    return None if one is None or other is None else one - other


def _shown(change: Change) -> str:
    text = figure(change.value.mean)
    if change.delta is None or change.delta == UNDEFINED or change.delta.mean is None:
        return text
    assert change.delta.low is not None
    assert change.delta.high is not None
    return f"{text} ({change.delta.mean:+.3f} [{change.delta.low:+.3f}, {change.delta.high:+.3f}])"
