"""The copy constraint: every answer is a run of whole words of the evidence."""

import random
import re

import pytest
from transformers import PreTrainedTokenizerFast

from rag.copying import CopyConstraint
from rag.small_reader.data import Inventor
from rag.small_reader.training import END, train_tokenizer
from tests.unit.test_evidence import ARTICLES


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(ARTICLES, Inventor(ARTICLES, seed=0), 400)


def write(constraint: CopyConstraint, rng: random.Random, tokenizer: PreTrainedTokenizerFast) -> str:
    """An answer made by choosing at random among what is allowed."""
    written: list[int] = []
    while (token := rng.choice(sorted(constraint(written)))) != END:
        written.append(token)
    return str(tokenizer.decode(written)).strip()


def test_whatever_is_chosen_the_answer_stands_in_the_evidence(tokenizer: PreTrainedTokenizerFast) -> None:
    evidence = 'Osmium. Chemists write "Os" for osmium, found in 1803 by Smithson Tennant (Émile said).'
    constraint = CopyConstraint(evidence, "What is the symbol?", tokenizer)
    rng = random.Random(0)
    for _ in range(300):
        answer = write(constraint, rng, tokenizer)
        assert answer
        assert re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", evidence), answer


def test_an_answer_does_not_begin_with_a_word_of_the_question(tokenizer: PreTrainedTokenizerFast) -> None:
    constraint = CopyConstraint("Osmium. The symbol of osmium is Os.", "What is the symbol of osmium?", tokenizer)
    rng = random.Random(0)
    assert {write(constraint, rng, tokenizer).rstrip(".") for _ in range(50)} == {"Os"}


def test_evidence_that_only_repeats_the_question_may_be_copied(tokenizer: PreTrainedTokenizerFast) -> None:
    constraint = CopyConstraint("red blue", "Is it red or blue?", tokenizer)
    rng = random.Random(0)
    assert {write(constraint, rng, tokenizer) for _ in range(50)} == {"red", "blue", "red blue"}


@pytest.mark.parametrize(
    ("evidence", "question", "never"),
    [
        ("Norway has 5,500,000 people.", "How many?", {"5", "5,500", "500"}),
        ("H. G. Wells wrote it.", "Who?", {"H", "G", "H. G"}),
        ("The capital is 挪威.", "What is it?", {"挪"}),
    ],
)
def test_numbers_initials_and_letters_of_several_bytes_are_not_cut(
    tokenizer: PreTrainedTokenizerFast, evidence: str, question: str, never: set[str]
) -> None:
    constraint = CopyConstraint(evidence, question, tokenizer)
    rng = random.Random(0)
    written = {write(constraint, rng, tokenizer) for _ in range(200)}
    assert not written & never
    assert not any("\ufffd" in answer for answer in written)


def test_idle_words_are_no_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    constraint = CopyConstraint("The word for it is cub.", "What?", tokenizer)
    rng = random.Random(0)
    first = {write(constraint, rng, tokenizer).split()[0].rstrip(".") for _ in range(100)}
    assert first <= {"word", "cub"}
