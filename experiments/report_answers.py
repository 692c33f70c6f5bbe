"""What the report shows of writing and reading: identifiers token by token, the grounding table, answers with sources.

A source is shown as its passage around the cited characters, with these marked; where the corpus is not at hand, or is
not the one that was cited, the citation's own text stands alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.plots import interval_bars
from genir.formats import CORPUS, QUERIES, read_corpus, read_queries
from genir.records import Answer, Citation, Document, Query
from rag.scoring import score_answer

View = dict[str, Any]
CLOSED_BOOK = ("none", "closed-book", "closed_book", "closed book")
QUESTIONS_SHOWN = 4
_CONTEXT = 160  # characters shown on either side of a citation
MEASURES = {
    "em": "exact match",
    "f1": "F1",
    "hallucination": "hallucination",
    "abstention": "abstention",
}  # key -> heading
_MEANINGS = {
    "exact match": "share of the answers that are an accepted one, but for case, punctuation and articles",
    "F1": "words in common with the best accepted answer",
    "hallucination": "share of the questions that were answered, and wrongly",
    "abstention": "share of the questions that were left unanswered",
}
_ARM_MEANINGS = {
    "closed-book": "no evidence: the reader knows what it learnt, or guesses",
    "oracle": "the right passage is given: as good as this reader can be",
    "random": "a passage drawn at random: a careful reader abstains",
}
_KEYS = {
    "em": "EM",
    "f1": "F1",
    "hallucination": "hallucination",
    "abstention": "abstention",
}  # key -> rag.evaluation's name


def writing(records: Sequence[Mapping[str, Any]]) -> View | None:
    """Questions and the identifiers that the model wrote for them, best first."""
    shown = [
        {
            "question": record["question"],
            "written": [_written(record), *(_written(one) for one in record.get("alternatives", ()))],
        }
        for record in records
    ]
    return {"questions": shown} if shown else None


def _written(record: Mapping[str, Any]) -> View:
    return {key: record.get(key) for key in ("docid_tokens", "title", "doc_id", "score")}


def grounding(record: Mapping[str, Any]) -> View:
    """Every arm on every measure, and hallucination as a plot."""
    rows: list[View] = [
        {
            "arm": _arm(row["arm"]),
            "closed": row["arm"] in CLOSED_BOOK,
            **{key: interval_of(row, key, name) for key, name in _KEYS.items()},
        }
        for row in record["rows"]
    ]
    alt = "Bar chart of the hallucination rate by source of evidence: " + "; ".join(
        f"{row['arm']} {row['hallucination']['mean']:.3f}" for row in rows
    )
    plot = interval_bars(
        "hallucination",
        alt,
        [row["arm"] for row in rows],
        [row["hallucination"] for row in rows],
        [not row["closed"] for row in rows],
    )
    return {
        "reader": record["reader"],
        "questions": record["questions"],
        "measures": MEASURES,
        "meanings": _MEANINGS
        | {arm: text for arm, text in _ARM_MEANINGS.items() if any(row["arm"] == arm for row in rows)},
        "rows": rows,
        "plot": plot,
    }


def _arm(name: str) -> str:
    return "closed-book" if name in CLOSED_BOOK else name


def interval_of(row: Mapping[str, Any], key: str, name: str) -> dict[str, float]:
    """Mean, low and high of a measure.

    From {key: {mean, low, high}}, or from a flat row as `rag.evaluation` makes it: name, "name low", "name high".
    """
    if isinstance(row.get(key), Mapping):
        return {part: row[key][part] for part in ("mean", "low", "high")}
    return {"mean": row[name], "low": row[f"{name} low"], "high": row[f"{name} high"]}


def answers(given: Sequence[Answer], data: Path) -> View | None:
    """The first questions of the file, each with every arm's answer: closed-book, then the others in their order."""
    by_question: dict[str, list[Answer]] = defaultdict(list)
    for answer in given:
        by_question[answer.query_id].append(answer)
    shown = list(by_question.values())[:QUESTIONS_SHOWN]
    cited = {citation.doc_id for group in shown for answer in group for citation in answer.citations}
    documents = _documents(data / CORPUS, cited)
    queries = _queries(data / QUERIES, {group[0].query_id for group in shown})
    questions = [
        {
            "text": group[0].question,
            "accepted": queries[group[0].query_id].answers if group[0].query_id in queries else None,
            "answers": [
                _answer(answer, queries.get(answer.query_id), documents)
                for answer in sorted(group, key=lambda answer: answer.retriever not in CLOSED_BOOK)
            ],
        }
        for group in shown
    ]
    return {"questions": questions, "asked": len(by_question)} if questions else None


def _answer(answer: Answer, query: Query | None, documents: Mapping[str, Document]) -> View:
    """One arm's answer. The verdict is that of the grounding table: exact match with an accepted answer."""
    verdict = ""
    if query is not None:
        scores = score_answer(answer, query)
        verdict = "right" if scores["EM"] else "wrong" if scores["hallucination"] else "no answer"
    return {
        "closed": answer.retriever in CLOSED_BOOK,
        "arm": _arm(answer.retriever),
        "text": answer.text,
        "abstained": answer.abstained,
        "verdict": verdict,
        "sources": [source(citation, documents.get(citation.doc_id)) for citation in answer.citations],
    }


def source(citation: Citation, document: Document | None) -> View:
    """A citation as text before it, the cited words, and text after it, cut at spaces where there are any."""
    text = "" if document is None else document.text
    if document is None or text[citation.start : citation.end] != citation.text:
        return {"title": "", "doc_id": citation.doc_id, "url": "", "before": "", "cited": citation.text, "after": ""}
    begin, end = max(0, citation.start - _CONTEXT), min(len(text), citation.end + _CONTEXT)
    before, after = text[begin : citation.start], text[citation.end : end]
    if begin > 0:
        before = "… " + (before.partition(" ")[2] or before)
    if end < len(text):
        after = (after.rpartition(" ")[0] or after) + " …"
    return {
        "title": document.title,
        "doc_id": citation.doc_id,
        "url": document.url,
        "before": before,
        "cited": citation.text,
        "after": after,
    }


def _documents(path: Path, wanted: set[str]) -> dict[str, Document]:
    """The wanted documents, by doc_id; none where the corpus lies elsewhere."""
    if not wanted or not path.is_file():
        return {}
    return {document.doc_id: document for document in read_corpus(path) if document.doc_id in wanted}


def _queries(path: Path, wanted: set[str]) -> dict[str, Query]:
    if not path.is_file():
        return {}
    return {query.query_id: query for query in read_queries(path) if query.query_id in wanted}
