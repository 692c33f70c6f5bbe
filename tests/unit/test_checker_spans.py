"""Where claims stand, and which spans could be taken for an answer, in passages written by hand."""

import pytest

from rag.checkers.spans import find, kind_of, rivals, stand
from rag.verification import Statement

PASSAGE = (
    "The bridge was designed by Ada Byron in 1887. Its rival, Otto Lang, was born in 1850 near Bad Ems; "
    "Otto Lang built 12 bridges and 30 towers. Later Ada Byron left New York City."
)


def texts(spans: list[tuple[int, int]]) -> list[str]:
    return [PASSAGE[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("span", "kind"),
    [("in 1887", "year"), ("12 bridges", "number"), ("two", "number"), ("Ada Byron", "name"), ("the towers", "other")],
)
def test_kinds(span: str, kind: str) -> None:
    assert kind_of(span) == kind


def test_rivals_are_of_the_answers_kind_and_length() -> None:
    assert texts(rivals("1887", PASSAGE)) == ["1850"]
    assert texts(rivals("12", PASSAGE)) == ["30"]
    assert texts(rivals("12 bridges", PASSAGE)) == ["30 towers"]
    # "New York" is cut from a longer name, "Later Ada" begins a sentence, "Lang, was" crosses a comma
    assert texts(rivals("Ada Byron", PASSAGE)) == ["Otto Lang", "Bad Ems", "Otto Lang"]


def test_what_is_no_rival() -> None:
    assert texts(rivals("Ada Byron", PASSAGE, accepted=["Otto Lang"])) == ["Bad Ems"]
    assert texts(rivals("Ada Byron", PASSAGE, question="Who built it, if not Otto Lang?")) == ["Bad Ems"]
    assert rivals("", PASSAGE) == []
    assert rivals("?", PASSAGE) == []
    assert rivals("Ada Byron", "") == []


def test_every_place_is_found_whatever_the_case() -> None:
    assert texts(list(find("otto  lang", PASSAGE))) == ["Otto Lang", "Otto Lang"]
    assert find("", PASSAGE) == ()
    assert find("a much longer phrase than there is text", "text") == ()
    assert find("北京", "首都是北京。") == ((3, 5),)


def test_a_claim_stands_whole_or_by_its_telling_run() -> None:
    whole = stand(Statement("Ada Byron", PASSAGE))
    assert whole.whole
    assert texts(list(whole.places)) == ["Ada Byron", "Ada Byron"]
    part = stand(Statement("The bridge was designed by Otto Lang himself", PASSAGE, "Who designed the bridge?"))
    assert not part.whole
    assert texts(list(part.places)) == ["Otto Lang", "Otto Lang"]
    assert part.held == pytest.approx(2 / 3)  # "himself" is said by nobody
    none = stand(Statement("Grace Hopper", PASSAGE, "Who designed the bridge?"))
    assert (none.places, none.whole, none.held) == ((), False, 0.0)
    assert stand(Statement("", "")).places == ()
