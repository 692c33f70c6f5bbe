"""Which rows mitigations make in a table, and the answers of one row, with what its steps cost and asked of models.

Every row revises the same answers, so that rows differ in their steps alone and pair up question by question. A row whose first step reads
in another way (`contrast`, `copy-decode`) need not pay for the reading that it replaces. What tuning on dev answers took is not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments.rag_evaluation.mitigation_steps import REREADING, Kit, in_order, make_steps
from genir.records import Answer
from rag.mitigations.cost import Call, Cost, Meter
from rag.mitigations.step import apply


def rows_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Row -> steps: each of `names` alone, and all of them one behind another, where there are several, in the order in which they
    make sense (`mitigation_steps.in_order`).

    Of several steps that read every question anew the last would undo the others: each begins a row of its own with all the rest.
    """
    rows: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    rest = tuple(name for name in in_order(names) if name not in REREADING)
    beginnings: list[tuple[str, ...]] = [(name,) for name in in_order(names) if name in REREADING]
    for first in beginnings or [()]:
        chain = (*first, *rest)
        rows |= {"+".join(chain): chain} if chain else {}
    return rows


@dataclass(frozen=True)
class Revised:
    """Answers after the steps of a row, with what the steps took by themselves, without their tuning, and the calls behind each answer."""

    answers: tuple[Answer, ...]
    cost: Cost
    calls: tuple[tuple[Call, ...], ...]


def revise(steps: Sequence[str], answers: Sequence[Answer], kit: Kit) -> Revised:
    """The answers after the steps."""
    meter = Meter()
    made = make_steps(steps, replace(kit, meter=meter))
    tuning = meter.spent
    meter.calls.clear()
    revised = apply(made, answers, kit.documents)
    calls = tuple(tuple(meter.calls.get(one.query_id, ())) for one in answers)
    return Revised(tuple(revised), meter.spent - tuning, calls)


def reads_anew(steps: Sequence[str]) -> bool:
    """Whether the steps begin with one that takes the first reading's place."""
    return bool(steps) and steps[0] in REREADING
