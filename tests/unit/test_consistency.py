from collections.abc import Sequence
from math import exp, log

import pytest

from genir.errors import DataError
from genir.protocols import Generation
from rag.measures.consistency import (
    UnigramInconsistency,
    clusters_by_checker,
    clusters_by_text,
    mean_logprob,
    semantic_entropy,
    unigram_inconsistency,
)
from rag.verification import Statement, Support


def test_unigram_inconsistency_by_hand() -> None:
    # words: he x 3, ne x 1 of the samples and "he" of the answer: p(he) = 4/5; the answer is "he"
    found = unigram_inconsistency("He", ["he", "He he", "Ne"])
    assert (found.average, found.maximum) == pytest.approx((log(5 / 4), log(5 / 4)))
    # answer "a b", samples "a", "a": counts a 3, b 1 of 4
    found = unigram_inconsistency("a b", ["a", "a"])
    assert found.average == pytest.approx((log(4 / 3) + log(4 / 1)) / 2)
    assert found.maximum == pytest.approx(log(4))


def test_the_maximum_is_of_each_sentence() -> None:
    # counts a 2, b 1, c 1 of 4; the sentences' worst words: b (1 of 4), then a (2 of 4) or c (1 of 4)
    found = unigram_inconsistency("A b. C.", ["a"])
    assert found.maximum == pytest.approx((log(4) + log(4)) / 2)
    assert found.average == pytest.approx((log(2) + log(4) + log(4)) / 3)


def test_unigrams_of_chinese_are_characters() -> None:
    # 北 2, 京 1, 平 1 of 4
    found = unigram_inconsistency("北京", ["北平"])
    assert (found.average, found.maximum) == pytest.approx(((log(2) + log(4)) / 2, log(4)))


def test_unigrams_of_nothing() -> None:
    assert unigram_inconsistency("", ["a"]) == UnigramInconsistency(0.0, 0.0)
    assert unigram_inconsistency("a", []) == UnigramInconsistency(0.0, 0.0)  # it agrees with itself: p(a) = 1


def test_mean_logprob() -> None:
    assert mean_logprob(Generation("x", (1, 2), (-1.0, -3.0))) == -2.0
    assert mean_logprob(Generation("x")) is None


def test_clusters_by_text_are_normal_forms() -> None:
    assert clusters_by_text(["The Seine!", "seine", "5 million", "Rhine", "five million"]) == [0, 0, 1, 2, 1]
    assert clusters_by_text(["北京。", "北京", "上海"]) == [0, 0, 1]
    assert clusters_by_text(["", " ", "?"]) == [0, 0, 1]
    assert clusters_by_text([]) == []


def test_clusters_by_text_leave_out_what_the_question_says_already() -> None:
    question = "What is the capital of Norway?"
    said = ["Oslo", "The capital of Norway is Oslo.", "It is Oslo.", "Bergen", "Oslo, Norway", "not Oslo"]
    assert clusters_by_text(said, question) == [0, 0, 0, 1, 0, 2]
    assert clusters_by_text(["in 1889", "1889"], "When did it open?") == [0, 0]
    assert clusters_by_text(["Oslo", "Oslo is", "Bergen"], "Is it Oslo or Bergen?") == [
        0,
        1,
        2,
    ]  # nothing is left: all words


class SameFirstLetter:
    """Supports where the first letters agree, and, one way only, "a..." by "b..."."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[Statement] = []

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        self.asked += statements
        return [
            Support(float(one.claim[0] == one.evidence[0] or (one.claim[0], one.evidence[0]) == ("a", "b")))
            for one in statements
        ]


def test_clusters_by_checker_need_both_directions() -> None:
    checker = SameFirstLetter()
    answers = {"q": ["ant", "bee", "ape", "Ant!", "bat"], "r": ["cat", "cat"]}
    found = clusters_by_checker(answers, {"q": "Which?", "r": "What?"}, checker)
    assert found == {"q": [0, 1, 0, 0, 1], "r": [0, 0]}
    assert len(checker.asked) == 4 * 3  # "ant" and "Ant!" are one answer, "cat" has no other to compare with
    assert {one.question for one in checker.asked} == {"Which?"}
    assert clusters_by_checker({}, {}, checker) == {}


def test_semantic_entropy_by_hand() -> None:
    assert semantic_entropy([0, 0, 1, 2]) == pytest.approx(-(0.5 * log(0.5) + 2 * 0.25 * log(0.25)))
    assert semantic_entropy([0, 1, 2, 3]) == pytest.approx(log(4))  # the most that four samples can have
    assert semantic_entropy([0, 0, 0]) == 0.0
    assert semantic_entropy([]) == 0.0


def test_semantic_entropy_by_probability() -> None:
    # p: .4 + .2 in the first cluster, .2 in the second; normalised by .8: 3/4 and 1/4
    found = semantic_entropy([0, 1, 0], [log(0.4), log(0.2), log(0.2)])
    assert found == pytest.approx(-(0.75 * log(0.75) + 0.25 * log(0.25)))
    assert semantic_entropy([0, 1], [-2000.0, -2000.0]) == pytest.approx(log(2))  # no underflow
    assert exp(semantic_entropy([0, 1], [0.0, -2000.0])) == 1.0
    with pytest.raises(DataError, match="1 log-probabilities for 2 samples: expected one each"):
        semantic_entropy([0, 1], [0.0])
