"""Worked examples for few-shot prompts: a split's questions with their answers and the passage that holds them, chosen for a question.

Two ways to choose: at random, once for all questions (equal prompts begin alike, so a prefix cache serves them), or by similarity, the
questions that share most rare words with the one asked, the nearest last, next to it (Liu et al. 2022, "What makes good in-context
examples for GPT-3?", arXiv:2101.06804, there by embeddings).

Invariants: an example's answer stands in its passage, as words; a question is never an example for itself; an example shows the form and
not the answer, so none is of a passage that is read, and of similar ones each is of another passage; a choice repeats with its seed.
"""

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from genir.errors import ConfigError, DataError
from genir.records import Document, Qrels, Query
from rag.attribution import contains
from rag.prompt import Shot
from rag.sentences import split_sentences, words

PASSAGE_WORDS = 80  # of an example, around its answer


class Demonstrations(Protocol):
    """Anything that chooses worked examples."""

    def choose(self, question: str, read: Collection[str] = ()) -> list[Shot]:
        """Examples for a question, the best last; none of the documents that are `read` (doc_ids); fewer where there are not enough."""
        ...


def collect_shots(
    queries: Sequence[Query], qrels: Qrels, documents: Mapping[str, Document]
) -> tuple[tuple[Shot, ...], int]:
    """An example of each query whose answer stands in a relevant document, and how many queries had to be left out.

    The passage is cut to whole sentences around the answer, PASSAGE_WORDS at most where the sentence itself is not longer. Raises DataError
    where none is left.
    """
    shots = []
    for query in queries:
        relevant = (documents[doc_id] for doc_id in qrels.relevant(query.query_id))
        shot = next(
            (_shot(query, answer, document) for document in relevant for answer in _held(query, document)), None
        )
        if shot is not None:
            shots.append(shot)
    if not shots:
        raise DataError(
            f"none of {len(queries)} queries has an answer that stands in a relevant document: there are no worked examples; use 0 shots"
        )
    return tuple(shots), len(queries) - len(shots)


@dataclass(frozen=True)
class RandomShots:
    """`count` examples in an order drawn with `seed`, the same for every question but for those that would tell its answer."""

    pool: tuple[Shot, ...]
    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.count)

    @cached_property
    def _order(self) -> list[Shot]:
        return random.Random(self.seed).sample(self.pool, len(self.pool))

    def choose(self, question: str, read: Collection[str] = ()) -> list[Shot]:
        """See Demonstrations; in the order drawn."""
        asked, chosen = words(question), list[Shot]()
        for shot in self._order:
            if shot.doc_id not in read and words(shot.question) != asked:
                chosen.append(shot)
                if len(chosen) == self.count:
                    break
        return chosen


@dataclass(frozen=True)
class SimilarShots:
    """The `count` examples whose questions share most words with the one asked, each word weighted by its rarity."""

    pool: tuple[Shot, ...]
    count: int

    def __post_init__(self) -> None:
        _check(self.count)

    @cached_property
    def _questions(self) -> list[list[str]]:
        return [words(shot.question) for shot in self.pool]

    @cached_property
    def _postings(self) -> Mapping[str, list[int]]:
        """word -> numbers of the examples whose question holds it."""
        held: dict[str, list[int]] = {}
        for number, question in enumerate(self._questions):
            for word in set(question):
                held.setdefault(word, []).append(number)
        return held

    def choose(self, question: str, read: Collection[str] = ()) -> list[Shot]:
        """See Demonstrations; one a document; examples that share no word come last of all, in the pool's order."""
        asked = words(question)
        scores = dict.fromkeys(range(len(self.pool)), 0.0)
        for word in sorted(set(asked)):
            numbers = self._postings.get(word, ())
            for number in numbers:
                scores[number] += math.log(1 + len(self.pool) / len(numbers))
        chosen, told = list[Shot](), set(read)
        for number in sorted(scores, key=lambda n: -scores[n] / math.sqrt(len(self._questions[n]) or 1)):
            shot = self.pool[number]
            if shot.doc_id in told or self._questions[number] == asked:
                continue
            chosen.append(shot)
            told |= {shot.doc_id} - {""}
            if len(chosen) == self.count:
                break
        return chosen[::-1]


def _check(count: int) -> None:
    if count < 1:
        raise ConfigError(f"shots {count}: expected at least 1 worked example, or none at all")


@lru_cache(maxsize=1 << 12)
def _sentences(text: str) -> list[tuple[int, int, list[str]]]:
    """Start, end and words of the sentences of a text."""
    return [(start, end, words(text[start:end])) for start, end in split_sentences(text)]


def _held(query: Query, document: Document) -> list[str]:
    """The accepted answers that the document holds."""
    text = [word for *_, held in _sentences(document.text) for word in held]
    return [answer for answer in query.answers if contains(text, words(answer))]


def _shot(query: Query, answer: str, document: Document) -> Shot:
    """With title and the sentences around the answer; with all of the text where the answer stands across two sentences."""
    sentences, text = _sentences(document.text), document.text
    at = next((i for i, (*_, held) in enumerate(sentences) if contains(held, words(answer))), None)
    if at is not None:
        first = last = at
        sizes = [len(held) for *_, held in sentences]
        left = PASSAGE_WORDS - sizes[at]
        while first > 0 and sizes[first - 1] <= left:
            first -= 1
            left -= sizes[first]
        while last + 1 < len(sentences) and sizes[last + 1] <= left:
            last += 1
            left -= sizes[last]
        text = text[sentences[first][0] : sentences[last][1]]
    told = f"{document.title}. {text}" if document.title else text
    return Shot(query.text, answer, told, document.doc_id)
