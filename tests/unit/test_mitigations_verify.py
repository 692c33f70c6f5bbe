"""Chain-of-Verification and Verify-and-Edit, with scripted readers and generators."""

import pytest

from genir.errors import ConfigError
from genir.records import Answer, Claim, Document, ScoredDoc
from rag.mitigations.chain_of_verification import ChainOfVerification
from rag.mitigations.signals import ConfidenceSignal
from rag.mitigations.step import Mitigation
from rag.mitigations.tools import Tools, fused, search
from rag.mitigations.verify_and_edit import VerifyAndEdit
from tests.scripted_generator import ScriptedGenerator
from tests.scripted_reader import ScriptedReader, ScriptedRetriever

DOCUMENTS = {
    "peru": Document("peru", "Lima is the capital of Peru.", "Peru"),
    "chile": Document("chile", "Santiago is the capital of Chile.", "Chile"),
    "lima": Document("lima", "Lima is a large city.", "Lima"),
}
QUESTION = "What is the capital of Peru?"


def answered(text: str, doc_id: str = "chile", question: str = QUESTION, confidence: float = 0.4) -> Answer:
    claims = (Claim(text, 0, len(text)),)
    return Answer(
        "1", question, text, claims=claims, passages=(ScoredDoc(doc_id, 2.0),), retriever="bm25", confidence=confidence
    )


def test_a_confirmed_answer_stays() -> None:
    reader = ScriptedReader({"Lima is the capital of what?": "Peru"})
    retriever = ScriptedRetriever({"Lima is the capital of what?": ["lima", "peru"]})
    step = ChainOfVerification(Tools(reader, retriever, k=2))
    assert isinstance(step, Mitigation)
    before = answered("Lima", "peru")
    assert step.revise([before], DOCUMENTS) == [before]
    assert reader.asked == [("Lima is the capital of what?", ("lima", "peru"))]
    assert retriever.asked == [("1", "Lima is the capital of what?")]


def test_a_refuted_answer_is_read_again_from_all_that_was_found() -> None:
    replies = {"Santiago is the capital of what?": "Chile", QUESTION: "Lima"}
    retriever = ScriptedRetriever({"Santiago is the capital of what?": ["peru"]})
    reader = ScriptedReader(replies, confidence=0.6)
    [after] = ChainOfVerification(Tools(reader, retriever)).revise([answered("Santiago")], DOCUMENTS)
    assert reader.asked[-1] == (QUESTION, ("chile", "peru"))
    assert (after.text, after.confidence, after.citations[0].doc_id) == ("Lima", 0.6, "peru")
    stubborn = ScriptedReader(replies | {QUESTION: "Santiago"})
    [after] = ChainOfVerification(Tools(stubborn, retriever)).revise([answered("Santiago")], DOCUMENTS)
    assert (after.abstained, after.claims) == (True, ())
    silent = ScriptedReader({"Santiago is the capital of what?": "Chile"})
    assert ChainOfVerification(Tools(silent, retriever)).revise([answered("Santiago")], DOCUMENTS)[0].abstained


def test_a_refuted_sentence_is_dropped_and_the_rest_stays() -> None:
    first, second = "Lima is the capital of Peru.", "Santiago is the capital of Peru."
    claims = (Claim(first, 0, len(first)), Claim(second, len(first) + 1, len(first) + 1 + len(second)))
    both = Answer(
        "1", QUESTION, f"{first} {second}", claims=claims, passages=(ScoredDoc("peru", 1.0),), retriever="bm25"
    )
    replies = {"What is the capital of Peru?": "Lima", "Santiago is the capital of what?": "Chile"}
    [after] = ChainOfVerification(Tools(ScriptedReader(replies))).revise([both], DOCUMENTS)
    assert (after.text, len(after.claims)) == (first, 1)


def test_what_cannot_be_asked_or_answered_changes_nothing() -> None:
    step = ChainOfVerification(Tools(ScriptedReader({})))
    for before in (answered("red", question="What colour is it?"), answered("Santiago")):
        assert step.revise([before], DOCUMENTS) == [before]
    silent = Answer("1", QUESTION, "", abstained=True)
    assert step.revise([silent], DOCUMENTS) == [silent]
    assert step.revise([], DOCUMENTS) == []


def test_a_closed_book_answer_is_checked_from_memory() -> None:
    reader = ScriptedReader({"Santiago is the capital of what?": "Chile", QUESTION: "Lima"})
    before = Answer("1", QUESTION, "Santiago", claims=(Claim("Santiago", 0, 8),))
    [after] = ChainOfVerification(Tools(reader)).revise([before], DOCUMENTS)
    assert after.abstained  # refuted, and without a passage there is nothing to read again
    assert reader.asked == [("Santiago is the capital of what?", ())]


def test_a_generator_plans_and_revises() -> None:
    writer = ScriptedGenerator([" Is it Lima?\n2. Is it Santiago?", "Lima"])
    reader = ScriptedReader({"Is it Lima?": "yes", "Is it Santiago?": "no"})
    retriever = ScriptedRetriever({"Is it Lima?": ["peru"]})
    tools = Tools(reader, retriever, generator=writer)
    [after] = ChainOfVerification(tools).revise([answered("Santiago")], DOCUMENTS)
    assert "Proposed answer: Santiago" in writer.prompts[0]
    assert "Question: Is it Lima?\nAnswer: yes\n" in writer.prompts[1]
    assert reader.asked == [("Is it Lima?", ("peru",))]  # for the other nothing was found
    assert (after.text, after.citations[0].doc_id, after.confidence) == ("Lima", "peru", 0.4)


def test_a_generator_that_stops_at_once() -> None:
    before = answered("Santiago")
    tools = Tools(ScriptedReader({"Who?": "x"}), generator=ScriptedGenerator([""]))
    assert ChainOfVerification(tools).revise([before], DOCUMENTS) == [before]  # no questions, nothing to revise
    tools = Tools(ScriptedReader({"Who?": "x"}), generator=ScriptedGenerator(["Who?", ""]))
    [after] = ChainOfVerification(tools).revise([before], DOCUMENTS)
    assert after.abstained


def test_only_unsure_answers_are_edited() -> None:
    retriever = ScriptedRetriever({QUESTION: ["peru", "chile"], "Santiago is the capital of what?": ["chile"]})
    reader = ScriptedReader({QUESTION: "Lima"})
    step = VerifyAndEdit(Tools(reader, retriever, k=2), threshold=0.5)
    assert isinstance(step, Mitigation)
    sure, unsure = answered("Santiago", confidence=0.9), answered("Santiago", confidence=0.5)
    assert step.revise([sure], DOCUMENTS) == [sure]
    assert reader.asked == []
    [after] = step.revise([unsure], DOCUMENTS)
    # chile: 1/62 + 1/61; peru: 1/61
    assert reader.asked == [(QUESTION, ("chile", "peru"))]
    assert (after.text, after.citations[0].doc_id, [one.doc_id for one in after.passages]) == (
        "Lima",
        "peru",
        ["chile", "peru"],
    )
    assert step.revise([], DOCUMENTS) == []


def test_an_abstention_is_unsure_and_nothing_found_withdraws() -> None:
    reader = ScriptedReader({QUESTION: "Lima"})
    step = VerifyAndEdit(Tools(reader, ScriptedRetriever({QUESTION: ["peru"]})), signal=ConfidenceSignal())
    silent = Answer("1", QUESTION, "", abstained=True, confidence=0.9)
    [after] = step.revise([silent], DOCUMENTS)
    assert (after.text, after.retriever) == ("Lima", "scripted")  # it was closed-book
    step = VerifyAndEdit(Tools(reader, ScriptedRetriever({})))
    assert step.revise([answered("Santiago")], DOCUMENTS)[0].abstained
    with pytest.raises(ConfigError, match="verify-and-edit: needs a retriever"):
        VerifyAndEdit(Tools(reader))


def test_a_generator_s_questions_are_searched_for() -> None:
    retriever = ScriptedRetriever({QUESTION: ["chile"], "Is it Lima?": ["peru"]})
    tools = Tools(ScriptedReader({QUESTION: "Lima"}), retriever, generator=ScriptedGenerator(["Is it Lima?"]))
    [after] = VerifyAndEdit(tools).revise([answered("Santiago")], DOCUMENTS)
    assert [text for _, text in retriever.asked] == [QUESTION, "Is it Lima?"]
    assert after.text == "Lima"
    stopped = Tools(ScriptedReader({QUESTION: "Lima"}), retriever, generator=ScriptedGenerator([""]))
    assert VerifyAndEdit(stopped).revise([answered("Santiago")], DOCUMENTS)[0].text == "Lima"


def test_rankings_are_fused_and_searched_round_by_round() -> None:
    one, other = (ScoredDoc("a", 9.0), ScoredDoc("b", 8.0)), (ScoredDoc("b", 3.0),)
    assert [scored.doc_id for scored in fused([one, other])] == ["b", "a"]
    assert fused([one, other])[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused([]) == ()
    retriever = ScriptedRetriever({"x": ["peru"], "y": ["chile"]})
    answers = [answered("a"), Answer("2", "?", "b")]
    found = search(answers, [["x", "y"], ["y"]], retriever, 1)
    assert [[[scored.doc_id for scored in ranking] for ranking in row] for row in found] == [
        [["peru"], ["chile"]],
        [["chile"]],
    ]
    assert retriever.asked == [("1", "x"), ("2", "y"), ("1", "y")]
    with pytest.raises(ConfigError, match="k = 0: expected at least one passage a search"):
        Tools(ScriptedReader({}), k=0)
