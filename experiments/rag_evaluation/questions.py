"""What is asked of the arms: a split's questions, questions without an answer, and dev questions to calibrate on.

Invariants: a limit takes questions from all over a split, never its first ones, and the same ones every time; what is tuned is tuned on
dev questions alone; a judged question without an accepted answer can be neither right nor wrong, is left out, and counted.

A question is unanswerable where it has no accepted answer and no qrels name it (atlas, squad2-dev). Where `queries.jsonl` says of which
`split` such a question is, those of the split that is asked are asked, and those of dev are tuned on; where it says nothing of any, every
fifth is dev's. Its `context_id` is the passage that it was written against, which is what the oracle then returns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.rag_evaluation.settings import GroundingConfig
from genir.errors import ConfigError, DataError
from genir.formats import QUERIES
from genir.records import Dataset, Qrels, Query
from genir.sampling import spread

DEV_QUESTIONS = 400  # to calibrate on, at most; of those with an answer, and of those without
DEV_SHARE = 5  # of unanswerable questions of no split, one of so many is dev's


@dataclass(frozen=True)
class Questions:
    """`relevant` judges all of them (of an unanswerable question: the passage it was written against, if that is known); `popularity` is
    that of the question's subject, where the data set tells it. `left_out`: judged questions without an accepted answer. The last ones of
    `dev` may be unanswerable: those without accepted answers."""

    name: str
    asked: tuple[Query, ...]
    dev: tuple[Query, ...]
    unanswerable: tuple[Query, ...]
    relevant: Qrels
    popularity: Mapping[str, float] = field(default_factory=dict)
    left_out: int = 0


def choose_questions(data: Path, dataset: Dataset, config: GroundingConfig) -> Questions:
    """The questions of a data set. Raises DataError for a split without questions or answers, ConfigError for `entities` of another data
    set than atlas."""
    if config.split not in dataset.qrels:
        present = ", ".join(dataset.qrels) or "none"
        raise DataError(f"{data}: has no split {config.split!r} (qrels/{config.split}.tsv); there are: {present}")
    judged = dataset.split(config.split)
    about = _of_entities(data, dataset, config.entities)
    judged = tuple(query for query in judged if about is None or query.query_id in about)
    asked = tuple(query for query in judged if query.answers)
    if not asked:
        raise DataError(
            f"{data}: none of the {len(judged)} questions of split {config.split!r} has `answers` in {QUERIES}: there is nothing to "
            "measure answers by; give a data set for question answering"
        )
    dev = dataset.split("dev") if "dev" in dataset.qrels and config.split != "dev" else ()
    dev = tuple(query for query in dev if query.answers and (about is None or query.query_id in about))
    records = _records(data / QUERIES)
    in_vain, dev_in_vain = _unanswerable(dataset, records, config.split, tuning=bool(dev))
    limited = spread(asked, config.limit), spread(in_vain, config.limit)
    judgements = {one.query_id: dataset.qrels[config.split].judgements[one.query_id] for one in limited[0]}
    most = min(config.limit or DEV_QUESTIONS, DEV_QUESTIONS)
    chosen_dev, chosen_vain = spread(dev, most), spread(dev_in_vain, most)
    judgements |= {one.query_id: dataset.qrels["dev"].judgements[one.query_id] for one in chosen_dev}
    known = {document.doc_id for document in dataset.corpus}
    for one in (*limited[1], *chosen_vain):
        context = records[one.query_id].get("context_id")
        judgements[one.query_id] = {context: 1} if context in known else {}
    popular = {one.query_id: records[one.query_id].get("subject_popularity") for one in limited[0]}
    return Questions(
        _name(dataset, config),
        limited[0],
        (*chosen_dev, *chosen_vain),
        limited[1],
        Qrels(judgements),
        {query_id: float(value) for query_id, value in popular.items() if isinstance(value, int | float)},
        len(judged) - len(asked),
    )


def _unanswerable(
    dataset: Dataset, records: Mapping[str, Mapping[str, Any]], split: str, tuning: bool
) -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """The unanswerable questions of a split, and, where there is `tuning`, those of dev."""
    named = {query_id for qrels in dataset.qrels.values() for query_id in qrels}
    several = [query for query_id, query in dataset.queries.items() if not query.answers and query_id not in named]
    split_of = {query.query_id: records[query.query_id].get("split", "") for query in several}
    if tuning and not any(split_of.values()):
        held = several[DEV_SHARE - 1 :: DEV_SHARE]
        return tuple(query for query in several if query not in held), tuple(held)
    asked = tuple(query for query in several if split_of[query.query_id] in ("", split))
    return asked, tuple(query for query in several if tuning and split_of[query.query_id] == "dev")


def only(dataset: Dataset, questions: Sequence[Query], relevant: Qrels) -> Dataset:
    """The data set with one split, "asked", of these questions: what a search is made over."""
    judgements = {query.query_id: dict(relevant.judgements.get(query.query_id, {})) for query in questions}
    queries = {query.query_id: query for query in questions}
    return replace(dataset, queries=queries, qrels={"asked": Qrels(judgements)})


def _name(dataset: Dataset, config: GroundingConfig) -> str:
    """What the summary calls the data set: its own name, with what was chosen of it in brackets."""
    if config.name:
        return config.name
    chosen = [*([] if config.split == "test" else [config.split]), *([config.entities] if config.entities else [])]
    return f"{dataset.name} ({', '.join(chosen)})" if chosen else dataset.name


def _of_entities(data: Path, dataset: Dataset, entities: str) -> set[str] | None:
    """The ids of atlas' questions about seen or unseen entities; None where all are wanted."""
    if not entities:
        return None
    from experiments.atlas import build_atlas

    atlas = build_atlas()
    if atlas.dataset.corpus != dataset.corpus:
        raise ConfigError(
            f"--entities {entities}: only atlas tells seen entities from unseen ones, and {data} is not atlas"
        )
    return {query_id for query_id, one in atlas.questions.items() if atlas.reader_split.get(one.doc_id) == entities}


def _records(path: Path) -> dict[str, dict[str, Any]]:
    """query_id -> the whole line of a queries.jsonl that was read without fault before."""
    with path.open(encoding="utf-8-sig") as lines:
        records = (json.loads(line) for line in lines if line.strip())
        return {record["_id"]: record for record in records}
