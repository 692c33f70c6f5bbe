"""What every scheme owes: one suite over all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docids.atomic import AtomicScheme
from docids.hierarchical import HierarchicalScheme
from docids.key_terms import KeyTermScheme
from docids.numeric import NumericScheme
from docids.product import ProductScheme
from docids.quality import diagnose
from docids.random_control import RandomScheme
from docids.residual import ResidualScheme
from docids.table import DocIDTable
from docids.title import TitleScheme
from docids.url import UrlScheme
from genir.errors import DataError
from genir.protocols import DocIDMap, DocIDScheme
from genir.records import Document
from tests.learned_scheme import LearnedScheme
from tests.tiny_text_models import WordEncoder, save_byte_tokenizer

Make = Callable[[], Any]

WORDS = ["moon", "river", "copper", "lake", "Oslo", "Lima", "desert", "planet", "engine", "violin"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder)
    return str(folder)


@pytest.fixture(
    params=[
        *("atomic", "numeric", "hierarchical", "residual", "residual, greedy", "product", "product, opq", "random"),
        *(
            "title",
            "title, collide",
            "url",
            "url, in reading order",
            "url, collide",
            "key-terms",
            "key-terms, by importance",
            "learned",
        ),
    ]
)
def make(request: pytest.FixtureRequest, tokenizer: str) -> Make:
    """A maker of fresh schemes; those with codes have 32 a level, more than most corpora here have documents."""
    schemes: dict[str, Make] = {
        "atomic": AtomicScheme,
        "numeric": NumericScheme,
        "hierarchical": lambda: HierarchicalScheme(branching=4, encoder=WordEncoder()),
        "residual": lambda: ResidualScheme(levels=3, codes=32, encoder=WordEncoder()),
        "residual, greedy": lambda: ResidualScheme(
            levels=3, codes=32, distinct=False, refit_sweeps=0, encoder=WordEncoder()
        ),
        "product": lambda: ProductScheme(levels=3, codes=32, encoder=WordEncoder()),
        "product, opq": lambda: ProductScheme(
            levels=3, codes=32, rotation="opq", distinct=False, encoder=WordEncoder()
        ),
        "title": lambda: TitleScheme(tokenizer),
        "title, collide": lambda: TitleScheme(tokenizer, duplicates="collide"),
        "url": lambda: UrlScheme(tokenizer),
        "url, in reading order": lambda: UrlScheme(tokenizer, duplicates="number", reverse=False),
        "url, collide": lambda: UrlScheme(tokenizer, duplicates="collide"),
        "key-terms": lambda: KeyTermScheme(terms=4),
        "key-terms, by importance": lambda: KeyTermScheme(terms=4, order="importance", min_documents=1),
        "random": lambda: RandomScheme(levels=3, codes=32),
        "learned": lambda: LearnedScheme(levels=3, codes=32, encoder=WordEncoder()),
    }
    return schemes[request.param]


def corpus_of(size: int) -> list[Document]:
    """Documents of which every fifth has no title and every tenth is in Chinese; three share a page."""
    rng = np.random.default_rng(size)
    documents = []
    for i in range(size):
        text = " ".join(rng.choice(WORDS, 6)) if i % 10 != 9 else f"第{i}条河流的名字"
        title = "" if i % 5 == 4 else f"{rng.choice(WORDS)} {i % 7}"
        documents.append(Document(f"d{i}", text, title, f"https://example.org/page/{i // 3}"))
    return documents


PAGE = "https://example.org/a/page"
CORPORA = {
    "one document": [Document("only", "The single document.", "Single", PAGE)],
    "twenty documents for 32 clusters": corpus_of(20),
    "two hundred documents": corpus_of(200),
    "no titles": [Document(f"d{i}", f"text number {i} about a {WORDS[i % 10]}", "", PAGE) for i in range(12)],
    "identical documents": [Document(f"d{i}", "the very same text", "Same", PAGE) for i in range(70)],
    "empty texts": [Document("a", "", "", PAGE), Document("b", "", "", PAGE), Document("c", "", "Title", PAGE)],
}


@pytest.fixture(params=CORPORA)
def corpus(request: pytest.FixtureRequest) -> list[Document]:
    return CORPORA[request.param]


def assert_same(table: DocIDTable, other: DocIDTable) -> None:
    assert list(table.tokens.items()) == list(other.tokens.items())
    for name in ("scheme", "vocab_size", "tokenizer", "settings", "codes_per_level", "facts", "vocabulary"):
        assert getattr(table, name) == getattr(other, name), name
    assert (table.codebooks is None) == (other.codebooks is None)
    if table.codebooks is not None and other.codebooks is not None:
        np.testing.assert_array_equal(table.codebooks, other.codebooks)
        assert table.codebooks.dtype == other.codebooks.dtype == np.float32


def test_every_document_has_an_identifier_and_both_directions_agree(make: Make, corpus: list[Document]) -> None:
    scheme = make()
    table = scheme.assign(corpus)
    assert isinstance(scheme, DocIDScheme)
    assert isinstance(table, DocIDMap)
    assert table.scheme == scheme.name
    assert list(table.tokens) == [document.doc_id for document in corpus]
    for document in corpus:
        tokens = table.tokens_of(document.doc_id)
        assert tokens
        assert all(type(token) is int and 0 <= token < table.vocab_size for token in tokens)
        assert document.doc_id in table.documents_of(tokens)
    found = [doc_id for tokens in table.identifiers() for doc_id in table.documents_of(tokens)]
    assert sorted(found) == sorted(document.doc_id for document in corpus)


def test_identifiers_are_distinct_unless_collisions_were_asked_for(make: Make, corpus: list[Document]) -> None:
    scheme = make()
    table = scheme.assign(corpus)
    may_collide = getattr(scheme, "distinct", True) is False or getattr(scheme, "duplicates", "") == "collide"
    if not may_collide:
        assert len(table.identifiers()) == len(corpus)
        assert table.collisions() == {}
    shared = sum(len(doc_ids) for doc_ids in table.collisions().values())
    assert diagnose(table)["collision_rate"] == shared / len(corpus)


def test_levels_have_token_ranges_of_their_own_where_the_table_says_so(make: Make, corpus: list[Document]) -> None:
    table = make().assign(corpus)
    if table.codes_per_level is not None:
        for tokens in table.tokens.values():
            assert [token // table.codes_per_level for token in tokens] == list(range(len(tokens)))
        assert table.vocab_size % table.codes_per_level == 0


def test_a_vocabulary_says_what_every_token_stands_for(make: Make, corpus: list[Document]) -> None:
    table = make().assign(corpus)
    if table.vocabulary is not None:
        assert len(table.vocabulary) == len(set(table.vocabulary)) == table.vocab_size


def test_save_and_load_are_symmetric(make: Make, corpus: list[Document], tmp_path: Path) -> None:
    table = make().assign(corpus)
    table.save(tmp_path / "docids")
    assert_same(DocIDTable.load(tmp_path / "docids"), table)


def test_the_same_seed_gives_the_same_table(make: Make) -> None:
    corpus = CORPORA["two hundred documents"]
    assert_same(make().assign(corpus), make().assign(corpus))


def test_another_seed_gives_another_table_where_there_is_one(make: Make) -> None:
    corpus = CORPORA["two hundred documents"]
    scheme = make()
    if not hasattr(scheme, "seed"):
        pytest.skip(f"{scheme.name} identifiers have no seed")
    before = scheme.assign(corpus)
    scheme.seed = 1
    assert before.tokens != scheme.assign(corpus).tokens


def test_an_empty_corpus_and_a_repeated_doc_id_are_refused(make: Make) -> None:
    with pytest.raises(DataError, match="the corpus is empty"):
        make().assign([])
    with pytest.raises(DataError, match="two documents have the doc_id 'd1'"):
        make().assign([Document("d1", "a"), Document("d2", "b"), Document("d1", "c")])
