from collections.abc import Sequence

import pytest

from genir.errors import DataError
from genir.records import Answer, Citation, Claim, Document, Query, ScoredDoc
from rag.measures.hallucination import (
    InputConflict,
    fact_conflicting,
    fact_conflicts,
    input_conflict,
    is_of_another_subject,
    source_conflicts,
)
from rag.measures.support import claim_support
from rag.verification import NO_SUPPORT, LexicalChecker, Statement, Support

TOWER = Document("tower", "It was built by Gustave Eiffel in 1889.", title="Eiffel Tower")
RIVER = Document("river", "It flows through Cologne.", title="Rhine")
DOCUMENTS = {"tower": TOWER, "river": RIVER}


class Opposites:
    """A claim that begins with "not" contradicts evidence that holds the rest, and the other way round; else evidence must hold it."""

    name = "opposites"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        found = []
        for one in statements:
            claim, evidence = one.claim.removeprefix("not "), one.evidence.removeprefix("not ")
            same = one.claim.startswith("not ") == one.evidence.startswith("not ")
            known = claim in evidence
            found.append((Support(1.0) if same else Support(0.0, 1.0)) if known else NO_SUPPORT)
        return found


def answer(question: str, text: str, cited: Document | None = None) -> Answer:
    citations = (Citation(cited.doc_id, 0, len(cited.text), cited.text),) if cited else ()
    return Answer("q", question, text, citations)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer("Who built the Eiffel Tower?", "Gustave Eiffel", TOWER), InputConflict(False, False)),
        (answer("Who built the Eiffel Tower?", "1889", TOWER), InputConflict(True, False)),
        (answer("Who built the Brandenburg Gate?", "Gustave Eiffel", TOWER), InputConflict(False, True)),
        (answer("When was the Brandenburg Gate built?", "Gustave Eiffel", TOWER), InputConflict(True, True)),
        (answer("When was the Brandenburg Gate built?", "1791"), InputConflict(False, False)),  # too short to tell
        (answer("谁建造了埃菲尔铁塔？", "1889年"), InputConflict(True, False)),
        (Answer("q", "Who?", "", abstained=True), InputConflict(False, False)),
    ],
)
def test_input_conflicting(given: Answer, expected: InputConflict) -> None:
    found = input_conflict(given, DOCUMENTS)
    assert found == expected
    assert bool(found) is (expected.wrong_type or expected.wrong_subject)


def test_a_sentence_without_source_can_speak_of_something_else() -> None:
    question = "Which river flows through Cologne?"
    assert is_of_another_subject(question, "Paris lies on the banks of the Seine.")
    assert not is_of_another_subject(question, "The Rhine flows through the city of Cologne.")
    assert not is_of_another_subject(question, "It is the longest river of the country.")  # names nothing else
    assert not is_of_another_subject(
        "which river is it?", "Paris lies on the banks of the Seine."
    )  # no subject was named
    assert is_of_another_subject("莱茵河流经哪里？", "巴黎", ["塞纳是法国的河"])
    assert not is_of_another_subject("莱茵河流经哪里？", "科隆", ["莱茵河流经科隆"])


@pytest.mark.parametrize(
    ("text", "accepted", "conflicts"),
    [
        ("Gustave Eiffel", ["Eiffel"], False),
        ("Eiffel", ["Gustave Eiffel, an engineer"], False),
        ("Eiffel, Gustave", ["Gustave Eiffel"], False),
        ("Maurice Koechlin", ["Eiffel", "Gustave Eiffel"], True),
        ("1898", ["1889"], True),
        ("in 1889", ["31 March 1889"], False),
        ("five million", ["5,000,000"], False),
        ("5 million", ["5"], True),
        ("2.5", ["25"], True),
        ("not Paris", ["Paris"], True),
        ("no, it was not", ["no"], False),
        ("上海", ["上海市"], False),
        ("海上", ["上海"], True),  # characters in another order are another word
        ("不是上海", ["上海"], True),
        ("五千人", ["5000"], False),
        ("", ["x"], True),
        ("anything", [], False),
        # Rivals beside the right answer.
        ("Paris Rome London Oslo Berlin", ["Oslo"], True),
        ("Paris, Rome, London, Lima, Berlin and Oslo", ["Oslo"], True),
        ("North Korea and South Korea", ["South Korea"], True),
        ("Eiffel / Koechlin", ["Gustave Eiffel"], True),
        ("1066 1067", ["1066"], True),
        ("上海、北京", ["上海"], True),
        ("北京和上海", ["北京"], True),
        ("上海与北京。", ["北京"], True),
        ("北京及上海", ["北京"], True),
        ("北京市和上海市", ["北京"], True),
        ("阿根廷和巴西", ["巴西"], True),
        ("-5", ["5"], True),
        ("1990s", ["1990"], True),
        # No rivals: a fuller name, a place's country, a date's year, an answer of two, a sentence.
        ("George Herbert Walker Bush", ["Bush"], False),
        ("Paris, France", ["Paris"], False),
        ("two thousand", ["two thousand", "two thousand people"], False),
        ("May 5, 1990", ["May 5"], False),
        ("1990-5", ["5"], False),
        ("minus 5", ["−5"], False),
        ("中华人民共和国", ["中华人民共和国"], False),
        ("和平与发展", ["和平与发展"], False),
        ("北京和平门", ["北京"], False),
        ("不饱和脂肪", ["脂肪"], False),
        ("埃及艳后", ["艳后"], False),
        ("他出生于北京和上海", ["北京"], False),
        ("31 March 1889", ["31 March"], False),
        ("Simon and Garfunkel", ["Simon and Garfunkel"], False),
        ("It was built by Eiffel and Koechlin in Paris", ["Eiffel"], False),
        # What it denies is neither its answer nor a rival of it.
        ("1889, not 1887", ["1889"], False),
        ("Paris, not Rome", ["Paris"], False),
        ("He was found not guilty.", ["not guilty"], False),
        ("guilty", ["not guilty"], True),
        ("上海，不是北京", ["上海"], False),
        # Known gaps: a part agrees with the whole, and a comma tells no rival from a country.
        ("Hemingway, Faulkner", ["Hemingway"], False),
        ("John", ["John Smith"], False),
        ("France", ["King of France"], False),
    ],
)
def test_fact_conflicting(text: str, accepted: list[str], conflicts: bool) -> None:
    assert fact_conflicting(text, accepted, "") is conflicts


def test_rivals_that_the_question_names_are_none() -> None:
    assert fact_conflicting("Oslo and Lima", ["Oslo"], "Which is it?")
    assert not fact_conflicting("Oslo and Lima", ["Oslo"], "Which is older, Oslo or Lima?")
    queries = {"q": Query("q", "Which won in 1066 and 1067?", ("1066",))}
    assert fact_conflicts([Answer("q", queries["q"].text, "1066 1067")], queries) == {"q": False}


def test_fact_conflicts_are_of_questions_with_an_answer() -> None:
    queries = {"a": Query("a", "?", ("x",)), "b": Query("b", "?"), "c": Query("c", "?", ("x",))}
    answers = [Answer("a", "?", "y"), Answer("b", "?", "y"), Answer("c", "?", "", abstained=True)]
    assert fact_conflicts(answers, queries) == {"a": True, "c": False}


def conflicts_of(*claims: str, passages: tuple[ScoredDoc, ...] = (ScoredDoc("tower", 1.0),)) -> tuple[bool, ...]:
    given = Answer("q", "?", " ".join(claims), passages=passages, claims=tuple(Claim(c, 0, len(c)) for c in claims))
    checker = Opposites()
    found = source_conflicts([given], claim_support([given], DOCUMENTS, checker), checker)["q"]
    return found.intrinsic, found.extrinsic, found.self_contradicting, found.context_conflicting


def test_intrinsic_contradicts_and_extrinsic_cannot_be_told() -> None:
    assert conflicts_of("built by Gustave Eiffel") == (False, False, False, False)
    assert conflicts_of("not built by Gustave Eiffel") == (True, False, False, True)
    assert conflicts_of("painted red") == (False, True, False, False)
    assert conflicts_of("not built by Gustave Eiffel", "painted red") == (True, True, False, True)


def test_an_answer_may_contradict_itself() -> None:
    assert conflicts_of("painted red", "not painted red") == (False, True, True, True)
    assert conflicts_of("painted red", "painted") == (False, True, False, False)


def test_closed_book_everything_is_extrinsic_and_silence_is_nothing() -> None:
    assert conflicts_of("built by Gustave Eiffel", passages=()) == (False, True, False, False)
    assert conflicts_of(passages=()) == (False, False, False, False)
    assert source_conflicts([], {}, LexicalChecker()) == {}


def test_a_cited_document_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="the answer to 'q' names document 'river', which is not among the 1 documents"):
        input_conflict(answer("Which river?", "Rhine", RIVER), {"tower": TOWER})
