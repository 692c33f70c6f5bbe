"""Windows: whole words, exact characters, overlap; and where an answer stands."""

from itertools import pairwise

import pytest

from genir.records import Document
from rag.span.data import WindowMaker, answer_places, heading
from tests.tiny_span_reader import SMALL, save_word_encoder


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> WindowMaker:
    from transformers import AutoTokenizer

    folder = save_word_encoder(tmp_path_factory.mktemp("encoder"))
    return WindowMaker(AutoTokenizer.from_pretrained(folder), SMALL.max_length, SMALL.stride, SMALL.max_question_tokens)


def test_a_window_knows_the_characters_of_its_tokens(maker: WindowMaker) -> None:
    passage = Document("d", "Oslo is the capital, in Norway.", "Oslo § 3")
    [[window]] = maker.windows([("what is oslo?", passage)])
    start = passage.text.index("capital")
    begin, end = window.token_span(start, start + len("capital, in")) or (0, 0)
    assert end - begin == 2  # capital , in
    assert window.characters(begin, end) == (start, start + len("capital, in"))
    told = maker.tokenizer.convert_ids_to_tokens(window.ids)
    assert told[1:5] == ["what", "is", "oslo", "?"]
    assert told[6 : window.first] == ["oslo", ":"]  # the heading, without the number of its section
    assert len(window.offsets) == len(window.begins) == len(told) - window.first - 1
    assert window.token_span(0, 4) == (window.first, window.first)  # "Oslo" of the text, not of the heading


def test_words_are_never_cut(maker: WindowMaker) -> None:
    [[window]] = maker.windows([("who", Document("d", "is unhappy in rome"))])
    assert list(window.begins) == [True, True, False, False, True, True]
    assert list(window.ends) == [True, False, False, True, True, True]
    whole = (window.first + 1, window.first + 3)
    assert window.token_span(5, 8) == whole  # "happ"[...] grows to the word
    assert window.characters(*whole) == (3, 10)


def test_long_passages_are_read_in_windows_that_overlap(maker: WindowMaker) -> None:
    text = " ".join(["oslo lies in norway and"] * 30)
    [cut, none, short] = maker.windows(
        [("where", Document("a", text)), ("where", Document("b", " ")), ("where", Document("c", "rome"))]
    )
    assert (len(none), len(short)) == (0, 1)
    assert len(cut) > 1
    assert all(len(window.ids) <= SMALL.max_length for window in cut)
    covered = {tuple(place) for window in cut for place in window.offsets.tolist()}
    assert len(covered) == 150
    for before, after in pairwise(cut):
        assert before.offsets[-SMALL.stride :].tolist() == after.offsets[: SMALL.stride].tolist()
        assert not after.begins[0]
    assert cut[1].token_span(0, 4) is None


def test_long_questions_are_cut(maker: WindowMaker) -> None:
    [[window]] = maker.windows([("where is " * 40, Document("d", "rome"))])
    assert window.first == SMALL.max_question_tokens + 2
    [[empty]] = maker.windows([("", Document("d", "rome"))])
    assert empty.first == 2


@pytest.mark.parametrize(
    ("title", "named"),
    [("Normans § 12", "Normans"), ("Normans", "Normans"), ("", ""), ("§ 4 of the law", "§ 4 of the law")],
)
def test_the_heading_is_the_articles(title: str, named: str) -> None:
    assert heading(title) == named


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("In 1850 and 18501.", ["1850"], ["1850"]),  # whole words first
        ("The 18501st.", ["1850"], ["1850"]),  # inside a word only where there is no other
        ("the Nile, the nile", ["Nile"], ["Nile"]),  # its own case first
        ("the nile", ["Nile"], ["nile"]),
        ("US$5 (five)", ["$5", "five", " "], ["$5", "five"]),
        ("nothing", ["Nile"], []),
        ("nothing", [], []),
    ],
)
def test_places_of_answers(text: str, answers: list[str], found: list[str]) -> None:
    assert [text[start:end] for start, end in answer_places(text, "", answers)] == found


def test_of_many_places_those_in_the_likeliest_sentences_are_taken() -> None:
    text = "Two men met. Two women sat. Two bridges cross the Tiber near Rome. Two kings. Two rivers."
    [(start, end)] = answer_places(text, "How many bridges cross the Tiber?", ["two"])
    assert text[start:end] == "Two"
    assert text[end:].startswith(" bridges")
    assert len(answer_places(text, "How many bridges cross the Tiber?", ["two"], most=5)) == 5
