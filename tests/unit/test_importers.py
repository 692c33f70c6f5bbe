"""Every kind of source becomes a data set, and whatever is left out is said."""

import importlib.machinery
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from genir.errors import DataError, MissingExtraError
from genir.formats import load_dataset, write_dataset
from genir.importers import import_source
from genir.inspection import word_spans
from genir.records import Dataset, Document, Query

GOLDEN_SQUAD = Path(__file__).parents[1] / "golden" / "squad.json"


def test_a_beir_folder_is_taken_as_it_is(tiny_folder: Path, tiny_dataset: Dataset) -> None:
    assert import_source(str(tiny_folder)) == tiny_dataset
    assert import_source(str(tiny_folder), "other").name == "other"


# --- SQuAD


def test_squad_becomes_documents_queries_and_qrels(tmp_path: Path) -> None:
    told: list[str] = []
    found = import_source(str(GOLDEN_SQUAD), tell=told.append)
    assert found.name == "squad"
    assert found.corpus == (
        Document("001-001", "The first café in Vienna opened in 1683.", "Café culture § 1"),
        Document("001-002", "Coffee reached Venice by sea.", "Café culture § 2"),
    )
    assert found.queries["a1"] == Query("a1", "When did the first café in Vienna open?", ("1683",))
    assert found.queries["a2"] == Query("a2", "Where did a café open in 1683?", ("Vienna", "in Vienna"))
    assert found.queries["a3"].answers == ()
    judged = {q: dict(found_docs) for qrels in found.qrels.values() for q, found_docs in qrels.judgements.items()}
    assert judged == {"a1": {"001-001": 1}, "a2": {"001-001": 1}, "a4": {"001-002": 1}, "b1": {"001-002": 1}}
    assert told == [
        "merged: 1 paragraphs that repeat an earlier one",
        "in no split: 1 unanswerable questions, kept among the queries",
    ]
    write_dataset(found, tmp_path / "squad")
    assert load_dataset(tmp_path / "squad") == found


def squad_file(path: Path, paragraphs: int, questions: int) -> Path:
    """Paragraphs of so many questions; the last question of every paragraph is worded alike."""
    content = [
        {
            "context": f"context {p}",
            "qas": [
                {"id": f"{p}-{q}", "question": "same?" if q == questions - 1 else f"question {p} {q}?", "answers": []}
                for q in range(questions)
            ],
        }
        for p in range(paragraphs)
    ]
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": content}]}))
    return path


def test_squad_splits_80_10_10_within_paragraphs(tmp_path: Path) -> None:
    source = str(squad_file(tmp_path / "many.json", paragraphs=100, questions=5))
    found = import_source(source)
    assert {split: len(qrels) for split, qrels in found.qrels.items()} == {"train": 400, "dev": 50, "test": 50}
    assert {d for q in found.qrels["train"] for d in found.qrels["train"].relevant(q)} == {
        d.doc_id for d in found.corpus
    }
    assert {split for split, qrels in found.qrels.items() for q in qrels if found.queries[q].text == "same?"} == {
        "train"
    }
    position = Counter(query_id.split("-")[1] for query_id in found.qrels["test"])
    assert len(position) == 4, "the hash picks every question but the one that is worded alike"


def test_squad_splits_depend_on_the_seed_only(tmp_path: Path) -> None:
    source = str(squad_file(tmp_path / "many.json", paragraphs=20, questions=5))
    assert import_source(source, seed=1) == import_source(source, seed=1)
    assert import_source(source, seed=1).qrels["test"] != import_source(source, seed=2).qrels["test"]


def test_a_paragraph_of_one_question_keeps_it_for_training(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    paragraphs = [{"context": f"c{i}", "qas": [{"id": f"q{i}", "question": f"{i}?", "answers": []}]} for i in range(30)]
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}))
    assert {split: len(qrels) for split, qrels in import_source(str(path)).qrels.items()} == {
        "train": 30,
        "dev": 0,
        "test": 0,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n{"title"', "squad.json:2: not valid JSON (cut short?)"),
        ('{"rows": []}', 'squad.json: not SQuAD: expected a list of objects under "data"'),
        ("[]", 'squad.json: not SQuAD: expected a list of objects under "data"'),
        ('{"data": []}', "squad.json: holds no paragraph"),
        (
            '{"data": [{"paragraphs": [{"qas": []}]}]}',
            'data[0].paragraphs[0]: not SQuAD: expected a string under "context"',
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": 1}]}]}]}',
            'data[0].paragraphs[0].qas[0]: not SQuAD: expected a string under "id"',
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": ['
            + ", ".join(['{"id": "1", "question": "?"}'] * 2)
            + "]}]}]}",
            "data[0].paragraphs[0].qas[1]: the question id '1' stands already further up",
        ),
    ],
)
def test_a_file_that_is_not_squad_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "squad.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        import_source(str(path))
    assert message in str(caught.value)


def test_one_file_of_a_beir_folder_points_to_the_folder(tiny_folder: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl: is one file of a data set; give the folder that holds it"):
        import_source(str(tiny_folder / "corpus.jsonl"))


# --- folders of texts


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    files = {
        "plain.txt": "\n First line.\nSecond line.\n",
        "sub/100% sure.md": "intro\n```\n# a comment\n```\n## The Heading ##\nBody.",
        "sub/no heading.MD": "Nothing but text.",
        "page.html": (
            "<!doctype html><html><head><title> A &amp;\n B </title><style>p {color: red}</style></head><body>"
            "<script>var x = '<p>no</p>';</script><h1>Top</h1><p>One <b>bold</b>\n word.<br>Next</p>"
            "<svg><title>drawing</title></svg><ul><li>x<li>y</ul></body></html>"
        ),
        "bare.htm": "<p>no title",
        "empty.txt": " \n",
        "picture.png": "x",
        "README": "x",
        ".hidden/secret.txt": "x",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin1.txt").write_bytes(b"caf\xe9")
    (folder / "dangling.txt").symlink_to(folder / "nowhere.txt")
    (folder / "loop").symlink_to(folder)
    return folder


def test_a_folder_of_texts_becomes_documents(texts: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = import_source(str(texts), tell=told.append)
    assert found.name == "notes"
    assert found.queries == {}
    assert found.qrels == {}
    assert {document.doc_id: (document.title, document.text) for document in found.corpus} == {
        "bare.htm": ("bare", "no title"),
        "page.html": ("A & B", "Top\nOne bold word.\nNext\nx\ny"),
        "plain.txt": ("plain", "First line.\nSecond line."),
        "sub/100%25%20sure.md": ("The Heading", "intro\n```\n# a comment\n```\n## The Heading ##\nBody."),
        "sub/no%20heading.MD": ("no heading", "Nothing but text."),
    }
    assert sorted(told) == [
        "left out: 1 files are not valid UTF-8 (latin1.txt)",
        "left out: 1 files cannot be read (dangling.txt)",
        "left out: 1 files hold no text (empty.txt)",
        "left out: 1 folders are links (loop)",
        "left out: 2 files of other kinds (1 .png, 1 without suffix)",
    ]
    write_dataset(found, tmp_path / "out")
    assert load_dataset(tmp_path / "out").corpus == found.corpus


def test_what_is_left_out_is_a_warning_where_nobody_listens(texts: Path, recwarn: pytest.WarningsRecorder) -> None:
    import_source(str(texts))
    assert "left out: 1 files hold no text (empty.txt)" in {str(warning.message) for warning in recwarn}


def test_long_files_are_cut_between_sentences(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(" ".join(f"Sentence number {i} has exactly seven words." for i in range(60)))
    found = import_source(str(tmp_path), words=50)
    assert [document.doc_id for document in found.corpus[:2]] == ["long.txt#1", "long.txt#2"]
    assert found.corpus[0].title == "long § 1"
    assert all(document.text.startswith("Sentence") and document.text.endswith(".") for document in found.corpus)
    assert {len(word_spans(document.text)) for document in found.corpus[:-1]} == {49}
    assert " ".join(document.text for document in found.corpus) == (tmp_path / "long.txt").read_text()


@pytest.mark.parametrize("text", ["word " * 500, "字" * 500, "list\n\n" * 500, "a. B c d e f. " * 100])
def test_no_passage_is_far_from_the_length_asked_for_and_no_text_is_lost(tmp_path: Path, text: str) -> None:
    (tmp_path / "long.md").write_text(text)
    passages = [document.text for document in import_source(str(tmp_path), words=40).corpus]
    assert all(20 <= len(word_spans(passage)) <= 60 for passage in passages[:-1])
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_short_files_stay_whole(texts: Path) -> None:
    found = import_source(str(texts), words=100, tell=lambda line: None)
    assert not any("#" in document.doc_id for document in found.corpus)


def test_passages_need_words(texts: Path) -> None:
    with pytest.raises(DataError, match="cannot cut passages of 0 words: give a number of at least 1"):
        import_source(str(texts), words=0)


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").touch()
    with (
        pytest.warns(UserWarning, match=r"1 files of other kinds \(1 \.pdf\)"),
        pytest.raises(DataError, match=r"holds no corpus\.jsonl and no readable text file; expected a BEIR folder"),
    ):
        import_source(str(tmp_path))


# --- ir_datasets


class FakeSource:
    """What ir_datasets.load returns, as far as we use it."""

    def __init__(self, docs: list[Any] | None = None, queries: list[Any] | None = None, qrels: list[Any] | None = None):
        for kind, items in (("docs", docs), ("queries", queries), ("qrels", qrels)):
            setattr(self, f"has_{kind}", lambda items=items: items is not None)
            setattr(self, f"{kind}_iter", lambda items=items: iter(items))


def named(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(default_text=lambda: f"default {values.get('text', '')}".strip(), **values)


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeSource]:
    sources: dict[str, FakeSource] = {}
    module = ModuleType("ir_datasets")
    module.__spec__ = importlib.machinery.ModuleSpec("ir_datasets", None)
    module.load = sources.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ir_datasets", module)
    return sources


def test_an_ir_datasets_id_becomes_a_data_set(catalogue: dict[str, FakeSource]) -> None:
    catalogue["beir/tiny/test"] = FakeSource(
        docs=[named(doc_id="d1", text="one", title="T", url="u"), named(doc_id="d2", body="two")],
        queries=[named(query_id="q1", text="who?")],
        qrels=[named(query_id="q1", doc_id="d1", relevance=2), named(query_id="q1", doc_id="d9", relevance=1)],
    )
    told: list[str] = []
    found = import_source("beir/tiny/test", tell=told.append)
    assert found.name == "beir-tiny-test"
    assert found.corpus == (Document("d1", "one", "T", "u"), Document("d2", "default"))
    assert found.queries == {"q1": Query("q1", "default who?")}
    assert {split: qrels.judgements for split, qrels in found.qrels.items()} == {"test": {"q1": {"d1": 2}}}
    assert told == ["left out: 1 judgements of queries or documents that beir/tiny/test does not hold"]


def test_an_ir_datasets_id_may_lack_queries_but_not_documents(catalogue: dict[str, FakeSource]) -> None:
    catalogue["tiny/docs"] = FakeSource(docs=[named(doc_id="d1", text="one")])
    catalogue["tiny/log"] = FakeSource(queries=[])
    assert import_source("tiny/docs").qrels == {}
    with pytest.raises(DataError, match="'tiny/log': this ir_datasets id has no documents"):
        import_source("tiny/log")


def test_an_unknown_id_is_refused(catalogue: dict[str, FakeSource]) -> None:
    with pytest.raises(
        DataError, match="'beir/nothing': no file, no folder, and no id that ir_datasets knows; expected"
    ):
        import_source("beir/nothing")


def test_a_download_that_fails_is_one_line(catalogue: dict[str, FakeSource], monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> None:
        raise ConnectionError("no route to host\nmore")

    catalogue["far"] = FakeSource(docs=[])
    monkeypatch.setattr(catalogue["far"], "docs_iter", offline)
    with pytest.raises(DataError, match=r"^'far': ir_datasets cannot fetch it: no route to host$"):
        import_source("far")


def test_ir_datasets_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'beir/scifact/test', .* needs ir-datasets, .* 'genir\[datasets\]'"):
        import_source("beir/scifact/test")


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "train-v2.0.json", "notes.txt"])
def test_a_path_that_does_not_exist_is_not_taken_for_an_id(source: str) -> None:
    with pytest.raises(DataError, match="no such file or folder; expected a BEIR folder"):
        import_source(source)
