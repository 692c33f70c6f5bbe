"""Identifiers in words, for each kind of table, and as the retriever that writes them shows them."""

from pathlib import Path

import pytest

from docids.spelling import spell
from docids.table import DocIDTable
from docids.title import TitleScheme
from docids.views import View, ViewsTable
from genir.protocols import IdentifierWriter
from genir.records import Dataset
from retrievers.bm25 import BM25Retriever
from retrievers.generative import GenerativeRetriever
from tests.hash_identifier_model import HashIdentifierModel
from tests.tiny_text_models import save_tiny_bert

CODES = DocIDTable("residual", {"a": (5, 258, 515), "b": (0, 256, 512)}, 768, codes_per_level=256)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (CODES, "5-2-3"),
        (DocIDTable("numeric", {"a": (1, 0, 7)}, 10), "1-0-7"),
        (DocIDTable("key-terms", {"a": (0, 2)}, 3, vocabulary=("oslo", "fjord", "#1")), "oslo, #1"),
    ],
)
def test_codes_and_terms(table: DocIDTable, words: str) -> None:
    assert spell(table, table.tokens_of("a")) == words


def test_titles_are_text(tiny_dataset: Dataset, tmp_path: Path) -> None:
    table = TitleScheme(tokenizer=str(save_tiny_bert(tmp_path / "encoder", 16))).assign(tiny_dataset.corpus)
    assert spell(table, table.tokens_of("d2")).lower() == "lima"


def test_a_retriever_shows_what_it_writes() -> None:
    retriever = GenerativeRetriever(HashIdentifierModel(768), CODES)
    assert isinstance(retriever, IdentifierWriter)
    assert retriever.written(["b", "unknown"]) == {"b": ((0, 256, 512), "0-0-0")}
    assert not isinstance(BM25Retriever(), IdentifierWriter)


def test_of_several_views_none_is_shown() -> None:
    views = ViewsTable(CODES, {"a": (View("document", (5, 258, 515)),), "b": (View("document", (0, 256, 512)),)})
    assert GenerativeRetriever(HashIdentifierModel(768), views).written(["a"]) == {}
