"""Pseudo-queries: every kind, every odd document, and the same ones again."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from genir.errors import ConfigError
from genir.formats import load_dataset
from genir.pseudo_queries import Kind, PseudoQuery, PseudoQueryConfig, make_pseudo_queries
from genir.records import Document
from genir.words import terms

CORPUS = (
    Document(
        "oslo",
        "Oslo is the capital of Norway. It was founded by Harald Hardrada in 1048. About 700000 people live there. "
        "The city lies at the head of a long fjord.",
        "Oslo",
    ),
    Document("lima", "Lima is the capital of Peru. Pizarro founded Lima on 18 January 1535.", "Lima"),
    Document("nile", "The Nile flows north through Egypt into the Mediterranean Sea."),
    Document("tokyo", "东京是日本的首都。东京建于1457年，位于本州岛东部。人口约1400万。", "东京"),
    Document("kyoto", "京都は日本の古い都である。人口は140万人だ。"),
)


def made(document_or_corpus: Any, *kinds: Kind, per_document: int = 20) -> list[str]:
    corpus = [document_or_corpus] if isinstance(document_or_corpus, Document) else document_or_corpus
    config = PseudoQueryConfig(per_document, kinds or get_args(Kind))
    return [query.text for query in make_pseudo_queries(corpus, config)]


def of(doc_id: str, *kinds: Kind) -> list[str]:
    config = PseudoQueryConfig(20, kinds)
    return [query.text for query in make_pseudo_queries(CORPUS, config) if query.doc_id == doc_id]


def test_every_document_gets_its_share() -> None:
    queries = make_pseudo_queries(CORPUS)
    counts = Counter(query.doc_id for query in queries)
    assert list(counts) == [document.doc_id for document in CORPUS]
    assert max(counts.values()) == PseudoQueryConfig().per_document
    assert min(counts.values()) >= 3
    assert {query.kind for query in queries if query.doc_id == "oslo"} == set(get_args(Kind))


def test_no_query_twice_and_every_one_with_the_documents_words() -> None:
    asked = set(terms("when where who what how many 哪一年 多少 谁 哪里 什么 何年 いくつ 誰 どこ 何"))
    for document in CORPUS:
        queries = [query for query in make_pseudo_queries(CORPUS) if query.doc_id == document.doc_id]
        assert len({tuple(terms(query.text)) for query in queries}) == len(queries)
        single = {term for term in terms(document.title_and_text) if len(term) == 1} | asked
        for query in queries:
            words = {term for term in terms(query.text) if document.doc_id not in ("tokyo", "kyoto") or len(term) == 1}
            assert words <= single | set(terms(document.title_and_text)), query


def test_the_same_again_and_another_seed() -> None:
    assert make_pseudo_queries(CORPUS) == make_pseudo_queries(CORPUS)
    assert make_pseudo_queries(CORPUS) != make_pseudo_queries(CORPUS, PseudoQueryConfig(seed=1))


def test_the_order_of_the_corpus_changes_only_the_order() -> None:
    forwards, backwards = make_pseudo_queries(CORPUS), make_pseudo_queries(CORPUS[::-1])
    assert sorted(forwards, key=repr) == sorted(backwards, key=repr)


def test_clozes_ask_for_names_numbers_and_terms() -> None:
    oslo = of("oslo", "cloze")
    assert any(query.startswith("Who") and "founded" in query and "Harald" not in query for query in oslo)
    assert any(query.startswith("When") and "1048" not in query for query in oslo)
    assert any(query.startswith("How many people live there") for query in oslo)
    assert any(query.startswith("When") and "January" not in query for query in of("lima", "cloze"))


def test_chinese_and_japanese_clozes_ask_in_place() -> None:
    tokyo = of("tokyo", "cloze")
    assert any("哪一年" in query and "1457" not in query for query in tokyo)
    assert all(query.endswith("？") for query in tokyo)
    assert any("何" in query or "いくつ" in query for query in of("kyoto", "cloze"))


def test_chinese_sentences_end_at_their_own_stops() -> None:
    assert "东京是日本的首都" in of("tokyo", "sentence")


def test_keywords_leave_function_words_out() -> None:
    for query in of("oslo", "terms"):
        assert not {"the", "of", "is", "a", "at"} & set(query.casefold().split())
    assert any("fjord" in query for query in of("oslo", "terms"))


def test_titles_alone_and_with_a_key_phrase() -> None:
    titles = of("oslo", "title")
    assert "Oslo" in titles
    assert all(query.startswith("Oslo") for query in titles)
    assert len(titles) > 1


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize(
    "document",
    [
        Document("d", "word"),
        Document("d", "the"),
        Document("d", "", "Only a title"),
        Document("d", "no title and no end"),
        Document("d", "京"),
        Document("d", "x " * 3000),
        Document("d", "京" * 3000),
        Document("d", "- - . ? word\n\n\n* * *"),
        Document("d", "1 2 3"),
    ],
    ids=lambda document: document.text[:12],
)
def test_odd_documents_get_one_at_least(document: Document, kind: Kind) -> None:
    queries = made(document, kind)
    assert queries
    assert all(terms(query) and query == query.strip() and len(query) < 200 for query in queries)


@pytest.mark.parametrize("document", [Document("d", ""), Document("d", "👍🏽", "…")])
def test_documents_without_a_letter_get_none(document: Document) -> None:
    assert made(document) == []
    assert {query.doc_id for query in make_pseudo_queries([document, *CORPUS])} == {other.doc_id for other in CORPUS}


def test_an_empty_corpus() -> None:
    assert make_pseudo_queries([]) == []


def test_per_document_is_a_limit() -> None:
    for limit in (1, 2, 5):
        counts = Counter(query.doc_id for query in make_pseudo_queries(CORPUS, PseudoQueryConfig(per_document=limit)))
        assert set(counts.values()) == {limit}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"per_document": 0}, "per_document is 0: expected at least 1"),
        ({"kinds": ()}, "kinds is empty: name at least one of cloze, sentence, terms, title"),
        ({"kinds": ("sentences",)}, "unknown kind of pseudo-query 'sentences': did you mean 'sentence'"),
    ],
)
def test_bad_configurations(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PseudoQueryConfig(**config)


def test_a_query_is_a_plain_record() -> None:
    (query,) = make_pseudo_queries([Document("d", "word")])
    assert query == PseudoQuery("d", "word", "sentence")


def test_real_paragraphs(shared_data: Path) -> None:
    corpus = load_dataset(shared_data / "squad-small", []).corpus[:300]
    queries = make_pseudo_queries(corpus, PseudoQueryConfig(per_document=12))
    assert len(queries) == pytest.approx(12 * len(corpus), rel=0.02)
    lengths = sorted(len(query.text.split()) for query in queries if query.kind == "cloze")
    assert 6 <= lengths[len(lengths) // 2] <= 13  # as long as questions
