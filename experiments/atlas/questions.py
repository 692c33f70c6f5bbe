"""Facts -> questions, their splits, and the questions that nothing in the corpus answers.

Invariants: one wording of one attribute asks about one document at most once, so whatever stands in dev or test is
worded as the document was never asked in train; every document has training questions; a reverse question exists
only where its value belongs to one row alone; a query id names document, attribute and wording, and so survives
rows being added.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.atlas.prose import fill, seeded
from experiments.atlas.tables import Kind, Row
from genir.errors import DataError
from genir.records import Query

Split = Literal["train", "dev", "test", "unanswerable"]

PER_DOCUMENT = 9  # forward questions aimed at, over all attributes
REVERSE_PER_DOCUMENT = 2
HELD_BACK = 0.15  # of a document's questions, for dev and for test each


@dataclass(frozen=True, slots=True)
class Fact:
    """What one cell says: `value` is what the article states, `accepted` all right answers (`value` among them)."""

    doc_id: str
    attribute: str
    value: str
    accepted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Where a query comes from. `wording` indexes the attribute's questions (reverse questions where `reverse`)."""

    query: Query
    doc_id: str
    attribute: str
    wording: int
    reverse: bool
    split: Split


def facts_of(row: Row, attributes: Iterable[str]) -> list[Fact]:
    """The facts of a row's attributes, in the order given."""
    return [Fact(row.doc_id, attribute, row.values[attribute][0], row.values[attribute]) for attribute in attributes]


def telling_values(kinds: Sequence[Kind]) -> set[tuple[str, str]]:
    """(attribute, value) pairs that only one row of the atlas has; accepted alternatives count, case does not."""
    owners = Counter(
        (attribute, value)
        for kind in kinds
        for row in kind.rows
        for attribute, accepted in row.values.items()
        for value in {each.casefold() for each in accepted}
    )
    return {pair for pair, count in owners.items() if count == 1}


def ask(
    row: Row, kind: Kind, stated: Sequence[str], telling: set[tuple[str, str]], text: str, seed: int
) -> list[Question]:
    """A document's questions with their splits; reverse ones are answered by the name as its article `text` has it."""
    rng = seeded(seed, "questions", row.doc_id)
    chosen = _choose(kind, stated, rng)
    chosen += _choose_reverse(row, kind, stated, telling, rng)
    splits = _deal(len(chosen), rng)
    questions = []
    for (attribute, wording, reverse), split in zip(chosen, splits, strict=True):
        answers = _names(row, text) if reverse else row.values[attribute]
        questions.append(_question(row, kind, attribute, wording, reverse, split, answers))
    return questions


def ask_in_vain(
    row: Row, kind: Kind, attributes: Sequence[str], texts: Sequence[str], seed: int, per_attribute: int
) -> list[Question]:
    """Questions about facts that no article states: answers stay empty. `texts` are all articles, case folded.

    A fact is passed over where some article holds both the name and an accepted value: it may answer the question.
    """
    rng = seeded(seed, "unanswerable", row.doc_id)
    questions: list[Question] = []
    if not attributes:
        return questions
    name = row.base_name
    about = [text for text in texts if _holds(text, name)]
    for attribute in attributes:
        if any(_holds(text, value) for value in row.values[attribute] for text in about):
            continue
        wordings = range(len(kind.wording.attributes[attribute].questions))
        for wording in sorted(rng.sample(wordings, min(per_attribute, len(wordings)))):
            questions.append(_question(row, kind, attribute, wording, False, "unanswerable", ()))
    return questions


def check_distinct(questions: Iterable[Question]) -> None:
    """Raise DataError where two questions read the same: one would be a wrong answer to the other."""
    seen: dict[str, Question] = {}
    for question in questions:
        other = seen.setdefault(question.query.text.casefold(), question)
        if other is not question:
            ids = f"{other.query.query_id} and {question.query.query_id}"
            raise DataError(f"atlas: {ids} ask the same: {question.query.text!r}; reword one of them")


def _choose(kind: Kind, stated: Sequence[str], rng: random.Random) -> list[tuple[str, int, bool]]:
    """(attribute, wording, reverse) of the forward questions: PER_DOCUMENT dealt evenly, at least one an attribute."""
    share, rest = divmod(max(PER_DOCUMENT, len(stated)), len(stated))
    lucky = set(rng.sample(list(stated), rest))
    chosen = []
    for attribute in stated:
        wordings = range(len(kind.wording.attributes[attribute].questions))
        picked = rng.sample(wordings, min(len(wordings), share + (attribute in lucky)))
        chosen += [(attribute, wording, False) for wording in sorted(picked)]
    return chosen


def _choose_reverse(
    row: Row, kind: Kind, stated: Sequence[str], telling: set[tuple[str, str]], rng: random.Random
) -> list[tuple[str, int, bool]]:
    possible = [
        (attribute, wording, True)
        for attribute in stated
        if all((attribute, value.casefold()) in telling for value in row.values[attribute])
        for wording in range(len(kind.wording.attributes[attribute].reverse))
    ]
    return sorted(rng.sample(possible, min(REVERSE_PER_DOCUMENT, len(possible))))


def _deal(count: int, rng: random.Random) -> list[Split]:
    """Splits in random order: HELD_BACK of `count` on average to dev and to test each, at least one to train."""
    dev, test = (int(HELD_BACK * count + rng.random()) for _ in range(2))
    names: tuple[tuple[Split, int], ...] = (("test", test), ("dev", dev), ("train", count))
    splits = [name for name, number in names for _ in range(number)][: count - 1]
    splits.append("train")
    rng.shuffle(splits)
    return splits


def _question(
    row: Row, kind: Kind, attribute: str, wording: int, reverse: bool, split: Split, answers: tuple[str, ...]
) -> Question:
    worded = kind.wording.attributes[attribute]
    template = (worded.reverse if reverse else worded.questions)[wording]
    text = fill(template, row.mention, row.values[attribute][0])
    query_id = f"{row.doc_id}/{attribute}/{'r' if reverse else ''}{wording}"
    return Question(Query(query_id, text, answers), row.doc_id, attribute, wording, reverse, split)


def _names(row: Row, text: str) -> tuple[str, ...]:
    """The accepted forms of a row's name, those that its article holds first."""
    return tuple(sorted(row.forms, key=lambda form: form not in text))


def _holds(text: str, phrase: str) -> bool:
    """Whether a case-folded text holds a phrase as whole words."""
    phrase = phrase.casefold()
    return phrase in text and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None
