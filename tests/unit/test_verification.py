"""What a checker answers, and the one without a model: shares of telling words, by hand."""

from collections.abc import Sequence

import pytest

from genir.records import Verdict
from rag.verification import VERDICTS, LexicalChecker, Statement, Support, SupportChecker, telling_words, verdicts_of


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
        ("the", "The capital is Oslo.", "", 0.0),  # stop words alone say nothing
    ],
)
def test_the_share_by_hand(claim: str, evidence: str, question: str, expected: float) -> None:
    checker = LexicalChecker()
    assert isinstance(checker, SupportChecker)
    assert checker.check([Statement(claim, evidence, question)]) == [Support(expected)]


def test_no_statement_is_no_support() -> None:
    assert LexicalChecker().check([]) == []


@pytest.mark.parametrize(
    ("support", "threshold", "verdict"),
    [
        (Support(0.5), 0.5, "unsupported"),  # even chances are no support
        (Support(0.51), 0.5, "supported"),
        (Support(0.0, 0.5), 0.5, "unsupported"),
        (Support(0.6, 0.7), 0.5, "contradicted"),
        (Support(0.6, 0.6), 0.5, "supported"),
        (Support(0.6, 0.3), 0.9, "unsupported"),
        (Support(0.0), 0.0, "unsupported"),
    ],
)
def test_the_verdict_is_said_in_one_place(support: Support, threshold: float, verdict: Verdict) -> None:
    assert support.verdict(threshold) == verdict


def test_which_verdicts_a_checker_gives() -> None:
    class Silent:
        name = "silent"

        def check(self, statements: Sequence[Statement]) -> list[Support]:
            return [Support(0.0) for _ in statements]

    assert verdicts_of(LexicalChecker()) == ("supported", "unsupported")
    assert verdicts_of(Silent()) == VERDICTS
