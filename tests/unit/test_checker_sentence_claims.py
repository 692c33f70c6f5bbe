"""What a sentence adds to its question, and what is no sentence."""

import pytest

from rag.checkers.sentence_claims import answers_within, is_fragment, is_quoted, is_sentence
from rag.verification import Statement

EVIDENCE = "Norway. The capital of Norway is Oslo. It has 709,000 inhabitants, J. Smith Jr. among them."


@pytest.mark.parametrize(
    ("claim", "question", "answers"),
    [
        ("Norway's capital city is Oslo", "What is the capital of Norway?", ["Oslo"]),
        ("The answer is Oslo.", "What is the capital of Norway?", ["Oslo"]),
        ("It is Oslo, with 709,000 inhabitants.", "What is the capital of Norway?", ["Oslo", "709,000"]),
        ("Construction was over in 1889.", "When was it built?", ["1889"]),  # its first word is no name
        ("Oslo is in Norway.", "What is the capital of Norway?", ["Oslo"]),  # the evidence has it: it is one
        ("They travel by boat.", "How do they travel?", []),
    ],
)
def test_answers_within(claim: str, question: str, answers: list[str]) -> None:
    assert answers_within(Statement(claim, EVIDENCE, question)) == answers


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Norway's capital city is Oslo", True),
        ("People in Brazil speak Portuguese.", True),
        ("It didn't", False),  # two words
        ("the Battle of Hastings", False),
        ("J. Smith Jr.", False),
        ("in Washington, D.C.", False),
        ("1889", False),
    ],
)
def test_a_sentence_has_a_verb_or_ends_like_one(text: str, is_one: bool) -> None:
    assert is_sentence(text) == is_one


def test_what_was_cut_out_and_what_was_quoted() -> None:
    quoted = Statement("The capital of Norway is Oslo.", EVIDENCE)
    cut = Statement("Norway is Oslo", EVIDENCE)
    written = Statement("Norway's capital is Oslo.", EVIDENCE)
    assert [is_quoted(one) for one in (quoted, cut, written)] == [True, False, False]
    assert [is_fragment(one) for one in (quoted, cut, written)] == [False, True, False]
    assert not is_quoted(Statement("", EVIDENCE))
