"""Title identifiers: the policies for missing, duplicate and long titles, and for a tokenizer that is not there."""

from pathlib import Path

import pytest

from docids.table import DocIDTable
from docids.title import TitleScheme
from genir.errors import ArtefactError, ConfigError
from genir.records import Document
from tests.tiny_text_models import decoded, save_byte_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder)
    return str(folder)


def titles(table: DocIDTable, tokenizer: str) -> list[str]:
    return decoded(tokenizer, table.tokens.values())


def test_titles_in_tokens_of_the_text_model(tokenizer: str) -> None:
    table = TitleScheme(tokenizer).assign([Document("a", "text", "Oslo"), Document("b", "text", "Oslo fjord")])
    assert titles(table, tokenizer) == ["Oslo", "Oslo fjord"]
    assert (table.vocab_size, table.tokenizer) == (260, tokenizer)


def test_a_missing_title_is_the_first_words_of_the_text_and_at_last_the_doc_id(tokenizer: str) -> None:
    corpus = [Document("a", "one  two\nthree four"), Document("b", "one two", " "), Document("c", "")]
    table = TitleScheme(tokenizer, fallback_words=3).assign(corpus)
    assert titles(table, tokenizer) == ["one two three", "one two", "c"]
    assert table.facts == {"missing_titles": 3, "cut_titles": 0, "duplicate_titles": 0}


def test_duplicates_get_the_next_free_number_in_corpus_order(tokenizer: str) -> None:
    names = ["Oslo", "Oslo", "Oslo (2)", "Lima", "Oslo"]
    corpus = [Document(str(i), "text", name) for i, name in enumerate(names)]
    table = TitleScheme(tokenizer).assign(corpus)
    # A document that is really called "Oslo (2)" keeps its title.
    assert titles(table, tokenizer) == ["Oslo", "Oslo (3)", "Oslo (2)", "Lima", "Oslo (4)"]
    assert table.facts["duplicate_titles"] == 2


def test_duplicates_may_stay_one_identifier(tokenizer: str) -> None:
    corpus = [Document(str(i), "text", "Oslo") for i in range(3)]
    table = TitleScheme(tokenizer, duplicates="collide").assign(corpus)
    assert list(table.collisions().values()) == [("0", "1", "2")]


def test_titles_that_the_cut_makes_equal_are_told_apart_within_the_limit(tokenizer: str) -> None:
    corpus = [Document(str(i), "text", f"A title that is long, part {i}") for i in range(12)]
    table = TitleScheme(tokenizer, max_tokens=12).assign(corpus)
    assert titles(table, tokenizer)[:3] == ["A title that", "A title  (2)", "A title  (3)"]
    assert titles(table, tokenizer)[-1] == "A title (12)"
    assert len(table.identifiers()) == 12
    assert max(map(len, table.tokens.values())) == 12
    assert table.facts["cut_titles"] == 12


def test_settings_that_cannot_work_are_refused(tokenizer: str) -> None:
    corpus = [Document("a", "text", "Oslo")]
    with pytest.raises(ConfigError, match="max_tokens of 12 or more and fallback_words of 1 or more, got 4 and 12"):
        TitleScheme(tokenizer, max_tokens=4).assign(corpus)
    with pytest.raises(ConfigError, match="unknown policy for duplicate titles 'numbers': did you mean 'number'"):
        TitleScheme(tokenizer, duplicates="numbers").assign(corpus)  # type: ignore[arg-type]


def test_an_unknown_tokenizer_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(
        ArtefactError, match=r"tokenizer '.*nothing': cannot be loaded: .*; give a folder or a hub name"
    ):
        TitleScheme(missing).assign([Document("a", "text")])
