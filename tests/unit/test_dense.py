"""Dense retrieval: exactness, ties at the edge of faiss's answer, prefixes, cuts, and encoders that do not match."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genir.embedding import TextEncoder
from genir.errors import ArtefactError, ConfigError, MissingExtraError
from genir.records import Document, Query, Run
from retrievers.dense import DenseRetriever
from tests.tiny_text_models import WordEncoder


@dataclass
class Compass(TextEncoder):
    """A text is an angle in degrees."""

    name: str = "compass"

    def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_nearest_first() -> None:
    corpus = [Document("east", "0"), Document("north", "90"), Document("west", "180")]
    (ranking,) = DenseRetriever(Compass()).build(corpus).search([Query("q", "60")], 5).rankings.values()
    assert [(scored.doc_id, scored.score) for scored in ranking] == [
        ("north", 0.866025),
        ("east", 0.5),
        ("west", -0.5),
    ]


@pytest.mark.parametrize("k", [1, 2, 5, 30, 59, 60])
def test_ties_behind_the_edge_of_the_answer(k: int) -> None:
    # faiss keeps any k of equals; here 57 documents tie, so that the answer is widened until they are all in it.
    corpus = [Document(f"{i:02}", "90" if i % 20 else "45") for i in reversed(range(60))]
    run = DenseRetriever(Compass()).build(corpus).search([Query("q", "45"), Query("r", "90")], k)
    near, far = (f"{i:02}" for i in range(60) if not i % 20), (f"{i:02}" for i in range(60) if i % 20)
    expected = [*near, *far]
    assert [scored.doc_id for scored in run.rankings["q"]] == expected[:k]
    assert [scored.doc_id for scored in run.rankings["r"]] == [*expected[3:], *expected[:3]][:k]


def test_many_queries_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(40)])
    corpus = [Document(f"d{i:03}", " ".join(rng.choice(words, 6))) for i in range(300)]
    queries = [Query(f"q{i}", " ".join(rng.choice(words, 3))) for i in range(60)]
    encoder = WordEncoder()
    run = DenseRetriever(encoder).build(corpus).search(queries, 12)
    documents, asked = (encoder.encode([item.text for item in items]) for items in (corpus, queries))
    for query, products in zip(queries, np.round((asked @ documents.T).astype(np.float64), 6), strict=True):
        expected = Run.rank(dict(zip((d.doc_id for d in corpus), products.tolist(), strict=True)), 12)
        assert [scored.doc_id for scored in run.rankings[query.query_id]] == [scored.doc_id for scored in expected]


def test_prefixes_travel_with_the_index(tmp_path: Path) -> None:
    class Recorder(WordEncoder):
        def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
            seen.extend(texts)
            return super().encode(texts, progress)

    seen: list[str] = []
    retriever = DenseRetriever(Recorder(), query_prefix="query: ", document_prefix="passage: ")
    retriever.build([Document("a", "text", "Title")]).save(tmp_path)
    DenseRetriever.load(tmp_path, Recorder()).search([Query("q", "what")], 1)
    assert seen == ["passage: Title. text", "query: what"]


def test_titles_alone_and_all_of_what_has_none(tmp_path: Path) -> None:
    corpus = [Document("a", "90", "0"), Document("b", "0", "90"), Document("c", "45")]
    built = DenseRetriever(Compass(), fields="title").build(corpus)
    built.save(tmp_path)
    for retriever in (built, DenseRetriever.load(tmp_path, Compass())):
        (ranking,) = retriever.search([Query("q", "80")], 3).rankings.values()
        assert [one.doc_id for one in ranking] == ["b", "c", "a"]
        assert retriever.settings.fields == "title"


def test_an_index_of_before_there_was_a_choice_is_of_titles_and_texts(tmp_path: Path) -> None:
    DenseRetriever(WordEncoder()).build([Document("a", "x")]).save(tmp_path)
    header = json.loads((tmp_path / "settings.json").read_text())
    del header["settings"]["fields"]
    (tmp_path / "settings.json").write_text(json.dumps(header))
    assert DenseRetriever.load(tmp_path, WordEncoder()).settings.fields == "title+text"


def test_a_misspelt_choice_of_fields() -> None:
    with pytest.raises(ConfigError, match="unknown choice of fields 'titel': did you mean 'title'"):
        DenseRetriever(WordEncoder(), fields="titel")  # type: ignore[arg-type]


def test_the_encoder_is_remade_from_the_settings(tmp_path: Path) -> None:
    DenseRetriever(WordEncoder(max_length=99, precision="float32")).build([Document("a", "x")]).save(tmp_path)
    encoder = DenseRetriever.load(tmp_path).encoder
    assert (encoder.name, encoder.max_length, encoder.precision) == ("words", 99, "float32")


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    DenseRetriever(WordEncoder()).build([Document("a", "x")]).save(tmp_path)
    with pytest.raises(ArtefactError, match=r"made by encoder and max_length \('words', 256\), got \('compass', 256\)"):
        DenseRetriever.load(tmp_path, Compass())


def test_long_queries_are_cut_with_a_warning() -> None:
    retriever = DenseRetriever(WordEncoder(max_length=8)).build([Document("a", "x")])
    with pytest.warns(UserWarning, match="2 of 3 queries are longer than 8 tokens and were cut"):
        retriever.search([Query("q", "x " * 10_000), Query("r", "short"), Query("s", "一二三四五六七八九")], 1)


def test_no_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unused(WordEncoder):
        def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
            raise AssertionError("the missing package should be noticed before the long work")

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"dense retrieval needs faiss-cpu, .*genir\[dense\]"):
        DenseRetriever(Unused()).build([Document("a", "x")])
