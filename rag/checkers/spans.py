"""Where a claim stands in its evidence, and which other spans of a passage could be taken for an answer.

Two notions of a word: a claim is looked up by runs of letters and digits, case folded, so that punctuation is no obstacle;
rivals of an answer are counted in words between white space, as a reader counts them ("1,000" is one).

Invariants: all places are characters start..end (end exclusive) of the text given. Known gap: rivals need spaces between
words and letters with case, so there are none in Chinese.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from genir.words import ENGLISH_STOPWORDS, UNSPACED
from rag.sentences import split_sentences
from rag.verification import Statement, share_held, telling_words

Kind = Literal["year", "number", "name", "other"]
Place = tuple[int, int]

_RUN = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_SPACED = re.compile(r"[^\W_](?:\S*[^\W_])?")
_YEAR = re.compile(r"1\d\d\d|20\d\d")
_NUMERALS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion dozen half
    first second third""".split()
)
_IDLE = ENGLISH_STOPWORDS | frozenset(
    "he she his her him its we our us you i my from were been has had have who whom whose which when where while than also".split()
)
_LONGEST = 40  # words of a claim that are looked for as one run


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, folded, with its characters."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a claim stands in its evidence: all places of the longest part of it that does, in order.

    `whole`: the claim stands there word for word. `held`: the share of its telling words that stand anywhere there, 0..1.
    """

    places: tuple[Place, ...]
    whole: bool
    held: float


def words_in(text: str) -> list[Word]:
    """The words of `text` in order; every Han or Kana character is one."""
    return [
        Word(unicodedata.normalize("NFKC", match.group()).casefold(), match.start(), match.end())
        for match in _RUN.finditer(text)
    ]


def stand(statement: Statement) -> Standing:
    """Find the claim in its evidence: whole, or the run of its words that holds the most telling ones and the fewest others."""
    claim, evidence = words_in(statement.claim), words_in(statement.evidence)
    told = [word.text for word in evidence]
    held = share_held(statement)
    said = [word.text for word in claim][:_LONGEST]
    whole = _occurrences(said, told)
    if whole:
        return Standing(_places(evidence, whole, len(said)), len(said) == len(claim), held)
    telling = set(telling_words(statement.claim, statement.question))
    best: tuple[int, int, list[int], int] | None = None
    known = set(told)
    for first, word in enumerate(said):
        if word not in telling or word not in known:
            continue
        for last in range(len(said), first, -1):
            if said[last - 1] not in telling:
                continue
            count = sum(one in telling for one in said[first:last])
            if best is not None and (count, -(last - first)) <= best[:2]:
                continue
            if found := _occurrences(said[first:last], told):
                best = (count, first - last, found, last - first)
    return Standing(() if best is None else _places(evidence, best[2], best[3]), False, held)


def find(phrase: str, text: str) -> tuple[Place, ...]:
    """Every place where `phrase` stands in `text` word for word, punctuation and case aside; none for an empty phrase."""
    said, told = [word.text for word in words_in(phrase)], words_in(text)
    return _places(told, _occurrences(said, [word.text for word in told]), len(said))


def kind_of(span: str) -> Kind:
    """A year, another number (digits or numerals), a name (a capital in it), or something else."""
    spaced = _SPACED.findall(span)
    if any(_YEAR.fullmatch(word) for word in spaced):
        return "year"
    if any(any(c.isdigit() for c in word) or word.casefold() in _NUMERALS for word in spaced):
        return "number"
    return "name" if any(word[0].isupper() for word in spaced) else "other"


def rivals(answer: str, passage: str, accepted: Sequence[str] = (), question: str = "") -> list[Place]:
    """The spans of `passage` with as many words as `answer` and of its kind, that could be meant instead.

    None shares a telling word with the answer or another accepted one, only repeats the question, crosses punctuation, starts a
    sentence with a word that may be capitalised for that alone, or cuts a longer name or number short; and each begins and ends as the
    answer does: with digits, a stop word, a capital, or none of these.
    """
    wanted = _SPACED.findall(answer)
    if not wanted:
        return []
    kind, shape = kind_of(answer), (_shape(wanted[0]), _shape(wanted[-1]))
    barred = {word.text for text in (answer, *accepted) for word in words_in(text)} - _IDLE
    idle = _IDLE | {word.text for word in words_in(question)}
    openings = {start for start, _ in split_sentences(passage)}
    spaced = list(_SPACED.finditer(passage))
    joined = [passage[a.end() : b.start()].isspace() for a, b in pairwise(spaced)]
    found = []
    for first in range(len(spaced) - len(wanted) + 1):
        last = first + len(wanted) - 1
        start, end = spaced[first].start(), spaced[last].end()
        if not all(joined[first:last]):
            continue
        text = passage[start:end]
        if kind_of(text) != kind or (_shape(spaced[first].group()), _shape(spaced[last].group())) != shape:
            continue
        if kind == "name" and openings & {start, start - 1}:  # perhaps behind a quotation mark
            continue
        before = spaced[first - 1].group() if first and joined[first - 1] else ""
        behind = spaced[last + 1].group() if last < len(joined) and joined[last] else ""
        if _continues(before, kind) or _continues(behind, kind):
            continue
        said = {word.text for word in words_in(text)}
        if said - idle and not barred & said:
            found.append((start, end))
    return found


def _shape(word: str) -> str:
    if any(c.isdigit() for c in word):
        return "digits"
    return "idle" if word.casefold() in _IDLE else "capital" if word[0].isupper() else "small"


def _continues(word: str, kind: Kind) -> bool:
    """Whether a neighbour of a span of this kind looks like a part of it; nothing continues a span of the kind "other"."""
    if not word or kind == "other":
        return False
    return _shape(word) == ("capital" if kind == "name" else "digits")


def _occurrences(run: Sequence[str], told: Sequence[str]) -> list[int]:
    """Where `run` begins in `told`; nowhere for an empty run."""
    n = len(run)
    starts = range(len(told) - n + 1) if n else ()
    return [i for i in starts if told[i] == run[0] and list(told[i : i + n]) == list(run)]


def _places(evidence: Sequence[Word], firsts: Sequence[int], length: int) -> tuple[Place, ...]:
    return tuple((evidence[i].start, evidence[i + length - 1].end) for i in firsts)
