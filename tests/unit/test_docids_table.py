"""The table: collisions, prefixes, and every way in which its folder can be broken."""

import json
from pathlib import Path

import numpy as np
import pytest

from docids.atomic import AtomicScheme
from docids.numeric import NumericScheme
from docids.table import DocIDTable, level_tokens
from genir.errors import ArtefactError, DataError
from genir.records import Document


def small() -> DocIDTable:
    return DocIDTable("hand", {"a": (1, 0), "b": (1,), "c": (1, 0), "é": (0,)}, vocab_size=2, settings={"x": 1})


def test_several_documents_under_one_identifier_stay_in_corpus_order() -> None:
    table = small()
    assert table.documents_of((1, 0)) == ("a", "c")
    assert table.documents_of((0, 1)) == ()
    assert table.identifiers() == [(0,), (1,), (1, 0)]
    assert table.collisions() == {(1, 0): ("a", "c")}
    assert len(table) == 4


def test_the_table_is_frozen() -> None:
    tokens = {"a": (0,)}
    table = DocIDTable("hand", tokens, vocab_size=1)
    tokens["b"] = (0,)
    assert len(table) == 1
    with pytest.raises(TypeError):
        table.tokens["b"] = (0,)  # type: ignore[index]


def test_a_document_of_another_corpus_is_named() -> None:
    with pytest.raises(ArtefactError, match="document 'z' has no identifier among the 4 of this hand table"):
        small().tokens_of("z")


@pytest.mark.parametrize("tokens", [(), (2,), (-1,), (True,), (0.0,), ("1",)])
def test_impossible_tokens_are_refused(tokens: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"document 'a': identifier .* each a whole number 0\.\.1"):
        DocIDTable("hand", {"a": tokens}, vocab_size=2)


def test_a_table_without_documents_is_refused() -> None:
    with pytest.raises(DataError, match="at least one document"):
        DocIDTable("hand", {}, vocab_size=2)


def test_level_tokens() -> None:
    assert level_tokens(np.array([3, 0, 9]), 10) == (3, 10, 29)


def test_atomic_and_numeric_by_hand() -> None:
    corpus = [Document(f"d{i}", "text") for i in range(12)]
    atomic = AtomicScheme().assign(corpus)
    assert (atomic.tokens_of("d7"), atomic.vocab_size) == ((7,), 12)
    naive = NumericScheme().assign(corpus)
    assert (naive.tokens_of("d1"), naive.tokens_of("d10"), naive.vocab_size) == ((1,), (1, 0), 10)
    padded = NumericScheme(zero_padded=True).assign(corpus)
    assert (padded.tokens_of("d1"), padded.tokens_of("d10")) == ((0, 1), (1, 0))


def test_saving_over_a_table_with_codebooks_leaves_none_behind(tmp_path: Path) -> None:
    books = np.arange(12, dtype=np.float32).reshape(1, 2, 6)[:, :, ::2]  # not contiguous
    DocIDTable("hand", {"a": (0,)}, vocab_size=2, codebooks=books).save(tmp_path)
    loaded = DocIDTable.load(tmp_path)
    assert loaded.codebooks is not None
    np.testing.assert_array_equal(loaded.codebooks, books)
    small().save(tmp_path)
    assert DocIDTable.load(tmp_path).codebooks is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docids.jsonl", "scheme.json"]


def test_a_vocabulary_is_kept_and_a_folder_from_before_there_were_any_is_read(tmp_path: Path) -> None:
    DocIDTable("hand", {"a": (0,)}, vocab_size=2, vocabulary=("月", "lake")).save(tmp_path)
    assert DocIDTable.load(tmp_path).vocabulary == ("月", "lake")
    small().save(tmp_path)
    assert not (tmp_path / "vocabulary.json").exists()
    about = json.loads((tmp_path / "scheme.json").read_text())
    del about["vocabulary"]
    (tmp_path / "scheme.json").write_text(json.dumps(about))
    assert DocIDTable.load(tmp_path).vocabulary is None


@pytest.mark.parametrize("content", ['["a"]', '["a", 1]', '{"a": 0, "b": 1}'])
def test_a_broken_vocabulary_is_named(tmp_path: Path, content: str) -> None:
    DocIDTable("hand", {"a": (0,)}, vocab_size=2, vocabulary=("moon", "lake")).save(tmp_path)
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"vocabulary\.json: expected a list of 2 texts, as scheme\.json says"):
        DocIDTable.load(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    with pytest.raises(ArtefactError, match=r"vocabulary\.json: cannot be read"):
        DocIDTable.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"doc_id": "b", "docid_tok', r"docids\.jsonl:2: expected {\"doc_id\""),
        ("", r"docids\.jsonl:2: expected {\"doc_id\""),
        ('["b", [1]]', r"docids\.jsonl:2: expected {\"doc_id\""),
        ('{"doc_id": "b"}', r"docids\.jsonl:2: expected {\"doc_id\""),
        ('{"doc_id": "b", "docid_tokens": 1}', r"docids\.jsonl:2: expected {\"doc_id\""),
        ('{"doc_id": "a", "docid_tokens": [1]}', r"docids\.jsonl:2: doc_id 'a' .* second time"),
        ('{"doc_id": 7, "docid_tokens": [1]}', r"docids\.jsonl:2: doc_id 7 is not text"),
        ('{"doc_id": "b", "docid_tokens": [2]}', r"docids\.jsonl:2: identifier \(2,\): .* 0\.\.1"),
        ('{"doc_id": "b", "docid_tokens": []}', r"docids\.jsonl:2: identifier \(\)"),
        ('{"doc_id": "b", "docid_tokens": [[1]]}', r"docids\.jsonl:2: identifier \(\[1\],\)"),
    ],
)
def test_a_broken_line_is_named_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    small().save(tmp_path)
    lines = (tmp_path / "docids.jsonl").read_text().splitlines()
    lines[1] = line
    (tmp_path / "docids.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ArtefactError, match=message):
        DocIDTable.load(tmp_path)


def test_bytes_that_are_not_text_are_named_with_their_line(tmp_path: Path) -> None:
    small().save(tmp_path)
    (tmp_path / "docids.jsonl").write_bytes(b'{"doc_id": "a", "docid_tokens": [1]}\n\xff\xfe\n')
    with pytest.raises(ArtefactError, match=r"docids\.jsonl:2: expected"):
        DocIDTable.load(tmp_path)


def test_a_missing_line_is_noticed(tmp_path: Path) -> None:
    small().save(tmp_path)
    lines = (tmp_path / "docids.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "docids.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ArtefactError, match=r"docids\.jsonl: 3 documents, but scheme\.json says 4"):
        DocIDTable.load(tmp_path)
    (tmp_path / "docids.jsonl").write_text("")
    with pytest.raises(ArtefactError, match=r"docids\.jsonl: holds no document"):
        DocIDTable.load(tmp_path)
    (tmp_path / "docids.jsonl").unlink()
    with pytest.raises(ArtefactError, match=r"docids\.jsonl: no such file"):
        DocIDTable.load(tmp_path)


def test_a_broken_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"scheme\.json: no such file, so .* `genir docids build`"):
        DocIDTable.load(tmp_path)
    (tmp_path / "scheme.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"scheme\.json: not valid JSON: .*line 1"):
        DocIDTable.load(tmp_path)
    (tmp_path / "scheme.json").write_text("[]")
    with pytest.raises(ArtefactError, match=r"scheme\.json: key 'scheme' is missing"):
        DocIDTable.load(tmp_path)
    small().save(tmp_path)
    about = json.loads((tmp_path / "scheme.json").read_text())
    (tmp_path / "scheme.json").write_text(json.dumps(about | {"vocab_size": "2"}))
    with pytest.raises(ArtefactError, match=r"scheme\.json: key 'vocab_size' is missing or of the wrong type"):
        DocIDTable.load(tmp_path)


def test_broken_codebooks_are_named(tmp_path: Path) -> None:
    DocIDTable("hand", {"a": (0,)}, vocab_size=2, codebooks=np.zeros((1, 2, 3), dtype=np.float32)).save(tmp_path)
    about = json.loads((tmp_path / "scheme.json").read_text())
    (tmp_path / "scheme.json").write_text(json.dumps(about | {"codebooks": [1, 2, 4]}))
    with pytest.raises(ArtefactError, match=r"codebooks of shape \[1, 2, 3\], but scheme\.json says \[1, 2, 4\]"):
        DocIDTable.load(tmp_path)
    (tmp_path / "codebooks.safetensors").write_bytes(b"broken")
    with pytest.raises(ArtefactError, match=r"codebooks\.safetensors: cannot be read"):
        DocIDTable.load(tmp_path)
    (tmp_path / "codebooks.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"codebooks\.safetensors: cannot be read"):
        DocIDTable.load(tmp_path)
