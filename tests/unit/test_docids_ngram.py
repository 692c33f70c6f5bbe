"""N-gram identifiers: what the index holds, titles, round trips, diagnostics against counting by hand."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from docids.ngram import NGRAMS, NgramScheme, NgramTable
from docids.ngram_quality import diagnose_ngrams
from docids.table import SCHEME, DocIDTable
from genir.constraints.fm_index import FMIndex
from genir.errors import ArtefactError, ConfigError, DataError
from genir.protocols import DocIDMap, DocIDScheme
from genir.records import Document
from tests.tiny_text_models import save_byte_tokenizer

CORPUS = (
    Document("b", "the sea", "Coast"),
    Document("a", "the river runs to the sea"),
    Document("none", ""),
    Document("title only", "", "Lake"),
    Document("zh", "河流"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_byte_tokenizer(folder, sep_token="[SEP]")
    return str(folder)


def encode(tokenizer: str, text: str) -> tuple[int, ...]:
    return tuple(AutoTokenizer.from_pretrained(tokenizer)(text, add_special_tokens=False)["input_ids"])


def table_of(documents: list[tuple[int, ...]], longest: int = 3) -> NgramTable:
    tokens = {f"d{i}": document for i, document in enumerate(documents)}
    facts = {"title_mark": None}
    table = DocIDTable("ngram", tokens, vocab_size=10, tokenizer="t", settings={"longest": longest}, facts=facts)
    return NgramTable(table, FMIndex.build(documents))


def test_every_ngram_of_a_document_names_it(tokenizer: str) -> None:
    scheme = NgramScheme(tokenizer)
    table = scheme.assign(CORPUS)
    assert isinstance(scheme, DocIDScheme)
    assert isinstance(table, DocIDMap)
    assert (table.scheme, len(table), table.doc_ids) == ("ngram", 5, ["b", "a", "none", "title only", "zh"])
    for document in CORPUS:
        assert document.doc_id in table.documents_of(table.tokens_of(document.doc_id))
    assert table.documents_of(encode(tokenizer, "the sea")) == ("b", "a")
    assert table.documents_of(encode(tokenizer, "river")) == ("a",)
    assert table.documents_of(encode(tokenizer, "desert")) == ()
    assert table.documents_of(()) == ()
    assert table.documents_of(encode(tokenizer, "sea") + encode(tokenizer, "the")) == ()  # never across documents


def test_a_title_stands_in_front_with_a_mark_that_no_text_holds(tokenizer: str) -> None:
    corpus = [*CORPUS, Document("spelt", "Coast[SEP]", "")]
    table = NgramScheme(tokenizer).assign(corpus)
    (mark,) = encode(tokenizer, "[SEP]")
    assert table.title_of("b") == (*encode(tokenizer, "Coast"), mark)
    assert table.tokens_of("b") == (*table.title_of("b"), *encode(tokenizer, "the sea"))
    assert table.documents_of(table.title_of("b")) == ("b",)  # a mention of the coast is no title
    assert table.title_of("a") == table.title_of("spelt") == ()
    assert table.documents.facts == {"titles": 2, "title_mark": mark, "without_text": 2}
    assert NgramScheme(tokenizer, titles=False).assign(corpus).documents_of(encode(tokenizer, "Coast")) == ("spelt",)


def test_a_tokenizer_without_mark_leaves_titles_unmarked(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path)
    table = NgramScheme(str(tmp_path)).assign(CORPUS)
    assert table.documents_of(encode(str(tmp_path), "Coastthe")) == ("b",)
    assert table.title_of("b") == ()


def test_the_doc_id_stands_in_for_a_document_without_any_text(tokenizer: str) -> None:
    table = NgramScheme(tokenizer).assign(CORPUS)
    assert table.tokens_of("none") == encode(tokenizer, "none")
    with pytest.raises(DataError, match="document '' has neither title, text nor doc_id that tokenizer"):
        NgramScheme(tokenizer).assign([Document("", "")])


def test_save_and_load_are_symmetric(tokenizer: str, tmp_path: Path) -> None:
    table = NgramScheme(tokenizer).assign(CORPUS)
    table.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docids.jsonl", NGRAMS, SCHEME]
    loaded = NgramTable.load(tmp_path)
    assert (loaded.tokens, loaded.documents.facts) == (table.tokens, table.documents.facts)
    assert loaded.documents.settings == {"longest": 10, "titles": True}
    assert loaded.documents_of(encode(tokenizer, "the")) == table.documents_of(encode(tokenizer, "the")) == ("b", "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_missing_broken_or_anothers_is_refused(tokenizer: str, tmp_path: Path) -> None:
    NgramScheme(tokenizer).assign(CORPUS).save(tmp_path)
    other = tmp_path / "other"
    NgramScheme(tokenizer).assign(CORPUS[:2]).save(other)
    whole = (tmp_path / NGRAMS).read_bytes()
    (tmp_path / NGRAMS).write_bytes((other / NGRAMS).read_bytes())
    with pytest.raises(
        ArtefactError, match=r"ngrams\.safetensors: an index of 2 documents and 38 tokens, but the table"
    ):
        NgramTable.load(tmp_path)
    (tmp_path / NGRAMS).write_bytes(whole[:-9])
    with pytest.raises(ArtefactError, match=r"ngrams\.safetensors: .*build it again"):
        NgramTable.load(tmp_path)
    (tmp_path / NGRAMS).unlink()
    with pytest.raises(ArtefactError, match=r"ngrams\.safetensors"):
        NgramTable.load(tmp_path)
    DocIDTable("atomic", {"d": (0,)}, 1).save(tmp_path)
    with pytest.raises(ArtefactError, match="holds atomic identifiers, expected those of scheme ngram"):
        NgramTable.load(tmp_path)


def test_bad_settings_and_corpora(tokenizer: str) -> None:
    with pytest.raises(ConfigError, match="expected longest >= 1, got 0"):
        NgramScheme(tokenizer, longest=0).assign(CORPUS)
    with pytest.raises(DataError, match="the corpus is empty"):
        NgramScheme(tokenizer).assign([])
    with pytest.raises(DataError, match="two documents have the doc_id 'a'"):
        NgramScheme(tokenizer).assign([*CORPUS, Document("a", "x")])
    with pytest.raises(ArtefactError, match="tokenizer 'no/where': cannot be loaded"):
        NgramScheme("no/where").assign(CORPUS)


def test_diagnostics_by_hand() -> None:
    figures = diagnose_ngrams(table_of([(1, 2, 3), (2, 3), (1, 2, 3), (4, 4, 4, 4)]))
    assert figures["levels"] == [
        {"tokens": 1, "occurrences": 12, "distinct": 4, "naming_one": 1, "documents_named": 1},
        {"tokens": 2, "occurrences": 8, "distinct": 3, "naming_one": 1, "documents_named": 1},
        {"tokens": 3, "occurrences": 4, "distinct": 2, "naming_one": 1, "documents_named": 1},
    ]
    assert (figures["documents"], figures["tokens"], figures["identifiers"]) == (4, 12, 9)
    assert (figures["uniqueness"], figures["collision_rate"]) == (0.25, 0.75)
    assert figures["own_length"] == {"mean": 1.0, "max": 1}
    assert figures["document_length"] == {"min": 2, "mean": 3.0, "max": 4}
    assert figures["length"] == {"min": 1, "max": 3}
    assert diagnose_ngrams(table_of([(1, 2), (1, 2)]))["own_length"] is None
    assert len(diagnose_ngrams(table_of([(1,), (2, 1)], longest=9))["levels"]) == 2  # as long as the longest document


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple), min_size=1, max_size=8))
def test_diagnostics_equal_counting_and_the_index(documents: list[tuple[int, ...]]) -> None:
    table = table_of(documents, longest=4)
    own: dict[int, int] = {}
    for level in diagnose_ngrams(table)["levels"]:
        n = level["tokens"]
        holders: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for number, document in enumerate(documents):
            for start in range(len(document) - n + 1):
                holders[document[start : start + n]].add(number)
        alone = {ngram: min(held) for ngram, held in holders.items() if len(held) == 1}
        assert (level["distinct"], level["naming_one"]) == (len(holders), len(alone))
        assert level["documents_named"] == len(set(alone.values()))
        assert all(len(table.documents_of(ngram)) == 1 for ngram in alone)
        for number in alone.values():
            own.setdefault(number, n)
    figures = diagnose_ngrams(table)
    assert figures["uniqueness"] == len(own) / len(documents)
    assert figures["own_length"] == (
        {"mean": pytest.approx(sum(own.values()) / len(own)), "max": max(own.values())} if own else None
    )
