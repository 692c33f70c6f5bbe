"""Which other spans of a Chinese passage could be taken for an answer; for text with spaces see `rag.checkers.spans.rivals`.

Chinese has neither spaces nor capitals, so that kinds are others:

    digits         the same frame with other digits: 1420年: 1987年; 全长6300公里: 全长5464公里
    Latin words    as many other Latin words: NBC: CBS
    dotted names   others with as many parts of about these lengths: 特雷弗·马丁: 大卫·田纳特
    the rest       content runs (`rag.measures.names`: what stands between function words, numbers and punctuation) that end with the same
                   character, which says what a thing is (市, 国, 法, 军队), and have as many characters, or one more or less

Invariants: all places are characters start..end (end exclusive) of the passage; no rival stands in an accepted answer or in the question,
nor one of these in it. Known gaps: names of people in two or three characters have rivals by their last character alone, which is seldom;
numerals in characters are no digits.
"""

import re
from collections.abc import Sequence

from genir.words import UNSPACED
from rag.checkers.spans import Place
from rag.measures.names import names

_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_YEAR = r"1\d{3}|20\d{2}"
_LATIN = re.compile(r"[A-Za-z][\w.'&-]*(?: [A-Za-z][\w.'&-]*)*", re.ASCII)
_DOT = "[·・•]"
_INSIDE = f"(?![的是在和与與由为為被对對从從了及或])[{UNSPACED}]"  # of a name: no function word
_DOTTED = re.compile(f"(?:{_INSIDE})+(?:{_DOT}(?:{_INSIDE})+)+")


def chinese_rivals(answer: str, passage: str, accepted: Sequence[str] = (), question: str = "") -> list[Place]:
    """The spans of `passage` that could be meant instead of `answer`, in order; none for an empty answer."""
    answer = re.sub(r"^\W+|\W+$", "", answer)  # as `rag.checkers.spans.find` finds it
    if not answer:
        return []
    if _DIGITS.search(answer):
        found = _by_digits(answer, passage)
    elif _LATIN.fullmatch(answer):
        words = answer.count(" ")
        found = [one.span() for one in _LATIN.finditer(passage) if one.group().count(" ") == words]
    elif _DOTTED.fullmatch(answer):
        found = [one.span() for one in _DOTTED.finditer(passage) if _alike(one.group(), answer)]
    else:
        found = _by_ending(answer, passage)
    known = [one for one in (answer, *accepted) if one]
    return [
        (start, end)
        for start, end in found
        if passage[start:end] not in question
        and not any(passage[start:end] in one or one in passage[start:end] for one in known)
    ]


def _by_digits(answer: str, passage: str) -> list[Place]:
    """The answer's frame with other digits, years for years; a character behind a number belongs to the frame: a unit."""
    pieces, numbers = _DIGITS.split(answer), _DIGITS.findall(answer)
    begin, end = re.escape(pieces[0]) or r"(?<![\d.,])", "" if pieces[-1] else r"(?![\d.,]*\d)"
    stands = re.search(f"{begin}{re.escape(answer[len(pieces[0]) :])}{end}", passage)
    behind = passage[stands.end() : stands.end() + 1] if stands and not pieces[-1] else ""
    unit = f"(?={behind})" if re.fullmatch(f"[{UNSPACED}%°]", behind) else ""
    frame = begin
    for number, piece in zip(numbers, pieces[1:], strict=True):
        year = re.fullmatch(_YEAR, number) is not None
        frame += (f"(?:{_YEAR})" if year else rf"(?!(?:{_YEAR})(?!\d)){_DIGITS.pattern}") + re.escape(piece)
    return [match.span() for match in re.finditer(f"{frame}{end}{unit}", passage)]


def _alike(one: str, other: str) -> bool:
    """Whether two dotted names have as many parts, each about as long."""
    parts, others = re.split(_DOT, one), re.split(_DOT, other)
    return len(parts) == len(others) and all(
        abs(len(mine) - len(its)) <= 1 for mine, its in zip(parts, others, strict=True)
    )


def _by_ending(answer: str, passage: str) -> list[Place]:
    """Content runs of about the answer's length with its last character, each where it first stands."""
    found = []
    for run in names(passage):
        start = passage.find(run)
        if start >= 0 and run[-1] == answer[-1] and abs(len(run) - len(answer)) <= 1:
            found.append((start, start + len(run)))
    return sorted(found)
