"""What `inspect` counts, by hand on a few documents, and that it names what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from genir.formats import load_dataset
from genir.inspection import inspect, word_spans
from genir.records import Dataset, Document, Qrels, Query


def test_a_sound_data_set_has_no_problems(tiny_dataset: Dataset) -> None:
    found = inspect(tiny_dataset)
    assert found["problems"] == []
    assert found["documents"]["count"] == 4
    assert found["documents"]["without_title"] == 1
    assert found["documents"]["without_relevant_query"] == 0
    assert found["documents"]["scripts"] == {"Latin": 3, "Han": 1}
    assert found["documents"]["words"] == {"min": 8.0, "median": 11.0, "mean": 11.0, "p95": 13.7, "max": 14.0}
    assert found["queries"]["in_no_qrels"] == 1
    assert found["queries"]["with_answers"] == 4
    assert found["qrels"]["dev"] == {
        "queries": 1,
        "judgements": 2,
        "mean_relevant": 1.0,
        "queries_without_relevant": 0,
        "unknown_queries": 0,
        "unknown_documents": 0,
    }
    assert json.loads(json.dumps(found)) == found


def test_every_fault_is_counted_and_named(tiny_dataset: Dataset) -> None:
    corpus = (
        *tiny_dataset.corpus,
        Document("d5", "oslo IS the  capital of Norway. It lies at the head of a fjord. ", "OSLO"),
        Document("d6", "  ", "empty"),
        Document("d7", "?! --", "signs only"),
    )
    queries = {**tiny_dataset.queries, "q6": Query("q6", "which way does THE Nile flow?"), "q7": Query("q7", "")}
    qrels = {
        **tiny_dataset.qrels,
        "train": Qrels({"q6": {"d3": 1}, "gone": {"d1": 1}, "q7": {"lost": 1, "d2": 0}, "q1": {"d2": 0}}),
    }
    found = inspect(replace(tiny_dataset, corpus=corpus, queries=queries, qrels=qrels))
    assert found["documents"]["duplicate_titles"] == 1
    assert found["queries"]["texts_in_two_splits_examples"] == ["which way does the nile flow?"]
    assert found["problems"] == [
        "documents without text: 1",
        "documents of fewer than 5 words: 1",
        "documents with the text of an earlier one, which no search can tell apart: 1",
        "queries without text: 1",
        "query texts in two splits, whose scores are no test of generalisation: 1",
        "judged queries of 'train' that queries.jsonl does not hold: 1",
        "judged documents of 'train' that the corpus does not hold: 1",
        "queries of 'train' without a relevant document, which score 0: 1",
    ]


def test_a_corpus_without_queries_is_described_too() -> None:
    found = inspect(Dataset("one", (Document("d", "😀 🎉"),), {}))
    assert found["queries"]["words"] == {"min": 0, "median": 0, "mean": 0, "p95": 0, "max": 0}
    assert found["documents"]["scripts"] == {"none": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a state-of-the-art 3.5 l engine.", ["It's", "a", "state-of-the-art", "3.5", "l", "engine."]),
        ("東京は日本の首都。", list("東京は日本の首都")),
        ("GPT-4是模型", ["GPT-4", "是", "模", "型"]),
        ("- — !", []),
    ],
)
def test_words_are_counted_in_spaced_and_unspaced_scripts(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Привет, world", "Cyrillic"),
        ("καλημέρα", "Greek"),
        ("مرحبا", "Arabic"),
        ("नमस्ते", "Devanagari"),
        ("안녕하세요", "Hangul"),
        ("ひらがなと漢字", "Hiragana"),
        ("ᚠᚢᚦ", "Other"),
        ("12 + 3", "none"),
    ],
)
def test_scripts_are_told_by_most_letters(text: str, script: str) -> None:
    assert inspect(Dataset("x", (Document("d", text),), {}))["documents"]["scripts"] == {script: 1}


def test_real_data_is_counted_as_its_maker_counted_it(shared_data: Path) -> None:
    found = inspect(load_dataset(shared_data / "scifact"))
    stats = json.loads((shared_data / "scifact" / "stats.json").read_text())
    assert found["documents"]["count"] == stats["docs"]
    assert found["queries"]["in_no_qrels"] == stats["queries_in_no_qrels"]
    assert {name: row["judgements"] for name, row in found["qrels"].items()} == stats["qrels_per_split"]
