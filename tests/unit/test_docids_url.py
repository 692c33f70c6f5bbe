"""URL identifiers: normalisation by hand, pages shared by documents, and documents without a URL."""

from pathlib import Path
from typing import Any

import pytest

from docids.table import DocIDTable
from docids.url import UrlScheme, normalise_url, reversed_url
from genir.errors import ConfigError, DataError
from genir.records import Document
from tests.tiny_text_models import decoded, save_byte_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder)
    return str(folder)


def written(table: DocIDTable, tokenizer: str) -> list[str]:
    return decoded(tokenizer, table.tokens.values())


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://www.Example.org/Wiki/Oslo/", "example.org/Wiki/Oslo"),
        ("HTTP://example.org:80", "example.org"),
        ("https://example.org:8080/a", "example.org:8080/a"),
        ("//user:pw@example.org/a?b=c&d#e", "example.org/a?b=c&d#e"),
        ("https://zh.wikipedia.org/wiki/%E5%8C%97%E4%BA%AC", "zh.wikipedia.org/wiki/北京"),
        ("example.org/a%20b%0A", "example.org/a b"),
        ("example.org/caf%E9", "example.org/caf%E9"),  # Latin-1, which cannot be read
        ("example.org?q=http://other.org/", "example.org?q=http://other.org"),
        ("/wiki/Oslo", "wiki/Oslo"),
        (" https:// ", ""),
        ("", ""),
    ],
)
def test_urls_are_normalised(url: str, normal: str) -> None:
    assert normalise_url(url) == normal


@pytest.mark.parametrize(
    ("url", "backwards"),
    [("a.org", "a.org"), ("a.org/b/c", "c/b/a.org"), ("a.org/b/c?d/e#f", "c?d/e#f/b/a.org")],
)
def test_urls_may_be_written_from_the_page_to_the_host(url: str, backwards: str) -> None:
    assert reversed_url(url) == backwards


PAGES = [
    Document("a", "text", "Causes", "https://www.a.org/flu"),
    Document("b", "text", "Symptoms", "http://a.org/flu/"),
    Document("c", "text", "Symptoms", "a.org/flu"),
    Document("d", "text", "", "a.org/flu"),
    Document("e", "text", "Alone", "a.org/cold"),
]


@pytest.mark.parametrize(
    ("duplicates", "expected"),
    [
        ("title", ["a.org/flu Causes", "a.org/flu Symptoms", "a.org/flu Symptoms (2)", "a.org/flu", "a.org/cold"]),
        ("number", ["a.org/flu", "a.org/flu (2)", "a.org/flu (3)", "a.org/flu (4)", "a.org/cold"]),
        ("collide", ["a.org/flu", "a.org/flu", "a.org/flu", "a.org/flu", "a.org/cold"]),
    ],
)
def test_documents_of_one_page(tokenizer: str, duplicates: Any, expected: list[str]) -> None:
    table = UrlScheme(tokenizer, duplicates=duplicates, reverse=False).assign(PAGES)
    assert written(table, tokenizer) == expected
    numbered = sum("(" in text for text in expected)
    assert table.facts == {"pages": 2, "documents_that_share_a_page": 4, "cut_urls": 0, "numbered": numbered}
    assert (table.tokenizer, table.vocab_size) == (tokenizer, 260)


def test_the_page_comes_first_unless_told_otherwise(tokenizer: str) -> None:
    assert written(UrlScheme(tokenizer).assign(PAGES[3:]), tokenizer) == ["flu/a.org", "cold/a.org"]


def test_urls_that_the_cut_makes_equal_are_told_apart_within_the_limit(tokenizer: str) -> None:
    corpus = [Document(str(i), "text", "", f"https://example.org/{i}") for i in range(3)]
    table = UrlScheme(tokenizer, max_tokens=12, reverse=False).assign(corpus)
    assert written(table, tokenizer) == ["example.org/", "example. (2)", "example. (3)"]
    assert (table.facts["cut_urls"], table.facts["numbered"]) == (3, 2)


def test_documents_without_a_url_are_counted_in_one_line(tokenizer: str) -> None:
    corpus = [Document("x", "text", "", "a.org"), Document("y", "text"), Document("z", "text", "", "https://")]
    with pytest.raises(DataError) as fault:
        UrlScheme(tokenizer).assign(corpus)
    assert str(fault.value) == (
        "2 of 3 documents have no URL, the first 'y': url identifiers need one for every document; add \"url\" to their lines of "
        "corpus.jsonl, or give them titles and use --scheme title"
    )


def test_settings_that_cannot_work_are_refused(tokenizer: str) -> None:
    with pytest.raises(ConfigError, match="url identifiers need max_tokens of 12 or more, got 3"):
        UrlScheme(tokenizer, max_tokens=3).assign(PAGES)
    with pytest.raises(ConfigError, match="unknown policy for duplicate URLs 'titles': did you mean 'title'"):
        UrlScheme(tokenizer, duplicates="titles").assign(PAGES)  # type: ignore[arg-type]


def test_the_pages_of_medquad_are_told_apart_by_their_titles(shared_data: Path) -> None:
    from genir.formats import load_dataset

    corpus = load_dataset(shared_data / "medquad").corpus[:200]
    table = UrlScheme().assign(corpus)
    assert table.facts["pages"] < table.facts["documents_that_share_a_page"]
    assert len(table.identifiers()) == 200
    assert table.facts["numbered"] == 0
