"""Which of a reader's candidates say something else than its answer."""

import pytest

from rag.reading import RivalReading
from rag.span.candidates import Candidate, rivals_of

OSLO = Candidate("Oslo", 0, 4, 8, 0.6)


def test_another_answer_of_another_passage_is_a_rival() -> None:
    bergen, molde = Candidate("Bergen", 1, 0, 6, 0.2), Candidate("Molde", 2, 3, 8, 0.15)
    assert rivals_of([OSLO, bergen, molde]) == (
        RivalReading("Bergen", 1, (0, 6), 0.2),
        RivalReading("Molde", 2, (3, 8), 0.15),
    )


@pytest.mark.parametrize(
    "other",
    [
        Candidate("Bergen", 0, 0, 6, 0.3),  # of the same passage
        Candidate("Bergen", 1, 0, 6, 0.1),  # hardly probable
        Candidate("the city of Oslo", 1, 0, 16, 0.3),  # the same in more words
    ],
)
def test_what_is_no_rival(other: Candidate) -> None:
    assert rivals_of([OSLO, other]) == ()


@pytest.mark.parametrize(
    ("said", "other", "rivals"),
    [
        ("2,800,000", "2.8 million", False),
        ("2.8 million inhabitants", "2,800,000", False),
        ("five", "5", False),
        ("U.S.", "US", False),
        ("2.8", "28", True),
        ("5", "5 million", True),
        ("1990", "1990s", True),
    ],
)
def test_numbers_are_compared_by_value(said: str, other: str, rivals: bool) -> None:
    first, second = Candidate(said, 0, 0, len(said), 0.5), Candidate(other, 1, 0, len(other), 0.4)
    assert bool(rivals_of([first, second])) is rivals


def test_parts_are_parts_in_whole_words() -> None:
    assert [one.text for one in rivals_of([OSLO, Candidate("Oslofjord", 1, 0, 9, 0.3)])] == ["Oslofjord"]
