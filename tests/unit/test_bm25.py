"""BM25: settings, fields, stemming, stop words, and scripts without spaces."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genir.errors import ConfigError, MissingExtraError
from genir.records import Document, Query
from retrievers.bm25 import BM25Retriever

CORPUS = (
    Document("a", "Rivers are flowing to the sea.", "Geography", "https://example.org/atlas"),
    Document("b", "The river flows.", "Short"),
    Document("c", "北京大学在中国的首都。", "大学"),
    Document("d", "東京タワーは日本にある。"),
    Document("e", "A mountain is high."),
)


def found(query: str, **settings: Any) -> list[str]:
    """The doc_ids for a query, best first."""
    (ranking,) = BM25Retriever(**settings).build(CORPUS).search([Query("q", query)], 10).rankings.values()
    return [scored.doc_id for scored in ranking]


def test_stemming_and_its_absence() -> None:
    assert found("a river flow") == ["b", "a"]
    assert found("a river flow", stemmer="porter") == ["b", "a"]
    assert found("river", stemmer=None) == ["b"]


def test_stop_words() -> None:
    assert found("the") == []
    assert found("the", stopwords=None) == ["b", "a"]


def test_fields() -> None:
    assert found("geography") == ["a"]
    assert found("geography", fields=("text",)) == []
    assert found("short", fields=["title"]) == ["b"]
    assert found("atlas", fields=("url",)) == ["a"]


@pytest.mark.parametrize(
    ("query", "doc_id"), [("北京", "c"), ("大学在哪里", "c"), ("東京", "d"), ("タワー", "d"), ("ﾀﾜｰ", "d")]
)
def test_chinese_and_japanese(query: str, doc_id: str) -> None:
    assert found(query)[0] == doc_id


@pytest.mark.parametrize("query", ["", "👍🏽", "?!", "zebra"])
def test_nothing_in_common(query: str) -> None:
    assert found(query) == found(query, backend="rank-bm25") == []


def test_names_tell_the_backends_apart() -> None:
    assert (BM25Retriever().name, BM25Retriever(backend="rank-bm25").name) == ("bm25", "rank-bm25")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "bm25"}, "unknown BM25 backend 'bm25': did you mean 'bm25s'\\? known: bm25s, rank-bm25"),
        ({"stemmer": "englisch"}, "unknown stemmer 'englisch': did you mean 'english'"),
        ({"stopwords": "german"}, "unknown stop word list 'german'"),
        ({"fields": ("titel",)}, "unknown document field 'titel': did you mean 'title'"),
        ({"fields": ()}, "fields is empty: name at least one of title, text, url"),
        ({"k1": -1.0}, "k1 is -1.0 and b is 0.4: expected k1 >= 0 and 0 <= b <= 1"),
        ({"b": 1.5}, "k1 is 0.9 and b is 1.5"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BM25Retriever(**settings)


def test_no_rank_bm25(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    with pytest.raises(MissingExtraError, match=r"rank-bm25.*not installed: pip install 'genir\[rank-bm25\]'"):
        BM25Retriever(backend="rank-bm25").build(CORPUS)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    BM25Retriever().build(CORPUS).save(tmp_path)
    arrays = [np.load(path, allow_pickle=False) for path in tmp_path.glob("*.npy")]
    assert len(arrays) == 3
    assert json.loads((tmp_path / "doc_ids.json").read_text()) == ["a", "b", "c", "d", "e"]
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["k1"] == 0.9
