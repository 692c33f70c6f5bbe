"""BM25 against hand arithmetic, the formula written out, the rank-bm25 package, and known figures on SQuAD."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genir.formats import load_dataset
from genir.measures import evaluate
from genir.records import Document, Query
from retrievers.bm25 import BM25Retriever

texts = st.lists(st.text("abcde ", min_size=0, max_size=20), min_size=1, max_size=12)
PLAIN = {"stemmer": None, "stopwords": None, "fields": ("text",)}


def lucene(documents: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """Kamphuis et al. 2020, table 1, "Lucene (accurate)"."""
    N, average = len(documents), sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for term in query:
            n, tf = sum(term in other for other in documents), document.count(term)
            if tf:
                idf = math.log(1 + (N - n + 0.5) / (n + 0.5))
                total += idf * tf / (tf + k1 * (1 - b + b * len(document) / average))
        scores.append(total)
    return scores


def scores_of(retriever: BM25Retriever, corpus: list[str], query: str) -> list[float]:
    """One score a document, 0 for those that are not returned."""
    documents = [Document(f"{i:03}", text) for i, text in enumerate(corpus)]
    (ranking,) = retriever.build(documents).search([Query("q", query)], len(corpus)).rankings.values()
    found = {scored.doc_id: scored.score for scored in ranking}
    return [found.get(document.doc_id, 0.0) for document in documents]


def test_by_hand() -> None:
    # N = 2, n = 1: idf = ln(1 + 1.5 / 1.5) = ln 2. Lengths 2 and 4, mean 3. k1 = 1, b = 1/2:
    # tf = 1 in length 2: 1 / (1 + 1 * (1/2 + 1/2 * 2/3)) = 6 / 11.
    retriever = BM25Retriever(k1=1.0, b=0.5, **PLAIN)
    assert scores_of(retriever, ["cat dog", "fox fox hen owl"], "cat") == pytest.approx([math.log(2) * 6 / 11, 0])


@settings(max_examples=60, deadline=None)
@given(texts, st.text("abcdef ", max_size=15), st.floats(0, 3), st.floats(0, 1))
def test_bm25s_is_lucenes_formula(corpus: list[str], query: str, k1: float, b: float) -> None:
    expected = lucene([text.split() for text in corpus], query.split(), k1, b) if any("".join(corpus).split()) else []
    found = scores_of(BM25Retriever(k1=k1, b=b, **PLAIN), corpus, query)
    assert found == pytest.approx(expected or [0.0] * len(corpus), rel=1e-4, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(texts, st.text("abcdef ", max_size=15))
def test_the_rank_bm25_backend_is_the_package(corpus: list[str], query: str) -> None:
    from rank_bm25 import BM25Okapi

    if any("".join(corpus).split()):
        expected = BM25Okapi([text.split() for text in corpus], k1=0.9, b=0.4).get_scores(query.split())
        assert scores_of(BM25Retriever(backend="rank-bm25", **PLAIN), corpus, query) == pytest.approx(expected)


def test_how_the_two_backends_differ() -> None:
    corpus = ["ash oak elm", "ash fir", "oak fir yew", "elm elm fir", "fir bay", "bay yew bay"]
    okapi = scores_of(BM25Retriever(backend="rank-bm25", **PLAIN), corpus, "ash")
    ours = scores_of(BM25Retriever(**PLAIN), corpus, "ash")
    n, N = 2, 6
    ratio = 1.9 * (math.log(N - n + 0.5) - math.log(n + 0.5)) / math.log(1 + (N - n + 0.5) / (n + 0.5))
    assert okapi == pytest.approx([score * ratio for score in ours])


@pytest.mark.parametrize("backend", ["bm25s", pytest.param("rank-bm25", marks=pytest.mark.slow)])
def test_figures_on_squad_small(shared_data: Path, backend: str) -> None:
    dataset = load_dataset(shared_data / "squad-small", ["test"])
    run = BM25Retriever(backend=backend).build(dataset.corpus).search(dataset.split("test"), 10)
    means = evaluate(run, dataset.qrels["test"], ["Success@1", "R@10"]).means
    assert means == pytest.approx({"Success@1": 0.76, "R@10": 0.96}, abs=0.01)
