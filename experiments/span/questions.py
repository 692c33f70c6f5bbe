"""Which questions a reader learns from and is measured on: those with answers, each with its passage, none of them held out elsewhere.

The same texts lie in several data sets (squad's test questions are squad-small's). So a training question is left out where it reads like a
dev or test question of another data set, and where its passage is one of theirs, both compared in normal form: lower case, no
punctuation, no English article.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genir.errors import DataError
from genir.formats import QRELS, QUERIES, load_dataset
from genir.records import Dataset, Document, Query
from genir.sampling import spread
from rag.scoring import normalise

Asked = Sequence[tuple[Query, Document]]  # questions with the passage that answers each


@dataclass(frozen=True)
class HeldOut:
    """What one data set's dev and test questions hold, in normal form."""

    name: str
    questions: frozenset[str]
    passages: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> "HeldOut":
        """Of the dev and test splits that `folder` has. Raises DataError where it has neither."""
        splits = [split for split in ("dev", "test") if (folder / QRELS / f"{split}.tsv").is_file()]
        if not splits:
            raise DataError(f"--exclude {folder}: has no {QRELS}/dev.tsv or {QRELS}/test.tsv: nothing to leave out")
        dataset = load_dataset(folder, splits)
        documents = dataset.documents()
        queries = [query for split in splits for query in dataset.split(split)]
        relevant = {i for split in splits for q in dataset.qrels[split] for i in dataset.qrels[split].relevant(q)}
        return cls(
            folder.name,
            frozenset(normalise(query.text) for query in queries),
            frozenset(normalise(documents[doc_id].text) for doc_id in relevant),
        )

    def shared(self, passages: Iterable[Document]) -> frozenset[str]:
        """The doc_ids of those passages that it holds."""
        return frozenset(passage.doc_id for passage in passages if normalise(passage.text) in self.passages)


def choose_questions(
    dataset: Dataset,
    held_out: Sequence[HeldOut],
    max_questions: int = 0,
    dev_questions: int = 400,
    seed: int = 0,
) -> tuple[Asked, Asked, dict[str, int]]:
    """What to learn from, what to measure on, and how many training questions were left out, by reason.

    `max_questions` are drawn at random, 0 for all. Dev questions come from all over their split; where there is none, every tenth training
    question is taken, and not learnt from. Raises DataError where there is nothing to learn from.
    """
    asked = answered(dataset, "train")
    dev = answered(dataset, "dev")
    if not dev:
        dev, asked = asked[::10], [pair for place, pair in enumerate(asked) if place % 10]
    passages = {passage.doc_id: passage for _, passage in asked}
    shared = [(one, one.shared(passages.values())) for one in held_out]
    reasons: Counter[str] = Counter()
    kept = []
    for query, passage in asked:
        said = normalise(query.text)
        same = next((f"asked in {one.name}" for one in held_out if said in one.questions), None)
        same = same or next((f"with a passage of {one.name}" for one, ids in shared if passage.doc_id in ids), None)
        if same is None:
            kept.append((query, passage))
        else:
            reasons[same] += 1
    if not kept:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none has answers and a passage"
        raise DataError(
            f"{dataset.name}: no training question to learn from ({why}); expected {QRELS}/train.tsv and `answers` in {QUERIES}"
        )
    if max_questions and max_questions < len(kept):
        chosen = random.Random(seed).sample(range(len(kept)), max_questions)
        kept = [kept[place] for place in sorted(chosen)]
    return kept, list(spread(dev, dev_questions)), dict(reasons)


def answered(dataset: Dataset, split: str) -> list[tuple[Query, Document]]:
    """The questions of a split that have answers, each with its first relevant document; none where there is no such split."""
    if split not in dataset.qrels:
        return []
    documents, qrels = dataset.documents(), dataset.qrels[split]
    return [
        (query, documents[relevant[0]])
        for query in dataset.split(split)
        if query.answers and (relevant := qrels.relevant(query.query_id))
    ]
