import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.packing import count_words, cut, one_line, pack


def fits(room: int):  # type: ignore[no-untyped-def]
    return lambda text: count_words(text) <= room


@pytest.mark.parametrize(
    ("text", "room", "kept"),
    [
        ("One two. Three four. Five.", 9, "One two. Three four. Five."),
        ("One two. Three four. Five.", 4, "One two. Three four."),
        ("One two. Three four. Five.", 3, "One two."),
        ("One two. Three four.", 1, "One"),
        ("Title. A long sentence that does not fit.", 6, "Title. A long sentence that does"),
        ("One two.", 0, ""),
        ("东京是首都。大阪很大。", 7, "东京是首都。"),
        ("东京是首都", 2, "东京"),
        ("", 0, ""),
    ],
)
def test_a_cut_falls_behind_a_sentence_else_behind_a_word(text: str, room: int, kept: str) -> None:
    assert cut(text, fits(room)) == kept


@given(st.text(alphabet="ab .。东!?\n", max_size=60), st.integers(0, 12))
def test_a_cut_is_a_beginning_that_fits(text: str, room: int) -> None:
    kept = cut(text, fits(room))
    assert text.startswith(kept)
    assert count_words(kept) <= room or kept == ""
    assert kept == text or not fits(room)(text)


def numbered(number: int, text: str) -> str:
    return f"[{number}] {text}"


def test_packing_stops_at_the_first_that_was_cut() -> None:
    texts = ["one two", "Three four. Five six seven.", "eight"]
    assert pack(texts, 20, count_words, numbered) == ["[1] one two", "[2] Three four. Five six seven.", "[3] eight"]
    assert pack(texts, 7, count_words, numbered) == ["[1] one two", "[2] Three four."]
    assert pack(texts, 4, count_words, numbered) == ["[1] one two"]
    assert pack(texts, 1, count_words, numbered) == []


def test_one_line() -> None:
    assert one_line(" a\n\n b\tc ") == "a b c"
