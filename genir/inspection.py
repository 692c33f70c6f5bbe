"""What a data set holds, and what is wrong with it, as one plain dict: for JSON, and for a table.

A word is a run without white space that holds a letter or digit, or one Han or Kana character. A text's script is the
one most of its letters belong to: scripts are counted, languages are not guessed. Two texts are the same when they
differ in case and white space only. Read with `load_dataset(folder, strict=False)`, so that broken qrels are counted.

Known gap: scripts written without spaces other than Han and Kana (Thai, Khmer, ...) count one word a run.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from genir.records import Dataset, Document, Qrels
from genir.words import UNSPACED

T = TypeVar("T")

NEAR_EMPTY_BELOW = 5  # words
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}][^\s{UNSPACED}]*")
# The first word of a letter's Unicode name -> the script's usual name; other letters count as "Other".
_SCRIPTS = {name.upper(): name for name in (
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari", "Bengali", "Gujarati", "Gurmukhi",
    "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Georgian",
    "Ethiopic", "Mongolian", "Hangul", "Hiragana", "Katakana", "Bopomofo",
)} | {"CJK": "Han"}  # fmt: skip


def word_spans(text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) of the words of a text."""
    return [match.span() for match in _WORD.finditer(text)]


def inspect(dataset: Dataset) -> dict[str, Any]:
    """Counts of a data set, nested under "documents", "queries" and "qrels"; "problems" names the faults with counts.

    Lengths are dicts of min, median, mean, p95 and max; counts are ints; a count of zero is there too, but no problem.
    """
    judged = {query_id for qrels in dataset.qrels.values() for query_id in qrels}
    documents, queries = _documents(dataset.corpus), _queries(dataset, judged)
    doc_ids = {document.doc_id for document in dataset.corpus}
    splits = {name: _judgements(qrels, dataset, doc_ids) for name, qrels in dataset.qrels.items()}
    relevant = {d for qrels in dataset.qrels.values() for query_id in qrels for d in qrels.relevant(query_id)}
    documents["without_relevant_query"] = len(doc_ids - relevant)
    found = {"name": dataset.name, "documents": documents, "queries": queries, "qrels": splits}
    return {**found, "problems": _problems(found)}


def _documents(corpus: tuple[Document, ...]) -> dict[str, Any]:
    words = [len(_WORD.findall(document.text)) for document in corpus]
    without_text = sum(not document.text.strip() for document in corpus)
    return {
        "count": len(corpus),
        "without_title": sum(not document.title.strip() for document in corpus),
        "without_text": without_text,
        "near_empty": sum(count < NEAR_EMPTY_BELOW for count in words) - without_text,
        "duplicate_texts": _repeats(document.text for document in corpus),
        "duplicate_titles": _repeats(document.title for document in corpus),
        "words": _lengths(words),
        "characters": _lengths([len(document.text) for document in corpus]),
        "scripts": _tally(corpus, lambda document: _script(document.text or document.title)),
    }


def _queries(dataset: Dataset, judged: set[str]) -> dict[str, Any]:
    queries = list(dataset.queries.values())
    splits_of: dict[str, set[str]] = {}
    for split, qrels in dataset.qrels.items():
        for query_id in qrels:
            if query_id in dataset.queries:
                splits_of.setdefault(_normal(dataset.queries[query_id].text), set()).add(split)
    shared = [text for text, splits in splits_of.items() if len(splits) > 1]
    return {
        "count": len(queries),
        "without_text": sum(not query.text.strip() for query in queries),
        "with_answers": sum(bool(query.answers) for query in queries),
        "in_no_qrels": sum(query.query_id not in judged for query in queries),
        "duplicate_texts": _repeats(query.text for query in queries),
        "texts_in_two_splits": len(shared),
        "texts_in_two_splits_examples": shared[:3],
        "words": _lengths([len(_WORD.findall(query.text)) for query in queries]),
        "scripts": _tally(queries, lambda query: _script(query.text)),
    }


def _judgements(qrels: Qrels, dataset: Dataset, doc_ids: set[str]) -> dict[str, Any]:
    relevant = [len(qrels.relevant(query_id)) for query_id in qrels]
    judged = {doc_id for documents in qrels.judgements.values() for doc_id in documents}
    return {
        "queries": len(qrels),
        "judgements": sum(len(documents) for documents in qrels.judgements.values()),
        "mean_relevant": round(sum(relevant) / len(relevant), 4) if relevant else 0.0,
        "queries_without_relevant": relevant.count(0),
        "unknown_queries": sum(query_id not in dataset.queries for query_id in qrels),
        "unknown_documents": len(judged - doc_ids),
    }


def _problems(found: dict[str, Any]) -> list[str]:
    documents, queries = found["documents"], found["queries"]
    counted = [
        ("documents without text", documents["without_text"]),
        (f"documents of fewer than {NEAR_EMPTY_BELOW} words", documents["near_empty"]),
        ("documents with the text of an earlier one, which no search can tell apart", documents["duplicate_texts"]),
        ("queries without text", queries["without_text"]),
        ("query texts in two splits, whose scores are no test of generalisation", queries["texts_in_two_splits"]),
    ]
    for split, row in found["qrels"].items():
        counted += [
            (f"judged queries of {split!r} that queries.jsonl does not hold", row["unknown_queries"]),
            (f"judged documents of {split!r} that the corpus does not hold", row["unknown_documents"]),
            (f"queries of {split!r} without a relevant document, which score 0", row["queries_without_relevant"]),
        ]
    return [f"{fault}: {count:,}" for fault, count in counted if count]


def _lengths(values: list[int]) -> dict[str, float]:
    if not values:
        return dict.fromkeys(("min", "median", "mean", "p95", "max"), 0)
    low, median, p95, high = np.quantile(values, [0, 0.5, 0.95, 1])
    between = {"median": median, "mean": np.mean(values), "p95": p95}
    return {"min": int(low), **{name: round(float(figure), 1) for name, figure in between.items()}, "max": int(high)}


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()


def _repeats(texts: Iterable[str]) -> int:
    """How many texts stand earlier in the list already; empty ones do not count."""
    counts = Counter(normal for text in texts if (normal := _normal(text)))
    return sum(counts.values()) - len(counts)


def _tally(items: Iterable[T], key: Callable[[T], str]) -> dict[str, int]:
    return dict(Counter(map(key, items)).most_common())


def _script(text: str) -> str:
    """The script of most letters; "none" for a text without letters."""
    letters: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            letters[_script_of(character)] += count
    return letters.most_common(1)[0][0] if letters else "none"


@cache
def _script_of(letter: str) -> str:
    return _SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0], "Other")
