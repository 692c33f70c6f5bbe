import pytest

from genir.errors import DataError
from genir.records import Answer, Document, Query, ScoredDoc
from rag.scoring import answer_in_context, exact_match, f1, normalise, one_each, refusals, summarise


@pytest.mark.parametrize(
    ("text", "accepted", "em", "f_one"),
    [  # by hand, after SQuAD's evaluate-v1.1
        ("The Eiffel Tower!", ["eiffel tower"], 1.0, 1.0),
        ("Eiffel Tower in Paris", ["Eiffel Tower"], 0.0, 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        ("tower", ["Eiffel Tower", "a steeple"], 0.0, 2 * 1 * 0.5 / 1.5),
        ("1869", ["1896"], 0.0, 0.0),
        ("the the", ["an"], 0.0, 0.0),
        ("", ["x"], 0.0, 0.0),
        ("x", [], 0.0, 0.0),
        ("北京大学", ["北京大学"], 1.0, 1.0),
        ("北京", ["北京大学"], 0.0, 2 * 1 * 0.5 / 1.5),
        ("《红楼梦》。", ["红楼梦"], 1.0, 1.0),
        ("A", ["A"], 1.0, 1.0),  # normalising would leave nothing of it
        ("A", ["The"], 0.0, 0.0),
    ],
)
def test_exact_match_and_f1(text: str, accepted: list[str], em: float, f_one: float) -> None:
    assert exact_match(text, accepted) == em
    assert f1(text, accepted) == pytest.approx(f_one)


def test_normalise_is_squads() -> None:
    assert normalise("  The “Quick”, brown-fox (an animal)! ") == "quick brownfox animal"


def test_answer_in_context_needs_a_run_of_words() -> None:
    passage = Document("d", "The tower was built by Gustave Eiffel. It is tall.", title="Tower")
    assert answer_in_context(["Gustave Eiffel"], [passage]) == 1.0
    assert answer_in_context(["Eiffel Gustave"], [passage]) == 0.0
    assert answer_in_context(["a tower"], [passage]) == 1.0
    assert answer_in_context(["Gustave Eiffel"], []) == 0.0


QUERIES = [
    Query("right", "?", ("He",)),
    Query("wrong", "?", ("Ne",)),
    Query("silent", "?", ("Ar",)),
    Query("none", "?"),
    Query("missing", "?", ("Xe",)),
]
ANSWERS = [
    Answer("right", "?", "He", passages=(ScoredDoc("d", 1.0),)),
    Answer("wrong", "?", "Na"),
    Answer("silent", "?", "", abstained=True),
    Answer("none", "?", "", abstained=True),
]


def test_every_question_counts_in_every_mean() -> None:
    scores = summarise(ANSWERS, QUERIES)
    assert scores.per_query["EM"] == {"right": 1.0, "wrong": 0.0, "silent": 0.0, "none": 1.0, "missing": 0.0}
    assert scores.mean == pytest.approx(
        {"EM": 2 / 5, "F1": 2 / 5, "hallucination": 1 / 5, "abstention": 3 / 5, "coverage": 2 / 5}
    )


def test_answering_what_has_no_answer_is_a_hallucination() -> None:
    scores = summarise([Answer("none", "?", "Kr")], QUERIES[3:4])
    assert scores.mean["hallucination"] == 1.0
    assert scores.mean["EM"] == 0.0


def test_answer_in_context_is_measured_over_answerable_questions() -> None:
    scores = summarise(ANSWERS, QUERIES, {"d": Document("d", "Helium is He.")})
    assert scores.per_query["answer in context"] == {"right": 1.0, "wrong": 0.0, "silent": 0.0, "missing": 0.0}


def test_strange_answers_are_refused() -> None:
    with pytest.raises(DataError, match="answer to 'other': no such question among the 5 queries"):
        summarise([Answer("other", "?", "x")], QUERIES)
    with pytest.raises(DataError, match="two answers to 'right'"):
        summarise([ANSWERS[0], ANSWERS[0]], QUERIES)


def test_refusal_is_of_the_unanswerable_and_over_refusal_of_the_rest() -> None:
    mix = [*QUERIES, Query("none too", "?")]
    answers = [*ANSWERS, Answer("none too", "?", "Kr")]
    assert refusals(answers, mix) == {
        "refusal": {"none": 1.0, "none too": 0.0},
        "over-refusal": {"right": 0.0, "wrong": 0.0, "silent": 1.0, "missing": 1.0},
    }
    assert refusals([], QUERIES[:1]) == {"refusal": {}, "over-refusal": {"right": 1.0}}
    assert refusals([], []) == {"refusal": {}, "over-refusal": {}}


def test_one_answer_a_question_in_the_questions_order() -> None:
    complete = one_each(ANSWERS[::-1], QUERIES)
    assert [answer.query_id for answer in complete] == ["right", "wrong", "silent", "none", "missing"]
    assert complete[-1] == Answer("missing", "?", "", abstained=True)


def test_an_empty_set_has_no_means() -> None:
    assert summarise([], []).mean == {}


def test_a_passage_that_is_no_document_is_refused() -> None:
    with pytest.raises(DataError, match="the answer to 'right' names document 'd', which is not among the 0 documents"):
        summarise(ANSWERS, QUERIES, {})
