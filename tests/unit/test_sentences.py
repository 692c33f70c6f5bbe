"""Sentences as offsets: whatever stands there, they are in order, do not overlap, and leave out white space alone."""

from hypothesis import given
from hypothesis import strategies as st

from genir.words import sentences
from rag.sentences import split_sentences

_PIECES = st.sampled_from(
    [
        "It is.",
        " ",
        "\n\n",
        ".no",
        "+47",
        '"cub"',
        "€5",
        "#1",
        "macOS",
        "3.5",
        "e.g.",
        "No.",
        "Mr. Lee",
        "京。",
        "so",
        "!",
        "“",
    ]
)


@given(st.one_of(st.lists(_PIECES, max_size=12).map("".join), st.text("aA1.!?。 \n\"'京+#€", max_size=40)))
def test_offsets_hold(text: str) -> None:
    spans = split_sentences(text)
    assert [text[start:end] for start, end in spans] == sentences(text)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    bounds = [0, *(place for span in spans for place in span), len(text)]
    assert bounds == sorted(bounds)
    assert not "".join(text[end:start] for end, start in zip(bounds[::2], bounds[1::2], strict=True)).strip()


@given(
    st.sampled_from([".no is", "+47 is", '"cub" is', "€5 is", "#1 is", "macOS is"]),
    st.sampled_from(["Norway.", "So it is!"]),
)
def test_a_sentence_may_begin_with_a_sign_or_a_name_in_small_letters(begins: str, before: str) -> None:
    if before.endswith("!") and begins.startswith('"'):
        return  # within a cry, a word in quotation marks may go on: 'Yahoo! "news"'
    text = f"{before} {begins} a thing. It ends."
    assert [text[start:end] for start, end in split_sentences(text)] == [before, f"{begins} a thing.", "It ends."]
