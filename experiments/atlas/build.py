"""atlas, made from tables of facts: documents, questions, splits, and questions without an answer.

Two splits stand side by side. The retriever's is by question (train, dev, test: other wordings about the same
documents). The reader's is by entity ("seen", "unseen"): nothing about an unseen entity is among the reader's
training questions, so that closed-book it cannot know and grounded it can. Which entities are unseen or held out of
the corpus hangs on their names alone; the seed changes wording, order and question splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.atlas.links import links, mirrored
from experiments.atlas.prose import Sentence, compose, seeded, share_of
from experiments.atlas.questions import (
    Fact,
    Question,
    Split,
    ask,
    ask_in_vain,
    check_distinct,
    facts_of,
    telling_values,
)
from experiments.atlas.tables import Kind, Row, load_tables
from genir.records import Dataset, Document, Qrels, Query

ReaderSplit = Literal["seen", "unseen"]

UNSEEN = 0.15  # of the entities
HELD_OUT = 0.03  # of the entities: they have no article, only questions
WITHHELD = 0.10  # of the articles with enough to say: one fact of theirs is left out, and asked
ENOUGH_TO_SAY = 4
WORDINGS_IN_VAIN = 2  # questions on each withheld fact


@dataclass(frozen=True, slots=True)
class Atlas:
    """The data set, and what lies behind it.

    `dataset.queries` holds the unanswerable questions too; no qrels line does. `sentences` is every article taken apart
    (joined by spaces it is the document's text), so that a fact can be swapped exactly where it stands.
    """

    dataset: Dataset
    facts: tuple[Fact, ...]  # stated in the corpus
    withheld: tuple[Fact, ...]  # true, but stated in no article: what the unanswerable questions are about
    questions: Mapping[str, Question]  # by query_id
    reader_split: Mapping[str, ReaderSplit]  # by doc_id
    reader_training: tuple[Query, ...]
    sentences: Mapping[str, tuple[Sentence, ...]]  # by doc_id

    @property
    def unanswerable(self) -> tuple[Query, ...]:
        """The questions that nothing in the corpus answers."""
        return self.select("unanswerable")

    def select(self, split: Split, entities: ReaderSplit | None = None) -> tuple[Query, ...]:
        """The questions of a split, in corpus order; about seen or unseen entities only where `entities` says so.

        An entity held out of the corpus is neither.
        """
        return tuple(
            question.query
            for question in self.questions.values()
            if question.split == split and entities in (None, self.reader_split.get(question.doc_id))
        )


def build_atlas(seed: int = 0, tables: Path | None = None) -> Atlas:
    """The whole atlas, the same for the same seed and tables. Raises DataError (file:line) for faulty tables."""
    kinds = load_tables(tables)
    rows = {row.doc_id: row for kind in kinds for row in kind.rows}
    corpus_rows = {doc_id: row for doc_id, row in rows.items() if share_of("held out", doc_id) >= HELD_OUT}
    reader_split: dict[str, ReaderSplit] = {
        doc_id: "unseen" if share_of("unseen", doc_id) < UNSEEN else "seen" for doc_id in corpus_rows
    }
    unseen = {doc_id for doc_id, split in reader_split.items() if split == "unseen"}

    stated = {doc_id: _stated(row, seed) for doc_id, row in corpus_rows.items()}
    borrowed = links(kinds, stated, corpus_rows.keys() - unseen, seed)
    sentences = {
        row.doc_id: compose(row, kind, stated[row.doc_id], borrowed.get(row.doc_id, ()), seed)
        for kind in kinds
        for row in kind.rows
        if row.doc_id in stated
    }
    corpus = tuple(
        Document(doc_id, " ".join(sentence.text for sentence in article), title=rows[doc_id].name)
        for doc_id, article in sentences.items()
    )

    questions = _questions(kinds, corpus, stated, seed)
    check_distinct(questions.values())
    facts = tuple(fact for doc_id in sentences for fact in facts_of(rows[doc_id], stated[doc_id]))
    leaks = {(fact.doc_id, fact.attribute) for fact in mirrored(facts, rows, unseen)}
    return Atlas(
        Dataset("atlas", corpus, {key: q.query for key, q in questions.items()}, _qrels(questions, sentences)),
        facts,
        tuple(f for doc_id, row in rows.items() for f in facts_of(row, _unstated(row, stated))),
        questions,
        reader_split,
        tuple(
            q.query
            for q in questions.values()
            if q.split == "train" and q.doc_id not in unseen and (q.doc_id, q.attribute) not in leaks
        ),
        sentences,
    )


def write_atlas(folder: Path, atlas: Atlas | None = None) -> Atlas:
    """Write the atlas (of seed 0 unless given) as a BEIR folder; no qrels line is about an unanswerable question."""
    from genir.formats import write_dataset

    atlas = atlas or build_atlas()
    write_dataset(atlas.dataset, folder)
    return atlas


def _stated(row: Row, seed: int) -> tuple[str, ...]:
    """The attributes that a row's article states: all, or all but one withheld."""
    attributes = tuple(row.values)
    if len(attributes) < ENOUGH_TO_SAY or share_of("withheld", row.doc_id) >= WITHHELD:
        return attributes
    left_out = seeded(seed, "withheld", row.doc_id).choice(attributes)
    return tuple(attribute for attribute in attributes if attribute != left_out)


def _unstated(row: Row, stated: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(attribute for attribute in row.values if attribute not in stated.get(row.doc_id, ()))


def _questions(
    kinds: Sequence[Kind], corpus: Sequence[Document], stated: Mapping[str, Sequence[str]], seed: int
) -> dict[str, Question]:
    """All questions by query_id: the answerable ones in corpus order, then the unanswerable ones."""
    telling = telling_values(kinds)
    texts = {document.doc_id: document.text for document in corpus}
    folded = [document.title_and_text.casefold() for document in corpus]
    answerable: list[Question] = []
    in_vain: list[Question] = []
    for kind in kinds:
        for row in kind.rows:
            if row.doc_id in stated:
                answerable += ask(row, kind, stated[row.doc_id], telling, texts[row.doc_id], seed)
            each = WORDINGS_IN_VAIN if row.doc_id in stated else 1
            in_vain += ask_in_vain(row, kind, _unstated(row, stated), folded, seed, each)
    return {question.query.query_id: question for question in (*answerable, *in_vain)}


def _qrels(questions: Mapping[str, Question], sentences: Mapping[str, Sequence[Sentence]]) -> dict[str, Qrels]:
    """Judgements for train, dev and test: the entity's own article first, then those that borrow the very sentence."""
    borrowers: dict[tuple[str, str], list[str]] = {}
    for doc_id, article in sentences.items():
        for sentence in article:
            if sentence.doc_id != doc_id:
                borrowers.setdefault((sentence.doc_id, sentence.attribute), []).append(doc_id)
    judgements: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    for query_id, question in questions.items():
        if question.split != "unanswerable":
            also = borrowers.get((question.doc_id, question.attribute), ())
            judgements[question.split][query_id] = dict.fromkeys((question.doc_id, *also), 1)
    return {split: Qrels(judged) for split, judged in judgements.items()}
