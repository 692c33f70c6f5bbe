"""What every family of identifiers owes the commands: one suite over all schemes, n-grams and learned ones among them."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from docids.learned import NAME as LEARNED
from experiments.identifiers import FILES, diagnose_identifiers, load_identifiers, save_identifiers
from experiments.registry import SCHEMES, scheme_classes
from genir.errors import ArtefactError, DataError
from genir.protocols import DocIDMap, DocIDScheme
from genir.records import Document
from tests.learned_scheme import LearnedScheme
from tests.tiny_text_models import WordEncoder, save_byte_tokenizer

SMALL = {"levels": 2, "codes": 4, "branching": 3}
CORPUS = [
    Document("zh", "河流流入大海", "河流", "https://example.org/zh"),
    Document("b", "the lake lies near the town", "Lake", "https://example.org/b"),
    Document("a", "the river flows past the town", "", "https://example.org/a"),
    Document("empty", "", "", "https://example.org/empty"),
    *(Document(f"d{i}", f"town {i} lies by river {i % 3}", f"Town {i}", f"https://example.org/{i}") for i in range(8)),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder, sep_token="[SEP]")
    return str(folder)


@pytest.fixture(params=(*SCHEMES, LEARNED))
def scheme(request: pytest.FixtureRequest, tokenizer: str) -> Any:
    cls = (scheme_classes() | {LEARNED: LearnedScheme})[request.param]
    known = {one.name for one in fields(cls)}
    room = {"codes": 8} if request.param == "views" else {}  # for several identifiers a document
    chosen = {**SMALL, **room, "tokenizer": tokenizer, "encoder": WordEncoder()}
    return cls(**{name: value for name, value in chosen.items() if name in known})


def test_both_directions_agree_in_corpus_order(scheme: Any) -> None:
    table = scheme.assign(CORPUS)
    assert isinstance(scheme, DocIDScheme)
    assert isinstance(table, DocIDMap)
    assert table.scheme == scheme.name
    assert list(table.tokens) == [document.doc_id for document in CORPUS]
    for document in CORPUS:
        tokens = table.tokens_of(document.doc_id)
        assert tokens
        assert all(type(token) is int and token >= 0 for token in tokens)
        found = table.documents_of(tokens)
        assert document.doc_id in found
        assert list(found) == [one.doc_id for one in CORPUS if one.doc_id in found]
    assert table.documents_of((999_999,)) == table.documents_of(()) == ()
    with pytest.raises(ArtefactError, match="document 'x' has no identifier among the 12 of this"):
        table.tokens_of("x")


def test_a_folder_gives_the_same_identifiers_and_the_same_files(scheme: Any, tmp_path: Path) -> None:
    table = scheme.assign(CORPUS)
    save_identifiers(table, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() <= set(FILES)
    loaded = load_identifiers(tmp_path)
    assert type(loaded) is type(table)
    assert list(loaded.tokens.items()) == list(table.tokens.items())
    assert diagnose_identifiers(loaded) == diagnose_identifiers(table)
    save_identifiers(scheme_classes()["atomic"]().assign(CORPUS), tmp_path)
    save_identifiers(loaded, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_diagnostics_hold_what_the_commands_print(scheme: Any) -> None:
    figures = diagnose_identifiers(scheme.assign(CORPUS))
    assert (figures["scheme"], figures["documents"]) == (scheme.name, len(CORPUS))
    assert figures["identifiers"] >= 1
    assert 1 <= figures["length"]["min"] <= figures["length"]["max"] == len(figures["levels"])
    assert 0 <= figures["collision_rate"] <= 1
    assert 0 < figures["uniqueness"] <= 1
    assert all(level.keys() == figures["levels"][0].keys() for level in figures["levels"])
    assert isinstance(figures["facts"], dict)


def test_the_same_corpus_gives_the_same_identifiers(scheme: Any) -> None:
    assert scheme.assign(CORPUS).tokens == scheme.assign(CORPUS).tokens


def test_bad_corpora_are_refused(scheme: Any) -> None:
    with pytest.raises(DataError, match="the corpus is empty"):
        scheme.assign([])
    with pytest.raises(DataError, match="two documents have the doc_id 'a'"):
        scheme.assign([*CORPUS, Document("a", "again", "A", "https://example.org/again")])
