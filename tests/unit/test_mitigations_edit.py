"""RARR's research and revision, with scripted readers, generators and checkers."""

from collections.abc import Sequence

from genir.records import Answer, Citation, Claim, Document, ScoredDoc
from rag.mitigations.editing import Edit
from rag.mitigations.step import Mitigation
from rag.mitigations.tools import Tools
from rag.verification import Statement, Support
from tests.scripted_generator import ScriptedGenerator
from tests.scripted_reader import ScriptedChecker, ScriptedReader, ScriptedRetriever

DOCUMENTS = {
    "peru": Document("peru", "Lima is the capital of Peru.", "Peru"),
    "chile": Document("chile", "Santiago is the capital of Chile.", "Chile"),
}
QUESTION = "What is the capital of Peru?"
RETRIEVER = ScriptedRetriever({QUESTION: ["peru"]})


def answered(*texts: str, doc_id: str = "chile") -> Answer:
    claims, text = [], ""
    for said in texts:
        start = len(text) + bool(text)
        text = f"{text} {said}".strip()
        claims.append(Claim(said, start, len(text)))
    cited = (Citation(doc_id, 0, 4, DOCUMENTS[doc_id].text[:4], 0, (1, 2), "one two"),)
    ranked = (ScoredDoc(doc_id, 1.0),)
    return Answer("1", QUESTION, text, cited, claims=tuple(claims), passages=ranked, retriever="bm25", confidence=0.5)


def test_a_supported_answer_costs_nothing_more() -> None:
    reader, retriever = ScriptedReader({}), ScriptedRetriever({})
    step = Edit(Tools(reader, retriever, ScriptedChecker(frozenset({"Santiago"}))))
    assert isinstance(step, Mitigation)
    before = answered("Santiago")
    assert step.revise([before], DOCUMENTS) == [before]
    assert (reader.asked, retriever.asked) == ([], [])


def test_a_claim_that_the_found_evidence_supports_stays_and_cites_it() -> None:
    class OnlyPeru(ScriptedChecker):
        """Believes what stands in the article on Peru."""

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return [Support(0.9 if "Peru" in statement.evidence else 0.0) for statement in statements]

    reader = ScriptedReader({})
    step = Edit(Tools(reader, RETRIEVER, OnlyPeru(frozenset())))
    [after] = step.revise([answered("Lima")], DOCUMENTS)
    assert (after.text, after.claims[0].verdict) == ("Lima", "supported")
    assert [(one.doc_id, one.passage) for one in after.citations] == [("peru", 1)]
    assert [one.doc_id for one in after.passages] == ["chile", "peru"]
    assert reader.asked == []  # nothing was edited


def test_a_bare_answer_is_replaced_by_what_the_reader_finds() -> None:
    reader = ScriptedReader({QUESTION: "Lima"})
    step = Edit(Tools(reader, RETRIEVER, ScriptedChecker(frozenset({"Lima"}))))
    [after] = step.revise([answered("Santiago")], DOCUMENTS)
    assert reader.asked == [(QUESTION, ("chile", "peru"))]
    assert (after.text, after.citations[0].doc_id, after.confidence) == ("Lima", "peru", 0.5)


def test_a_name_inside_a_sentence_is_replaced_by_a_span() -> None:
    question, said = "What is the capital of Peru?", "Cusco is the capital of Peru."
    reader = ScriptedReader({question: "Lima."})
    mended = "Lima is the capital of Peru."
    step = Edit(Tools(reader, RETRIEVER, ScriptedChecker(frozenset({mended}))))
    [after] = step.revise([answered(said)], DOCUMENTS)
    assert (after.text, after.claims[0].verdict) == (mended, "supported")


def test_an_edit_that_is_not_supported_is_deleted() -> None:
    step = Edit(Tools(ScriptedReader({QUESTION: "Cusco"}), RETRIEVER, ScriptedChecker(frozenset({"Santiago is hot."}))))
    [after] = step.revise([answered("Santiago is hot.", "Cusco")], DOCUMENTS)
    assert (after.text, len(after.claims), after.claims[0].end) == ("Santiago is hot.", 1, 16)
    [gone] = step.revise([answered("Cusco")], DOCUMENTS)
    assert (gone.abstained, gone.text) == (True, "I do not know")
    [silent] = Edit(Tools(ScriptedReader({}), None, ScriptedChecker(frozenset()))).revise(
        [answered("Cusco")], DOCUMENTS
    )
    assert silent.abstained


def test_a_generator_rewrites() -> None:
    writer = ScriptedGenerator(["Is it Lima?", "Lima is the capital."])
    checker = ScriptedChecker(frozenset({"Lima is the capital."}))
    step = Edit(Tools(ScriptedReader({}), RETRIEVER, checker, generator=writer))
    [after] = step.revise([answered("Santiago is the capital.")], DOCUMENTS)
    assert "Statement: Santiago is the capital." in writer.prompts[1]
    assert "Lima is the capital of Peru." in writer.prompts[1]  # the evidence
    assert after.text == "Lima is the capital."


def test_a_generator_that_stops_at_once_edits_nothing() -> None:
    tools = Tools(ScriptedReader({}), RETRIEVER, ScriptedChecker(frozenset()), generator=ScriptedGenerator([""]))
    [after] = Edit(tools).revise([answered("Santiago is the capital.")], DOCUMENTS)
    assert after.abstained


def test_two_claims_of_one_answer_are_researched_apart() -> None:
    retriever = ScriptedRetriever({QUESTION: ["peru"]})
    reader = ScriptedReader({QUESTION: "Lima"})
    step = Edit(Tools(reader, retriever, ScriptedChecker(frozenset({"Lima"}))))
    [after] = step.revise([answered("Santiago", "Cusco")], DOCUMENTS)
    assert after.text == "Lima"  # both have become one
    assert len(reader.asked) == 2


def test_abstentions_and_empty_runs() -> None:
    step = Edit(Tools(ScriptedReader({}), RETRIEVER, ScriptedChecker(frozenset())))
    silent = Answer("1", QUESTION, "", abstained=True)
    assert step.revise([silent], DOCUMENTS) == [silent]
    assert step.revise([], DOCUMENTS) == []


def test_identifiers_stay_with_their_documents() -> None:
    step = Edit(Tools(ScriptedReader({QUESTION: "Santiago"}), None, ScriptedChecker(frozenset({"Santiago"}))))
    [after] = step.revise([answered("Cusco")], DOCUMENTS)
    assert [(one.doc_id, one.docid_tokens, one.identifier) for one in after.citations] == [("chile", (1, 2), "one two")]
