"""What the trained checker learns from: questions of a training split, with the spans of their passages that do not answer.

Wrong spans are rivals of the answer (as in the test `squad-swapped`, `rag.checkers.spans`), the answers to other questions about the
same passage, and, in passages of the same article that do not hold the answer, every span. So nothing is learnt but what the
question says: right and wrong claims are of one kind and length, and both were answers to something.

Invariants: no question of a test split is read; what is drawn depends on seed and question alone. Known gap: in squad-small every
passage has training questions, so a checker that learnt there has seen the test questions' passages, with other questions.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.checkers.data import answer_and_rivals
from genir.records import Dataset, Document, Query, Verdict
from rag.checkers.spans import Place, find, rivals
from rag.checkers.trained import Lesson
from rag.checkers.training import SpanLesson
from rag.sentences import split_sentences
from rag.verification import Statement

_RIVALS, _OTHERS = 5, 3  # wrong spans of a lesson: of the answer's kind; answers to other questions
_SEPARATOR = " § "  # between an article's title and a paragraph's number in SQuAD's folders


@dataclass(frozen=True)
class Questions:
    """A split's questions by passage, and passages by article."""

    queries: tuple[Query, ...]
    document_of: Mapping[str, Document]  # query_id -> the passage that answers
    asked_of: Mapping[str, tuple[Query, ...]]  # doc_id -> its questions
    article_of: Mapping[str, tuple[Document, ...]]  # doc_id -> all passages of its article

    @classmethod
    def of(cls, dataset: Dataset, split: str) -> "Questions":
        """The questions of a split that have an answer."""
        documents = dataset.documents()
        queries = tuple(query for query in dataset.split(split) if query.answers)
        relevant = dataset.qrels[split].relevant
        document_of = {query.query_id: documents[relevant(query.query_id)[0]] for query in queries}
        asked: dict[str, list[Query]] = {}
        for query in queries:
            asked.setdefault(document_of[query.query_id].doc_id, []).append(query)
        articles: dict[str, list[Document]] = {}
        for document in dataset.corpus:
            articles.setdefault(document.title.split(_SEPARATOR)[0], []).append(document)
        article_of = {one.doc_id: tuple(members) for members in articles.values() for one in members}
        return cls(queries, document_of, {doc_id: tuple(own) for doc_id, own in asked.items()}, article_of)


def span_lessons(questions: Questions, words: int, wrong_passages: float, seed: int, most: int = 0) -> list[SpanLesson]:
    """Lessons for the span scorer: one a question, or as many questions as `most`, drawn at random.

    `words`: length of the stretch of whole sentences that is shown, the answer somewhere in it; `wrong_passages`: share of lessons whose
    passage is another one of the same article, which does not hold the answer.
    """
    rng = random.Random(f"{seed} lessons")
    queries = list(questions.queries)
    if 0 < most < len(queries):
        queries = rng.sample(queries, most)
    lessons = []
    for query in queries:
        wrong = rng.random() < wrong_passages
        lesson = _elsewhere(query, questions, words, rng) if wrong else None
        lesson = lesson or _at_home(query, questions, words, rng)
        if lesson is not None:
            lessons.append(lesson)
    return lessons


def _at_home(query: Query, questions: Questions, words: int, rng: random.Random) -> SpanLesson | None:
    document = questions.document_of[query.query_id]
    found = answer_and_rivals(query, document)
    if found is None:
        return None
    answer, spans = found
    places = find(answer, document.text)
    if not places:
        return None
    start, end = stretch(document.text, rng.choice(places), words, rng)
    accepted = [place for one in query.answers for place in find(one, document.text)]
    right = [place for place in places if _within(place, (start, end))]
    others = [
        place
        for other in questions.asked_of[document.doc_id]
        if other is not query and other.answers
        for place in find(other.answers[0], document.text)[:1]
    ]
    wrong = _draw(spans, _RIVALS, (start, end), rng)
    wrong += _draw(others, _OTHERS, (start, end), rng)
    wrong = [place for place in dict.fromkeys(wrong) if not any(_overlap(place, one) for one in accepted)]
    return _lesson(query, document.text, (start, end), right, wrong)


def _elsewhere(query: Query, questions: Questions, words: int, rng: random.Random) -> SpanLesson | None:
    """The question over another passage of the article, which holds no accepted answer; None where there is none with rivals."""
    article = questions.article_of[questions.document_of[query.query_id].doc_id]
    document = rng.choice(article)
    if _holds(document, query):
        return None
    spans = rivals(query.answers[0], document.text, question=query.text)
    if not spans:
        return None
    start, end = stretch(document.text, rng.choice(spans), words, rng)
    return _lesson(query, document.text, (start, end), [], _draw(spans, _RIVALS + _OTHERS, (start, end), rng))


def _lesson(query: Query, text: str, shown: Place, right: Sequence[Place], wrong: Sequence[Place]) -> SpanLesson | None:
    places = [(start - shown[0], end - shown[0]) for start, end in (*right, *wrong)]
    if not wrong:
        return None
    answers = (True,) * len(right) + (False,) * len(wrong)
    return SpanLesson(query.text, text[shown[0] : shown[1]], tuple(places), answers)


def stretch(text: str, place: Place, words: int, rng: random.Random) -> Place:
    """Characters of whole sentences around a place, some `words` words: sentences are added on either side at random."""
    sentences = split_sentences(text)
    first = max((i for i, (start, _) in enumerate(sentences) if start <= place[0]), default=0)
    last = min((i for i, (_, end) in enumerate(sentences) if end >= place[1]), default=len(sentences) - 1)
    last = max(first, last)
    while len(text[sentences[first][0] : sentences[last][1]].split()) < words:
        ways = [way for way, free in ((-1, first > 0), (1, last < len(sentences) - 1)) if free]
        if not ways:
            break
        if rng.choice(ways) < 0:
            first -= 1
        else:
            last += 1
    return sentences[first][0], sentences[last][1]


def answer_lessons(questions: Questions, seed: int, most: int = 0) -> Iterator[Lesson]:
    """Statements for the head `answer`, of `most` questions drawn at random where there are more: right and wrong answers.

    Supported: the answer. Contradicted, since the evidence answers the question with something else: a rival; a span of another passage;
    the answer with its last word from there. Unsupported, since the evidence does not answer: another passage of the article, with one
    of its spans, and with the answer, which it does not hold. Each stands there bare, and behind words of the question, so that form
    tells nothing; against the whole passage, and against the sentences alone in which the answer stands, or the rival, which then is
    unsupported.
    """
    rng = random.Random(f"{seed} statements")
    queries = rng.sample(questions.queries, most) if 0 < most < len(questions.queries) else questions.queries
    for query in queries:
        document = questions.document_of[query.query_id]
        found = answer_and_rivals(query, document)
        if found is None:
            continue
        answer, spans = found
        home, told = document.text, sentences_with(query.answers, document)
        claims: list[tuple[str, str, Verdict]] = [(answer, home, "supported"), (answer, told, "supported")]
        if spans:
            rival = _text(document, rng.choice(spans))
            apart = sentences_with([rival], document)
            contradicted = any(find(one, apart) for one in query.answers)
            claims.append((rival, home, "contradicted"))
            claims.append((rival, apart, "contradicted" if contradicted else "unsupported"))
        other = rng.choice(questions.article_of[document.doc_id])
        foreign = [] if _holds(other, query) else rivals(answer, other.text, query.answers, query.text)
        if not _holds(other, query):
            start, end = rng.choice(split_sentences(other.text))
            claims += [(answer, text, "unsupported") for text in (other.text, other.text[start:end])]
        if foreign:
            stranger = _text(other, rng.choice(foreign))
            mixed = " ".join([*answer.split()[:-1], stranger.split()[-1]])
            absent = [claim for claim in dict.fromkeys((stranger, mixed)) if not find(claim, document.text)]
            claims += [(stranger, text, "unsupported") for text in (other.text, sentences_with([stranger], other))]
            claims += [(claim, text, "contradicted") for claim in absent for text in (home, told)]
        echo = " ".join(query.text.rstrip("?").split()[1:])
        for claim, evidence, verdict in claims:
            yield Lesson(Statement(claim, evidence, query.text), verdict)
            yield Lesson(Statement(f"{echo} {claim}", evidence, query.text), verdict)


def sentences_with(phrases: Sequence[str], document: Document) -> str:
    """The sentences of a passage in which a phrase stands, behind its title: what a citation is read as."""
    places = [place for phrase in phrases for place in find(phrase, document.text)]
    held = [
        document.text[start:end]
        for start, end in split_sentences(document.text)
        if any(place[0] < end and start < place[1] for place in places)
    ]
    return " ".join([f"{document.title}.", *held] if document.title else held)


def _text(document: Document, place: Place) -> str:
    return document.text[place[0] : place[1]]


def _holds(document: Document, query: Query) -> bool:
    """Whether an accepted answer stands in a passage."""
    return any(find(answer, document.text) for answer in query.answers)


def _draw(places: Sequence[Place], most: int, shown: Place, rng: random.Random) -> list[Place]:
    inside = [place for place in dict.fromkeys(places) if _within(place, shown)]
    return rng.sample(inside, min(most, len(inside)))


def _within(place: Place, shown: Place) -> bool:
    return shown[0] <= place[0] and place[1] <= shown[1]


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[1] and other[0] < one[1]
