"""Citation markers: read, taken out of the text, and never shown while they are being written."""

import pytest

from rag.markers import Marker, claim_of, take_markers, visible

TAKEN = [
    ("Oslo [1].", "Oslo.", [(4, 1)]),
    ("Oslo[2][3]", "Oslo", [(4, 2), (4, 3)]),
    ("Oslo [1, 3]; Lima [2-4]", "Oslo; Lima", [(4, 1), (4, 3), (10, 2), (10, 3), (10, 4)]),
    ("Oslo [3-1].", "Oslo.", [(4, 1), (4, 2), (4, 3)]),
    ("东京【1】是首都【2、3】。", "东京是首都。", [(2, 1), (5, 2), (5, 3)]),
    ("[1] Oslo. [2] Lima.", "Oslo. Lima.", [(0, 1), (5, 2)]),
    ("In [2021] it was [sic] x[] [1", "In [2021] it was [sic] x[] [1", []),
    ("[4]", "", [(0, 4)]),
    ("  plain  ", "plain", []),
]


@pytest.mark.parametrize(("text", "plain", "markers"), TAKEN)
def test_markers_are_taken_out(text: str, plain: str, markers: list[tuple[int, int]]) -> None:
    assert take_markers(text) == (plain, tuple(Marker(*marker) for marker in markers))


def test_a_marker_belongs_to_the_statement_before_it_or_behind_where_all_lead() -> None:
    spans = [(0, 5), (6, 11)]  # Oslo. Lima.
    assert [claim_of(Marker(at, 1), spans, leading=False) for at in (4, 5, 6, 11)] == [0, 0, 0, 1]
    assert [claim_of(Marker(at, 1), spans, leading=True) for at in (0, 5, 11)] == [0, 1, 1]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("text", [text for text, _, _ in TAKEN] + ["I do nothing [1] .", "I do", " \n x", "a [12] b ["])
def test_a_stream_shows_the_text_without_its_markers(text: str, size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    shown = list(visible(pieces))
    assert "".join(shown) == take_markers(text)[0]
    assert all(shown)


@pytest.mark.parametrize("text", ["I do not know.", " I don't know", "", "[1]", "我不知道"])
def test_an_abstention_is_not_shown_piece_by_piece(text: str) -> None:
    assert list(visible(text)) == []


def test_pieces_come_as_soon_as_they_are_certain() -> None:
    stream = visible(iter(["The city", " is", " Oslo", " [", "1]", "."]))
    assert list(stream) == ["The city", " is", " Oslo", "."]
