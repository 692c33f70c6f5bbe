"""Lessons for the small reader: a sentence, and questions about it whose answers can only be copied from it.

A reader that is trained on true articles learns them by heart and never learns to look. So most lessons are
invented: the sentence keeps its wording, but its name and its values give way to made-up words and random digits, the
same ones in the sentence, the questions and the answers.

Invariants: the answer of a grounded lesson stands in its passage literally; a lesson of one (article, random state)
is always the same.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genir.records import Document, Query
from rag.sentences import split_sentences

_ONSETS = """
b c d f g h j k l m n p r s t v w z br ch cl dr
fr gl gr kr pl pr qu sc sh sk sl sn sp st str th tr
""".split()
_VOWELS = "a e i o u a e i o u ai au ea ee ie io ou y é ö".split()
_CODAS = [*[""] * 3, *"n r s l m t d k x nd ng rt st ck ll us um".split()]


@dataclass(frozen=True, slots=True)
class Article:
    """A passage with the questions it answers: (question, the answer as the passage spells it)."""

    title: str
    text: str
    questions: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The title as sentences use it: without a parenthesis behind it."""
        return re.sub(r"\s*\([^()]*\)$", "", self.title)


@dataclass(frozen=True, slots=True)
class Lesson:
    """One passage, which is a title and a sentence (empty: closed-book), and the (question, answer) pairs asked of it."""

    passage: str
    turns: tuple[tuple[str, str], ...]


def collect_articles(
    documents: Mapping[str, Document], queries: Iterable[Query], relevant: Mapping[str, Sequence[str]]
) -> tuple[list[Article], int]:
    """Articles with at least one question whose answer their text holds literally, and how many questions had to be left out.

    `relevant` maps a query_id to doc_ids. A question without a relevant document or without a literal answer is counted as left out.
    """
    turns: dict[str, list[tuple[str, str]]] = {}
    left_out = 0
    for query in queries:
        for doc_id in relevant.get(query.query_id, ()):
            spelling = next((a for a in query.answers if mentions(a, documents[doc_id].text)), None)
            if spelling is not None:
                turns.setdefault(doc_id, []).append((query.text, spelling))
                break
        else:
            left_out += 1
    articles = [Article(documents[i].title, documents[i].text, tuple(questions)) for i, questions in turns.items()]
    return articles, left_out


class Inventor:
    """Makes lessons out of articles with one random state."""

    def __init__(self, articles: Sequence[Article], seed: int) -> None:
        self.articles = articles
        self.random = random.Random(seed)

    def grounded(self, row: int, turns: int, invented: float = 0.9) -> Lesson:
        """A sentence of the article behind its title, with `turns` questions that it answers.

        `invented`: share of names and of values that are made up.
        """
        article, rng = self.articles[row], self.random
        swaps: dict[str, str] = {}
        for said in dict.fromkeys((article.name, *(answer for _, answer in article.questions))):
            if said and rng.random() < invented:
                swaps[said] = self.phrase(said)
        answer = rng.choice(article.questions)[1]
        sentences = [article.text[start:end] for start, end in split_sentences(article.text)]
        sentence = rng.choice([text for text in sentences if mentions(answer, text)] or [article.text])
        answered = [turn for turn in article.questions if mentions(turn[1], sentence)]
        asked = [rng.choice(answered) for _ in range(turns)]
        return Lesson(
            _swap(told(article.title, sentence), swaps),
            tuple((_swap(question, swaps), _swap(answer, swaps)) for question, answer in asked),
        )

    def closed_book(self, row: int, turns: int) -> Lesson:
        """True questions with their true answers and no passage."""
        questions = self.articles[row].questions
        return Lesson("", tuple(self.random.sample(questions, min(turns, len(questions)))))

    def phrase(self, like: str) -> str:
        """A made-up phrase of the same shape: digits for digits, words for words, capitals kept."""
        rng = self.random
        parts = re.findall(r"\d+|[^\W\d_]+|.", like)
        if not any(part[0].isdigit() for part in parts) and rng.random() < 0.3:
            parts = [*parts, " ", rng.choice(parts)] if rng.random() < 0.5 else parts[:1]
        return "".join(self._part(part) for part in parts).strip() or "x"

    def _part(self, part: str) -> str:
        rng = self.random
        if part[0].isdigit():
            return "".join(
                rng.choice("123456789" if i == 0 and len(part) > 1 else "0123456789") for i in range(len(part))
            )
        if not part[0].isalpha() or part in ("of", "the", "and", "de", "von", "van"):
            return part
        if len(part) <= 2:
            made = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in part)
        else:
            made = "".join(
                rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
                for _ in range(rng.choice((1, 1, 2, 2, 3)))
            )
        return made.capitalize() if part[0].isupper() else made


def told(title: str, sentence: str) -> str:
    """What the reader reads: a sentence behind its document's title, in training as later."""
    return f"{title}. {sentence}" if title else sentence


def mentions(value: str, text: str) -> bool:
    """Whether `text` holds `value` as whole words, whatever the case."""
    return _pattern([value]).search(text) is not None


def _pattern(values: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(values, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def _swap(text: str, swaps: Mapping[str, str]) -> str:
    """`text` with every key replaced by its value in one pass; a capital that only opens a sentence is kept."""
    if not swaps:
        return text
    lower = {old.lower(): (old, new) for old, new in swaps.items()}

    def put(match: re.Match[str]) -> str:
        old, new = lower.get(match[0].lower(), (match[0], match[0]))  # Turkish dotted capitals fold to two characters
        if match[0] == old:
            return new
        if match[0][0].isupper() and not old[0].isupper():
            return new[0].upper() + new[1:]
        return new.lower() if match[0].islower() else new

    return _pattern(swaps).sub(put, text)
