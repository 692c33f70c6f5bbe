"""What a checker answers, and the one without a model: shares of telling words, by hand."""

import pytest

from rag.verification import LexicalChecker, Statement, Support, SupportChecker, telling_words


def test_words_of_the_question_and_stop_words_tell_nothing() -> None:
    assert telling_words("Paris is the capital of France.", "What is the capital of France?") == ["paris"]
    assert telling_words("It is Paris", "Is it Paris or Rome?") == ["paris"]  # nothing else is left
    assert telling_words("to be", "") == ["to", "be"]
    assert telling_words("北京", "首都在哪里?") == ["北", "京"]
    assert telling_words("!", "") == []


@pytest.mark.parametrize(
    ("claim", "evidence", "question", "expected"),
    [
        ("Oslo", "The capital is Oslo.", "What is the capital?", 1.0),
        ("The capital is Lima", "The capital is Oslo.", "What is the capital?", 0.0),
        ("The capital is Lima", "The capital is Oslo.", "", 0.5),
        ("in 1887 and 1889", "It was built from 1887 to 1888.", "", 0.5),
        ("", "The capital is Oslo.", "", 0.0),
        ("Oslo", "", "", 0.0),
    ],
)
def test_the_share_by_hand(claim: str, evidence: str, question: str, expected: float) -> None:
    checker = LexicalChecker()
    assert isinstance(checker, SupportChecker)
    assert checker.check([Statement(claim, evidence, question)]) == [Support(expected)]


def test_no_statement_is_no_support() -> None:
    assert LexicalChecker().check([]) == []
