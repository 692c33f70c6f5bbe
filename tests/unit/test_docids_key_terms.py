"""Key terms: weights by hand, orders, sets that are made distinct, documents with few terms, and Chinese."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docids.key_terms import KeyTermScheme, choose_sets, tf_idf
from docids.table import DocIDTable
from genir.errors import ConfigError
from genir.records import Document


def words(table: DocIDTable) -> list[str]:
    """Every document's identifier, as text."""
    assert table.vocabulary is not None
    vocabulary = table.vocabulary
    return [" ".join(vocabulary[token] for token in tokens) for tokens in table.tokens.values()]


def corpus(*texts: str) -> list[Document]:
    return [Document(f"d{i}", text) for i, text in enumerate(texts)]


def test_weights_by_hand() -> None:
    weights = tf_idf({"moon": 1, "lake": 3}, {"moon": 2, "lake": 4}, documents=4)
    assert weights == {
        "moon": pytest.approx(math.log(3)),
        "lake": pytest.approx((1 + math.log(3)) * math.log(2)),
    }


TEXTS = corpus("the moon moon lake", "the moon river", "a lake river", "river copper", "lake copper copper")


def test_the_most_important_terms_and_both_orders() -> None:
    # df: moon 2, copper 2, lake 3, river 3
    by_importance = KeyTermScheme(terms=2, order="importance").assign(TEXTS)
    assert words(by_importance) == ["moon lake", "moon river", "lake river", "copper river", "copper lake"]
    by_frequency = KeyTermScheme(terms=2).assign(TEXTS)
    assert words(by_frequency) == ["lake moon", "river moon", "lake river", "river copper", "lake copper"]
    assert by_frequency.vocabulary == ("lake", "river", "copper", "moon")
    assert by_frequency.facts == {"vocabulary": 4, "took_further_terms": 0, "fewer_terms": 0, "numbered": 0}


def test_equal_sets_take_the_most_important_terms_that_they_do_not_share() -> None:
    shared = "moon moon moon lake lake lake river river "
    table = KeyTermScheme(terms=2, min_documents=1, order="importance").assign(
        corpus(shared + "oslo", shared + "lima", shared, "other words")
    )
    # "river" is more important than "oslo", but tells none of the three apart
    assert words(table)[:3] == ["moon lake oslo", "moon lake lima", "moon lake"]
    assert table.facts["took_further_terms"] == 2


def test_documents_of_the_same_terms_are_numbered_and_those_without_any_are_numbers() -> None:
    table = KeyTermScheme(terms=3).assign(corpus("moon lake", "lake moon moon", "the", "🎉", "moon", "Moon lake."))
    assert words(table) == ["moon lake", "moon lake #2", "#1", "#2", "moon", "moon lake #3"]
    assert table.vocabulary == ("moon", "lake", "#1", "#2", "#3")
    assert table.facts == {"vocabulary": 2, "took_further_terms": 0, "fewer_terms": 6, "numbered": 4}


def test_terms_of_one_document_and_single_characters_stand_back_but_are_there_where_needed() -> None:
    texts = corpus("moon lake x unique", "moon lake x", "x")
    assert words(KeyTermScheme(terms=2).assign(texts)) == ["lake moon unique", "lake moon", "x"]
    assert words(KeyTermScheme(terms=1, min_documents=1).assign(texts))[0] == "unique"


def test_chinese_takes_pairs_of_characters() -> None:
    table = KeyTermScheme(terms=2, order="importance").assign(corpus("北京大学", "北京故宫", "上海大学", "海"))
    assert words(table) == ["北京 大学", "北京 京故", "大学 上海", "海"]


def test_titles_count_as_text() -> None:
    assert words(KeyTermScheme().assign([Document("a", "water", "Lake")])) == ["lake water"]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="terms and min_documents of 1 or more, got 0 and 2"):
        KeyTermScheme(terms=0).assign(TEXTS)
    with pytest.raises(ConfigError, match="unknown order of key terms 'freq': did you mean 'frequency'"):
        KeyTermScheme(order="freq").assign(TEXTS)  # type: ignore[arg-type]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=12), st.integers(1, 5))
def test_sets_are_equal_only_where_all_terms_are(ranked: list[list[str]], size: int) -> None:
    chosen = choose_sets(ranked, size)
    for row, one in enumerate(chosen):
        assert one[: len(ranked[row][:size])] == ranked[row][:size]
        assert len(one) == len(set(one))
        assert set(one) <= set(ranked[row])
        for other in range(row):
            assert (set(one) != set(chosen[other])) or set(ranked[row]) == set(ranked[other])
