"""Questions with their passages -> lessons of the joint model: which identifier, which passage, which answer.

Every question teaches its identifier. One whose answer its passage holds literally, and may be learnt, also teaches the answer, as it is
and with made-up names and values: a model that reads true passages only learns them by heart and never learns to look (see
`rag.small_reader.data`). In an invented lesson and in one without an answer the identifier is read, but not learnt.

Invariants: lessons depend on the questions, the settings and the seed alone; nothing made up is learnt as an identifier.
"""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from genir.records import Document, Query
from rag.joint.config import LessonSettings
from rag.sentences import split_sentences
from rag.small_reader.data import Article, Inventor, mentions


@dataclass(frozen=True, slots=True)
class JointLesson:
    """One sequence to learn from; without a `passage` it ends behind the identifier. `answer` None: the passage does not say."""

    question: str
    doc_id: str  # whose identifier stands in the sequence
    passage: Document | None = None
    answer: str | None = None
    learns_identifier: bool = True
    kind: str = "query"
    weight: float = 1.0


def make_lessons(
    asked: Sequence[tuple[Query, Document]],
    settings: LessonSettings,
    seed: int = 0,
    answers_of: Collection[str] | None = None,
) -> list[JointLesson]:
    """Lessons of questions, each with a document that answers it; only answers of the query_ids in `answers_of` are learnt (None: all)."""
    rng = random.Random(seed)
    passages = list({document.doc_id: document for _, document in asked}.values())
    answered: list[tuple[Query, Document, str]] = []
    lessons = []
    for query, document in asked:
        spelling = next((one for one in query.answers if mentions(one, document.text)), None)
        if spelling is None or (answers_of is not None and query.query_id not in answers_of):
            lessons.append(JointLesson(query.text, document.doc_id))
        else:
            answered.append((query, document, spelling))
            lessons.append(JointLesson(query.text, document.doc_id, document, spelling))
    for _ in range(settings.invented):
        lessons += _invented(answered, rng.randrange(1 << 30))
    for query, document, _ in answered:
        if rng.random() < settings.unanswerable:
            wrong = _without_answer(query, document, passages, rng)
            if wrong is not None:
                kind = "unanswerable"
                lessons.append(JointLesson(query.text, wrong.doc_id, wrong, None, learns_identifier=False, kind=kind))
    return lessons


def _invented(answered: Sequence[tuple[Query, Document, str]], seed: int) -> list[JointLesson]:
    """Every answered question once, with names and values made up: the same ones in question, passage and answer."""
    by_document: dict[str, list[tuple[Query, Document, str]]] = {}
    for one in answered:
        by_document.setdefault(one[1].doc_id, []).append(one)
    inventor = Inventor([], seed)
    lessons = []
    for doc_id, several in by_document.items():
        document = several[0][1]
        name = Article(document.title, document.text, ()).name
        said = dict.fromkeys(text for text in (name, *(answer for _, _, answer in several)) if text)
        made_up = {text.casefold(): inventor.phrase(text) for text in said}
        made = replace(document, title=_swap(document.title, made_up), text=_swap(document.text, made_up))
        for query, _, answer in several:
            question, told = _swap(query.text, made_up), made_up[answer.casefold()]
            if mentions(told, made.text):  # two values may overlap, and the longer one is swapped
                lessons.append(JointLesson(question, doc_id, made, told, learns_identifier=False, kind="invented"))
    return lessons


def _swap(text: str, made_up: Mapping[str, str]) -> str:
    """`text` with what is made up in the place of each whole-word occurrence of a key, whatever its case."""
    longest_first = sorted(made_up, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    return pattern.sub(lambda match: made_up.get(match[0].casefold(), match[0]), text)


def _without_answer(
    query: Query, document: Document, passages: Sequence[Document], rng: random.Random
) -> Document | None:
    """The question's own passage without the sentences that answer, or another passage; None where nothing is left."""
    if rng.random() < 0.5:
        sentences = [document.text[start:end] for start, end in split_sentences(document.text)]
        kept = [text for text in sentences if not any(mentions(answer, text) for answer in query.answers)]
        return replace(document, text=" ".join(kept)) if kept else None
    other = rng.choice(passages)
    if other.doc_id == document.doc_id or any(mentions(answer, other.text) for answer in query.answers):
        return None
    return other
