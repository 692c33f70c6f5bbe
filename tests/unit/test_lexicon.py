"""Terms and where they stand."""

import pytest

from genir.errors import ConfigError
from genir.lexicon import Lexicon, LexiconSettings


def terms_of(text: str, **settings: object) -> list[str]:
    return [one.term for one in Lexicon(LexiconSettings(**settings)).occurrences(text)]  # type: ignore[arg-type]


def test_words_are_stemmed_and_phrases_skip_stop_words() -> None:
    assert terms_of("The Houses of Oxford") == ["hous", "oxford", "hous oxford"]


def test_phrases_can_be_left_out() -> None:
    assert terms_of("The Houses of Oxford", phrases=False) == ["hous", "oxford"]


def test_without_stemmer_and_stop_words_every_word_stands_as_it_is() -> None:
    assert terms_of("the Houses", stemmer=None, stopwords=None, phrases=False) == ["the", "houses"]


def test_unspaced_scripts_give_characters_and_pairs_of_neighbours() -> None:
    assert terms_of("北京大") == ["北", "京", "北 京", "大", "京 大"]


def test_spans_name_the_characters_of_the_raw_text() -> None:
    text = "In Norway,  the CAPITAL is Oslo."
    found = Lexicon().occurrences(text)
    assert [text[one.start : one.end] for one in found if not one.is_phrase] == ["Norway,", "CAPITAL", "Oslo."]
    assert [text[one.start : one.end] for one in found if one.is_phrase] == ["Norway,  the CAPITAL", "CAPITAL is Oslo."]


def test_text_without_letters_has_no_terms() -> None:
    assert terms_of(" … 🙂 ") == []


@pytest.mark.parametrize("settings", [{"stemmer": "klingon"}, {"stopwords": "german"}])
def test_unknown_names_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"klingon|german"):
        LexiconSettings(**settings)  # type: ignore[arg-type]
