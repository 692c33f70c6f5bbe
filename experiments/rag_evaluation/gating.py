"""Condition `gate`: never, always, or adaptively retrieving, for each arm that retrieves and each reader that can answer closed-book.

The gate decides by the confidence of the closed-book answer, with the threshold of the greatest utility on dev questions (`rag.gate`).
Nothing is read for it but what the closed-book arm reads: the adaptive answers are chosen among those of the two others.

Costs: never costs the closed-book reading, always the search and the reading, adaptive the first and its share of the second. Known gap: a
question searched for is taken to cost what questions cost on average.

Readers that leave every dev question unanswered closed-book have nothing to save by: they have no rows, and are named in `about`, and to
the user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from experiments.rag_evaluation.bench import Arm, Bench, Part, Row
from experiments.rag_evaluation.reading import Answered
from rag.gate import Gate, tune_gate
from rag.measures.per_question import PerQuery
from rag.mitigations.signals import ConfidenceSignal

LABEL = "gate"
SEARCHES = "searches"  # a question


def gated(bench: Bench, arms: Sequence[Arm]) -> list[Part]:
    """The part: three rows an arm, never and adaptive compared with always."""
    rows: dict[str, Row] = {}
    answered: dict[str, Answered] = {}
    gates: dict[str, dict[str, Any]] = {}
    silent: list[str] = []
    for generator in bench.readers:
        dev = bench.read(bench.evidence("none", bench.questions.dev), generator)
        if all(one.abstained for one in dev.answers):
            silent.append(bench.labels[generator])
            continue
        memory = bench.read(bench.evidence("none", bench.questions.asked), generator)
        for arm in arms:
            if arm.generator == generator and arm.retriever != "none":
                name = bench.name(arm.retriever, generator)
                gate = tuned_gate(bench, dev, arm)
                gates[name] = asdict(gate)
                found = policies(memory, arm.answered, gate)
                always = f"{name}, always"
                for policy, one in found.items():
                    row = f"{name}, {policy}"
                    rows[row] = Row(one.values, "" if row == always else always, cost=one.cost)
                answered[f"{name}, adaptive"] = found["adaptive"]
                if "none" not in bench.config.retrievers:  # else the table of arms has them
                    answered[f"{name}, never"] = memory
    about = {"gates": gates, "cannot_answer_closed_book": silent}
    why = f"{', '.join(silent)} left every dev question unanswered closed-book: give a reader that answers from memory, too"
    return [Part(LABEL, rows, answered, about, why if silent else "")]


def tuned_gate(bench: Bench, memory: Answered, arm: Arm) -> Gate:
    """The gate between the closed-book answers to the dev questions and the arm's."""
    assert arm.dev is not None  # check_conditions
    signal = ConfidenceSignal()
    values = signal.of(memory.answers, bench.documents)
    return tune_gate(
        memory.answers, arm.dev.answers, values, memory.queries, signal.name, price=bench.config.search_price
    )


def policies(memory: Answered, grounded: Answered, gate: Gate) -> dict[str, Answered]:
    """Policy -> answers, with the measure "searches" and what they cost: the adaptive ones are grounded where the gate searches."""
    values = ConfidenceSignal().of(memory.answers, {})
    taken = {one.query_id: gate.searches(value) for one, value in zip(memory.answers, values, strict=True)}
    chosen = [(grounded if taken[one.query_id] else memory) for one in memory.queries]
    share = sum(taken.values()) / len(taken)
    adaptive = Answered(
        memory.queries,
        tuple(one.answers[row] for row, one in enumerate(chosen)),
        tuple(one.prompts[row] for row, one in enumerate(chosen)),
        _mixed(memory.values, grounded.values, taken),
        memory.cost + grounded.cost.times(share),
    )
    return {
        "never": _with_searches(memory, dict.fromkeys(taken, False)),
        "always": _with_searches(grounded, dict.fromkeys(taken, True)),
        "adaptive": _with_searches(adaptive, taken),
    }


def _with_searches(answered: Answered, taken: Mapping[str, bool]) -> Answered:
    searches = {query_id: float(one) for query_id, one in taken.items()}
    return replace(answered, values={**answered.values, SEARCHES: searches})


def _mixed(memory: PerQuery, grounded: PerQuery, taken: Mapping[str, bool]) -> PerQuery:
    """Each question's values, of the one or of the other; what both have."""
    return {
        measure: {
            query_id: (grounded if taken[query_id] else memory)[measure][query_id] for query_id in memory[measure]
        }
        for measure in memory
        if grounded.get(measure, {}).keys() == memory[measure].keys()
    }
