from collections.abc import Sequence
from dataclasses import replace

import pytest

from experiments.rag_evaluation.gating import policies
from experiments.rag_evaluation.reading import Answered
from genir.errors import ConfigError, DataError
from genir.protocols import SamplingParams
from genir.records import Answer, Claim, Document, Query, ScoredDoc
from rag.answering import answer
from rag.gate import ALWAYS, NEVER, Gate, answer_adaptively, tune_gate
from rag.measures.per_question import measure_answers
from rag.mitigations.cost import Cost
from rag.mitigations.signals import ConsistencySignal, Signal, SupportSignal
from rag.reading import GeneratorReader, Reading
from rag.verification import LexicalChecker
from tests.scripted_generator import ScriptedGenerator
from tests.scripted_reader import ScriptedReader, ScriptedRetriever

QUERIES = [Query(str(i), f"question {i}", ("right",)) for i in range(4)]


def said(*texts: str) -> list[Answer]:
    return [
        Answer(query.query_id, query.text, text, abstained=not text) for query, text in zip(QUERIES, texts, strict=True)
    ]


CLOSED = said("right", "right", "wrong", "")
GROUNDED = said("wrong", "right", "right", "right")
VALUES = [0.9, 0.8, 0.4, 0.0]


def test_the_threshold_of_greatest_utility_by_hand() -> None:
    # F1 if searching at or below: never 2/4, .0: 3/4, .4: 4/4, .8: 4/4, always 3/4
    gate = tune_gate(CLOSED, GROUNDED, VALUES, QUERIES)
    assert (gate.threshold, gate.score, gate.searched, gate.questions) == (0.4, 1.0, 0.5, 4)
    # less the price of a search: never .5, .0: .75 - .3 * .25 = .675, .4: 1 - .3 * .5 = .85
    assert tune_gate(CLOSED, GROUNDED, VALUES, QUERIES, price=0.3).threshold == 0.4
    # never .5, .0: .75 - .5, .4: 1 - 1
    assert tune_gate(CLOSED, GROUNDED, VALUES, QUERIES, price=2.0).threshold == NEVER
    assert tune_gate(said("", "", "", ""), GROUNDED, [0.0] * 4, QUERIES).threshold == 0.0
    assert ALWAYS == 1.0


def test_a_gate_needs_dev_questions() -> None:
    with pytest.raises(DataError, match="0 closed-book answers, 0 grounded ones and 0 values for 0 dev questions"):
        tune_gate([], [], [], [])
    with pytest.raises(DataError, match="an answer to '1' stands where '0' is asked"):
        tune_gate(CLOSED[1:2], GROUNDED[:1], [0.5], QUERIES[:1])
    with pytest.raises(ConfigError, match="measure 'BLEU': expected one of EM, F1"):
        tune_gate(CLOSED, GROUNDED, VALUES, QUERIES, measure="BLEU")


DOCUMENTS = {"d": Document("d", "The answer is right.")}
RETRIEVER = ScriptedRetriever({query.text: ["d"] for query in QUERIES})
MEMORY = {"question 0": "right", "question 1": "wrong"}


class Sure(ScriptedReader):
    """Surer of question 0 than of any other."""

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        readings = super().read(questions, passages)
        return [
            replace(reading, probability=0.9 if question == "question 0" else 0.2)
            for question, reading in zip(questions, readings, strict=True)
        ]


def test_only_the_unsure_questions_are_searched_for() -> None:
    gate = Gate(0.5, "confidence")
    memory, grounded = Sure(MEMORY, name="memory"), ScriptedReader({"d": "right"}, name="grounded")
    found = answer_adaptively(QUERIES, RETRIEVER, grounded, DOCUMENTS, gate, closed_book=memory)
    assert [(one.text, one.retriever, one.generator) for one in found] == [
        ("right", "none", "memory"),
        *[("right", "scripted", "grounded")] * 3,
    ]
    assert len(grounded.asked) == 3
    with pytest.raises(ConfigError, match="a gate for 'consistency' cannot judge 'confidence'"):
        answer_adaptively(QUERIES, RETRIEVER, grounded, DOCUMENTS, replace(gate, signal="consistency"))
    assert answer_adaptively([], RETRIEVER, grounded, DOCUMENTS, gate) == []


def test_three_policies_by_hand() -> None:
    gate = Gate(0.5, "confidence")
    memory = answer(QUERIES, None, Sure(MEMORY), DOCUMENTS)
    found = answer(QUERIES, RETRIEVER, ScriptedReader({"d": "right"}), DOCUMENTS)
    sides = [
        Answered(
            tuple(QUERIES),
            tuple(answers),
            (prompt,) * 4,
            measure_answers(answers, QUERIES, DOCUMENTS, costly=False),
            cost,
        )
        for answers, prompt, cost in (
            (memory, "closed", Cost(calls=4)),
            (found, None, Cost(calls=4, searches=4, seconds=2.0)),
        )
    ]
    rows = policies(sides[0], sides[1], gate)
    assert list(rows) == ["never", "always", "adaptive"]
    # Of question 0 it is sure; to 1 it says something wrong, to 2 and 3 nothing.
    assert [list(one.values["searches"].values()) for one in rows.values()] == [
        [0.0] * 4,
        [1.0] * 4,
        [0.0, 1.0, 1.0, 1.0],
    ]
    assert [sum(one.values["EM"].values()) for one in rows.values()] == [1.0, 4.0, 4.0]
    assert [sum(one.values["hallucination"].values()) for one in rows.values()] == [1.0, 0.0, 0.0]
    assert [(one.cost.calls, one.cost.searches, one.cost.seconds) for one in rows.values()] == [
        (4, 0, 0.0),
        (4, 4, 2.0),
        (7, 3, 1.5),
    ]
    adaptive = rows["adaptive"]
    assert adaptive.prompts == ("closed", None, None, None)
    same = answer_adaptively(
        QUERIES, RETRIEVER, ScriptedReader({"d": "right"}), DOCUMENTS, gate, closed_book=Sure(MEMORY)
    )
    assert list(adaptive.answers) == same


def test_consistency_is_the_share_of_samples_that_agree() -> None:
    generator = ScriptedGenerator(["Oslo", "Bergen", "oslo.", "", "I do not know"])
    reader = GeneratorReader(generator, params=SamplingParams(max_new_tokens=4))
    signal = ConsistencySignal(reader, samples=5)
    assert isinstance(signal, Signal)
    answers = [Answer("1", "Where?", "Oslo"), Answer("2", "Who?", "", abstained=True)]
    assert signal.of(answers, {}) == [2 / 5, 0.0]
    assert len(generator.prompts) == 5  # none for the abstention
    assert signal.of([], {}) == []
    with pytest.raises(ConfigError, match=r"samples 0, temperature 0.7: expected at least one sample"):
        ConsistencySignal(reader, samples=0)


def test_support_is_that_of_the_weakest_claim() -> None:
    documents = {"d": Document("d", "Oslo is old. It rains.")}
    claims = (Claim("Oslo is old.", 0, 12), Claim("Snow falls.", 13, 24))
    both = Answer("1", "?", "Oslo is old. Snow falls.", claims=claims, passages=(ScoredDoc("d", 1.0),))
    signal = SupportSignal(LexicalChecker())
    assert signal.name == "support (lexical)"
    assert signal.of(
        [both, replace(both, claims=claims[:1], query_id="2"), replace(both, passages=(), query_id="3")], documents
    ) == [
        0.0,
        1.0,
        0.0,
    ]
