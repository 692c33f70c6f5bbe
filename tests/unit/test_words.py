"""Terms and sentences, in scripts with and without spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genir.words import sentences, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Levi's Stadium, §1", ["levi", "s", "stadium", "1"]),
        ("snake_case ＡＢＣ Straße", ["snake", "case", "abc", "strasse"]),
        ("北京大", ["北", "北京", "京", "京大", "大"]),
        ("東京タワーA1", ["東", "東京", "京", "京タ", "タ", "タワ", "ワ", "ワー", "ー", "a1"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs are no letters to `re`
        ("한국어 문장", ["한국어", "문장"]),
        ("👍🏽 ?! …", []),
        ("1️⃣", ["1"]),
        ("", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. J. Doe met the U.S. Army. He left.", ["Mr. J. Doe met the U.S. Army.", "He left."]),
        ("So did I. Then 3.5 m of rope.", ["So did I.", "Then 3.5 m of rope."]),
        ("He said no. No. 5 won.", ["He said no.", "No. 5 won."]),
        ('He said "Yes." Then he left (at last.) Good.', ['He said "Yes."', "Then he left (at last.)", "Good."]),
        ("wait... and see. see more", ["wait... and see. see more"]),
        ("Title\n\nBody of it.\nStill body", ["Title", "Body of it.", "Still body"]),
        ("东京很大。人多！真的？「对。」好", ["东京很大。", "人多！", "真的？", "「对。」", "好"]),
        ("Norway. .no is a domain. +47 is its code.", ["Norway.", ".no is a domain.", "+47 is its code."]),
        ('A lion. "cub" is its young.', ["A lion.", '"cub" is its young.']),
        ("Dear. €5 was paid! #1 it was. macOS is it.", ["Dear.", "€5 was paid!", "#1 it was.", "macOS is it."]),
        ("No. #1, ca. €5, e.g. .no and vs. macOS.", ["No. #1, ca. €5, e.g. .no and vs. macOS."]),
        (
            'Mr. "bob" Lee said "so." and paid 3.50 or .5 of it.',
            ['Mr. "bob" Lee said "so." and paid 3.50 or .5 of it.'],
        ),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text("aA1.!?。 \n\"'京タ+#€", max_size=40))
def test_no_word_is_lost_between_sentences(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
