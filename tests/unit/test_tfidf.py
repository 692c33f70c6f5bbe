"""TF-IDF: the cosine by hand."""

import math

import pytest

from genir.records import Document, Query
from retrievers.tfidf import TfidfRetriever


def test_the_cosine_by_hand() -> None:
    corpus = [Document("a", "cat cat dog"), Document("b", "dog")]
    (ranking,) = TfidfRetriever().build(corpus).search([Query("q", "cat")], 5).rankings.values()
    cat = (1 + math.log(2)) * (math.log(3 / 2) + 1)  # sublinear tf, scikit-learn's smooth idf
    dog = math.log(3 / 3) + 1
    assert [scored.doc_id for scored in ranking] == ["a"]
    assert ranking[0].score == pytest.approx(cat / math.hypot(cat, dog))


def test_plain_counts() -> None:
    corpus = [Document("a", "cat cat dog"), Document("b", "dog")]
    retriever = TfidfRetriever(sublinear_tf=False).build(corpus)
    (ranking,) = retriever.search([Query("q", "cat")], 5).rankings.values()
    cat = 2 * (math.log(3 / 2) + 1)
    assert ranking[0].score == pytest.approx(cat / math.hypot(cat, 1))


def test_chinese_titles_count() -> None:
    corpus = [Document("a", "text", "东京"), Document("b", "东西", "京")]
    (ranking,) = TfidfRetriever().build(corpus).search([Query("q", "东京")], 5).rankings.values()
    assert [scored.doc_id for scored in ranking] == ["a", "b"]
