"""Sentences -> rough questions: a name, a number or a key term is taken out, a question word put in (no model).

Cloze translation after Lewis et al. 2019 (Unsupervised Question Answering by Cloze Translation), in its simplest form:
"Ada won the title in 2015." -> "When Ada won the title?". Chinese and Japanese leave the question word in the place of
what it asks for, as these languages do. A retriever cares for the words and the kind of the answer, not for the
grammar.

Known gap: other languages with spaces between words get English question words.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from genir.words import UNSPACED

WORDS = (6, 13)  # of an English cloze or span: what users type
CHARACTERS = (12, 26)  # of a Chinese or Japanese one

PUNCTUATION = " \t,.;:!?()[]{}\"'“”‘’«»—–-…，。、；：！？（）「」『』《》〈〉"
_CHARACTER = re.compile(rf"[{UNSPACED}]")
_UNIT = re.compile(rf"\s*(?:[{UNSPACED}]|[^\W_{UNSPACED}]+|\S)")
_YEAR = re.compile(r"(?:1[0-9]|20)[0-9]{2}")
_NO_TERM = re.compile(r"[\W_\u3041-\u309f的了是在和與与为為之以及於于由而也不其有這这個个]")
_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = frozenset(_MONTH_NAMES.split())
_CLAUSE_ENDS = frozenset("，；。！？：")
_TIME = frozenset(("in", "on", "since", "until", "by", "before", "after", "from", "around"))
_PLACE = frozenset(("in", "at", "near"))
_TRADITIONAL = frozenset("國為於與這來時會對學們個說後發開關無當經長門東車電實樂義書體點")

_ENGLISH = {"when": "When", "count": "How many", "who": "Who", "where": "Where", "what": "What"}
_CHINESE = {"when": "哪一年", "count": "多少", "who": "谁", "where": "哪里", "what": "什么"}
_TRADITIONAL_CHINESE = {"when": "哪一年", "count": "多少", "who": "誰", "where": "哪裡", "what": "什麼"}
_JAPANESE = {"when": "何年", "count": "いくつ", "who": "誰", "where": "どこ", "what": "何"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as units (words, or characters of scripts without spaces) with weights as key terms (0: none)."""

    units: tuple[str, ...]
    weights: tuple[float, ...]
    spaced: bool

    @classmethod
    def read(cls, text: str, weigh: Callable[[str], float]) -> "Sentence":
        """Cut a sentence; `weigh` gives the weight of a word or of a pair of characters."""
        spaced = 2 * len(_CHARACTER.findall(text)) < len("".join(text.split()))
        units = tuple(text.split() if spaced else _UNIT.findall(text))
        if spaced:
            return cls(units, tuple(map(weigh, units)), spaced)
        pairs = [left.lstrip() + right for left, right in zip(units, (*units[1:], ""), strict=True)]
        # Pairs over punctuation or with a particle are no terms: 語的, 人だ.
        return cls(
            units, tuple(0.0 if len(pair) < 2 or _NO_TERM.search(pair) else weigh(pair) for pair in pairs), spaced
        )

    @property
    def key_units(self) -> int:
        """Units of a key term: one word, or two characters."""
        return 1 if self.spaced else 2

    @property
    def best(self) -> int:
        """Where the key term of the highest weight begins."""
        return max(range(len(self.units)), key=self.weights.__getitem__)

    def text(self, start: int, end: int) -> str:
        """Units start..end as text, without punctuation at its ends."""
        return self.join(self.units[start:end]).strip(PUNCTUATION)

    def join(self, units: tuple[str, ...]) -> str:
        """Units as text."""
        return (" " if self.spaced else "").join(units)

    def window(self, start: int, end: int, rng: random.Random) -> tuple[int, int]:
        """The weightiest span of a question's length (at random) that holds units start..end, without a loose edge."""
        size = max(end - start, rng.randint(*(WORDS if self.spaced else CHARACTERS)))
        last = max(0, min(start, len(self.units) - size))
        lefts = range(max(0, min(end - size, last)), last + 1)
        sums = list(accumulate(self.weights[lefts[0] : last + size], initial=0.0))
        average = sums[-1] / (len(sums) - 1)

        def worth(left: int) -> float:
            begins = left == 0 or not self.units[left - 1][-1].isalnum()  # behind punctuation: with a clause
            return sums[min(left - lefts[0] + size, len(sums) - 1)] - sums[left - lefts[0]] + 2 * average * begins

        left = max(lefts, key=worth)
        right = min(len(self.units), left + size)
        if self.spaced:  # function words at a cut lead nowhere
            while 0 < left < start and not self.weights[left]:
                left += 1
            while end < right < len(self.units) and not self.weights[right - 1]:
                right -= 1
        return left, right


def clozes(sentence: Sentence, rng: random.Random) -> Iterator[str]:
    """Questions from one sentence, the most telling answers first; none for a sentence of one or two units."""
    if len(sentence.units) < 3 * sentence.key_units:
        return
    make = _english if sentence.spaced else _in_place
    for start, end, asked in _answers(sentence, rng):
        question = make(sentence, start, end, asked, rng)
        if question:
            yield question


def _answers(sentence: Sentence, rng: random.Random) -> Iterator[tuple[int, int, str]]:
    """(start, end, what is asked for): names and numbers in random order, then the term of the highest weight."""
    found = [*(_names(sentence) if sentence.spaced else ()), *_numbers(sentence)]
    rng.shuffle(found)
    yield from found
    best = sentence.best
    if sentence.weights[best] > 0 and not any(start <= best < end for start, end, _ in found):
        yield best, best + sentence.key_units, "what" if sentence.spaced else _character_cue(sentence, best)


def _numbers(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    for i, unit in enumerate(sentence.units):
        bare = unit.strip(PUNCTUATION)
        if not bare[:1].isdigit():
            continue
        following = sentence.units[i + 1] if i + 1 < len(sentence.units) else ""
        if not sentence.spaced:
            yield (i, i + 2, "when") if following == "年" else (i, i + 1, "count")
        elif _YEAR.fullmatch(bare):
            yield _date_start(sentence.units, i), i + 1, "when"
        elif unit == bare and following not in _MONTHS and following[:1].islower():
            yield i, i + 1, "count"


def _date_start(units: tuple[str, ...], year: int) -> int:
    """Where the date that ends in this year begins: "7 February 2016", "February 7, 2016", "February 2016", "2016"."""
    start = year
    while start > max(0, year - 2) and (units[start - 1] in _MONTHS or units[start - 1].rstrip(",").isdigit()):
        start -= 1
    return year if _MONTHS.isdisjoint(units[start:year]) else start


def _names(sentence: Sentence) -> Iterator[tuple[int, int, str]]:
    """Runs of capitalised words; at the start of a sentence, where any word is, only longer or rare ones."""
    units = sentence.units
    i = 0
    while i < len(units):
        start = i
        while i < len(units) and units[i].strip(PUNCTUATION)[:1].isupper():
            i += 1
            if units[i - 1][-1] in ",.;:!?)":
                break
        if i == start:
            i += 1
            continue
        telling = start > 0 or i - start > 1 or sentence.best == start
        if telling and any(sentence.weights[start:i]) and _MONTHS.isdisjoint(units[start:i]):
            yield start, i, _english_cue(units, start)


def _english_cue(units: tuple[str, ...], start: int) -> str:
    before = units[start - 1].casefold() if start else ""
    if before in _PLACE:
        return "where"
    return "who" if before == "by" else "what"


def _character_cue(sentence: Sentence, start: int) -> str:
    before = "".join(sentence.units[max(0, start - 2) : start])
    if before.endswith(("在", "位于", "位於")):
        return "where"
    return "who" if before.endswith("由") else "what"


def _english(sentence: Sentence, start: int, end: int, asked: str, rng: random.Random) -> str:
    left, right = sentence.window(start, end, rng)
    units = sentence.units
    if sum(weight > 0 for weight in (*sentence.weights[left:start], *sentence.weights[end:right])) < 2:
        return ""
    before, after = list(units[left:start]), list(units[end:right])
    if before and before[-1].casefold() in (_TIME if asked == "when" else _PLACE if asked == "where" else ()):
        before.pop()
    if before and left == 0 and not sentence.weights[0]:
        before[0] = before[0][0].lower() + before[0][1:]  # "The", which stood at the start
    while before and not after and not sentence.weights[left + len(before) - 1]:
        before.pop()  # "of the", in front of what was taken out
    rest = [*after, *before] if asked == "count" else [*before, *after]
    text = " ".join(rest).strip(PUNCTUATION)
    return f"{_ENGLISH[asked]} {text}?" if text else ""


def _in_place(sentence: Sentence, start: int, end: int, asked: str, rng: random.Random) -> str:
    """The clause around the span, or a window where that is short or long, with a question word in the span's place."""
    units = sentence.units
    left, right = start, end
    while left > 0 and units[left - 1].strip() not in _CLAUSE_ENDS:
        left -= 1
    while right < len(units) and units[right].strip() not in _CLAUSE_ENDS:
        right += 1
    if not CHARACTERS[0] <= right - left <= CHARACTERS[1]:
        left, right = sentence.window(start, end, rng)
    before, after = sentence.join(units[left:start]), sentence.join(units[end:right])
    before, after = before.lstrip(PUNCTUATION), after.rstrip(PUNCTUATION)
    return f"{before}{_words_of(sentence)[asked]}{after}？" if before or after else ""


def _words_of(sentence: Sentence) -> dict[str, str]:
    if any("\u3041" <= unit <= "\u30ff" for unit in sentence.units):
        return _JAPANESE
    return _TRADITIONAL_CHINESE if not _TRADITIONAL.isdisjoint(sentence.units) else _CHINESE
