"""What one visitor may take: the length of a question, the rate, and the refusals' words."""

import pytest

from experiments.demo.limits import Limits, Rate, RefusalError, check_question
from genir.errors import ConfigError


def test_a_question_is_stripped() -> None:
    assert check_question("  Where is Lima?\n", Limits()) == "Where is Lima?"


@pytest.mark.parametrize(
    ("question", "status", "message"),
    [
        (" \n\t", 400, "the question is empty: type one"),
        ("a" * 501, 413, "the question has 501 characters: expected at most 500; shorten it"),
        ("half \ud800 of one", 400, "the question is not valid text: it holds half a character (a lone surrogate)"),
    ],
)
def test_a_question_that_cannot_be_asked(question: str, status: int, message: str) -> None:
    with pytest.raises(RefusalError) as refused:
        check_question(question, Limits())
    assert (refused.value.status, str(refused.value)) == (status, message)


def test_limits_are_more_than_nothing() -> None:
    with pytest.raises(ConfigError, match="limit rate is 0: expected more than 0"):
        Limits(rate=0)


def test_the_rate_is_a_sliding_window_for_each_client() -> None:
    now = 0.0
    rate = Rate(2, window=60, clock=lambda: now)
    rate.admit("here")
    now = 30.0
    rate.admit("here")
    with pytest.raises(RefusalError, match=r"more than 2 questions in 60 s: ask again in 30 s") as refused:
        rate.admit("here")
    assert refused.value.status == 429
    rate.admit("there")
    now = 60.0  # the first is over, and the refused one never counted
    rate.admit("here")


def test_the_rate_forgets_those_who_asked_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.demo.limits._MOST_CLIENTS", 2)
    rate = Rate(1, clock=lambda: 0.0)
    for client in ("a", "b", "c", "a"):
        rate.admit(client)  # "a" was forgotten when "c" came
    with pytest.raises(RefusalError):
        rate.admit("c")
