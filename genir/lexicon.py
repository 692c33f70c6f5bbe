"""Text -> the terms that documents and questions share, each with the place where it stands.

A term is a word, stemmed, or a phrase: two words that follow each other once stop words are left out ("university oxford"). In
scripts without spaces a word is a character, and a phrase a pair of neighbours. The place, a span of the text's characters, lets
an encoder's states of the same text say how much a term matters there.

Known gap: a stemmer is one language's; words of another one are stemmed by its rules, or left alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from genir.errors import unknown_name
from genir.words import ENGLISH_STOPWORDS, UNSPACED, terms

_UNIT = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_BETWEEN = " "  # joins the words of a phrase; no word holds one


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A term, and the span of characters (start, end) where it stands in its text."""

    term: str
    start: int
    end: int

    @property
    def is_phrase(self) -> bool:
        """Whether it has two words."""
        return _BETWEEN in self.term


@dataclass(frozen=True, slots=True)
class LexiconSettings:
    """`stemmer` is an algorithm of PyStemmer, `stopwords` Lucene's English list; `phrases` adds pairs of words."""

    stemmer: str | None = "english"
    stopwords: Literal["english"] | None = "english"
    phrases: bool = True

    def __post_init__(self) -> None:
        if self.stopwords not in (None, "english"):
            raise unknown_name("stop word list", str(self.stopwords), ("english",))
        if self.stemmer is not None:
            import Stemmer

            if self.stemmer not in Stemmer.algorithms():
                raise unknown_name("stemmer", self.stemmer, Stemmer.algorithms())


class Lexicon:
    """Reads texts by its settings."""

    def __init__(self, settings: LexiconSettings = LexiconSettings()) -> None:
        self.settings = settings
        self._stem = lru_cache(maxsize=1 << 18)(_stemmer(settings.stemmer))
        self._ignored = ENGLISH_STOPWORDS if settings.stopwords else frozenset()

    def occurrences(self, text: str) -> list[Occurrence]:
        """The words of a text in reading order, and behind each the phrase that it ends."""
        found: list[Occurrence] = []
        before: Occurrence | None = None
        for word in self._words(text):
            found.append(word)
            if before is not None and self.settings.phrases:
                found.append(Occurrence(before.term + _BETWEEN + word.term, before.start, word.end))
            before = word
        return found

    def _words(self, text: str) -> Iterator[Occurrence]:
        for unit in _UNIT.finditer(text):
            for term in terms(unit.group()):
                if term not in self._ignored:
                    yield Occurrence(self._stem(term), unit.start(), unit.end())


def is_phrase(term: str) -> bool:
    """Whether a term has two words."""
    return _BETWEEN in term


def _stemmer(name: str | None) -> Any:
    if name is None:
        return str
    import Stemmer

    return Stemmer.Stemmer(name).stemWord
