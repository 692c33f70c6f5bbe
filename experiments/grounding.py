"""The grounding stage of the demo: train a small reader on atlas, then read with and without evidence.

The questions are about entities that the reader never saw in training: closed-book it cannot know them, grounded it can.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from experiments.atlas import Atlas
from experiments.retrieval import build_retriever
from genir.formats import dataset_sha256, write_answers
from genir.manifest import MANIFEST, is_current, sha256_of, write_json, write_manifest
from genir.protocols import Retriever
from genir.records import Answer, Query
from rag.evaluation import Arm, OracleRetriever, RandomRetriever, compare_arms
from rag.small_reader.data import collect_articles
from rag.small_reader.reader import SmallReader
from rag.small_reader.training import ReaderConfig, train_reader
from retrievers.index_files import read_json

RETRIEVERS = ("generative", "bm25", "dense")
PASSAGES = 3
UNANSWERABLE = 200  # questions that nothing in the corpus answers, asked of the real retrievers
MEASURES = ("EM", "F1", "hallucination", "abstention")


def ground(
    atlas: Atlas, data: Path, model: Path, out: Path, reader_config: ReaderConfig | None = None
) -> dict[str, Any]:
    """Reader and table of arms, reused where they are current; returns what grounding.json holds."""
    reader = _reader(atlas, data, out / "reader", reader_config or ReaderConfig())
    inputs = {
        "dataset": dataset_sha256(data),
        "model": sha256_of(model / MANIFEST),
        "reader": sha256_of(out / "reader" / MANIFEST),
    }
    config = {"retrievers": RETRIEVERS, "passages": PASSAGES, "unanswerable": UNANSWERABLE}
    folder = out / "grounding"
    there = all((out / name).is_file() for name in ("grounding.json", "answers.jsonl"))
    if not there or not is_current(folder, "grounding", config, inputs):
        (folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
        retrievers = {
            name: build_retriever(name, atlas.dataset, data, model, cache=out / "cache").retriever
            for name in RETRIEVERS
        }
        figures, answers = _compare(atlas, reader, retrievers)
        write_answers(answers, out / "answers.jsonl")
        write_json(out / "grounding.json", figures)
        write_manifest(folder, "grounding", config, inputs)
    return cast(dict[str, Any], read_json(out / "grounding.json"))


def _compare(
    atlas: Atlas, reader: SmallReader, retrievers: Mapping[str, Retriever]
) -> tuple[dict[str, Any], list[Answer]]:
    """What grounding.json holds, and the answers behind its rows, question by question."""
    documents, qrels = atlas.dataset.documents(), atlas.dataset.qrels["test"]
    real: dict[str, Retriever | None] = {"closed-book": None, **retrievers}
    ends: dict[str, Retriever | None] = {
        "oracle": OracleRetriever(qrels),
        "random": RandomRetriever(tuple(documents), qrels),
    }

    def arms(chosen: Mapping[str, Retriever | None], questions: Sequence[Query]) -> list[Arm]:
        return compare_arms(chosen, reader, questions, documents, PASSAGES)

    questions = atlas.select("test", "unseen")
    rows = arms(real | ends, questions)
    refused = {arm.name: arm.row()["abstention"] for arm in arms(real, _spread(atlas.unanswerable, UNANSWERABLE))}
    [by_heart] = arms({"closed-book": None}, _spread(atlas.select("test", "seen"), len(questions)))
    figures = {
        "reader": reader.name,
        "questions": len(questions),
        "rows": [arm.row() | {"refusal": refused.get(arm.name)} for arm in rows],
        "closed_book_on_seen_entities": by_heart.row(),
    }
    return figures, [one for answers in zip(*(arm.answers for arm in rows), strict=True) for one in answers]


def _spread(questions: Sequence[Query], most: int) -> Sequence[Query]:
    """At most so many questions, from all over the corpus."""
    return questions[:: max(1, len(questions) // most)][:most]


def _reader(atlas: Atlas, data: Path, folder: Path, config: ReaderConfig) -> SmallReader:
    """The reader in `folder`, trained on the questions about seen entities unless it is current."""
    inputs = {"dataset": dataset_sha256(data)}
    if not is_current(folder, "reader", config, inputs, config.seed):
        dataset = atlas.dataset
        relevant = {query.query_id: dataset.qrels["train"].relevant(query.query_id) for query in atlas.reader_training}
        articles, _ = collect_articles(dataset.documents(), atlas.reader_training, relevant)
        begun = time.monotonic()
        (folder / MANIFEST).unlink(missing_ok=True)
        reader = train_reader(articles, config)
        reader.save(folder)
        facts = {"articles": len(articles), "seconds": round(time.monotonic() - begun, 1)}
        write_manifest(folder, "reader", config, inputs, config.seed, **facts)
    return SmallReader.load(folder)


def grounding_table(grounding: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Sequence[str], str]:
    """(rows, columns, title) for a person."""
    rows = []
    for row in grounding["rows"]:
        cells = {m: f"{row[m]:.3f} [{row[f'{m} low']:.3f}, {row[f'{m} high']:.3f}]" for m in MEASURES}
        rows.append({"evidence": row["arm"], **cells, "refusal": row["refusal"]})
    known = grounding["closed_book_on_seen_entities"]["EM"]
    title = (
        f"Answers of one reader to {grounding['questions']} questions about entities it never saw in training\n"
        f"(closed-book, on entities that it saw: EM {known:.3f}; refusal: of questions that nothing in the corpus answers)"
    )
    return rows, ["evidence", *MEASURES, "refusal"], title


def side_by_side(answers: Sequence[Answer], titles: Mapping[str, str], questions: int = 2) -> list[str]:
    """A few questions, each answered closed-book and from what the generative model found, with the source."""
    lines: list[str] = []
    pairs: dict[str, dict[str, Answer]] = {}
    for one in answers:
        pairs.setdefault(one.question, {})[one.retriever] = one
    answered = [pair for pair in pairs.values() if pair["generative"].citations][:questions]
    for pair in answered:
        grounded = pair["generative"]
        [source, *_] = grounded.citations
        lines += [
            "",
            grounded.question,
            f"  closed-book: {pair['none'].text}",
            f"  grounded:    {grounded.text}   [{titles[source.doc_id]}: {source.text}]",
        ]
    return lines
