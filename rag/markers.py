"""Citation markers that a generator writes, [1] or [2][3] or [1, 3] or 【2】: read, and taken out of the text.

A marker stands behind the statement that it supports; where the text begins with one, all stand in front of theirs. A number of more
than three digits is no marker: "[2021]" stays. A range that is written backwards, [3-1], is the same range.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rag.prompt import DEFAULT_TEMPLATE, PromptTemplate, is_unknown, may_be_unknown

_NUMBERS = r"\d{1,3}(?:\s*[,，、;–-]\s*\d{1,3})*"
_MARKER = re.compile(rf"\s*(?:\[\s*({_NUMBERS})\s*\]|【\s*({_NUMBERS})\s*】)")
_PART = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_MAY_BE_MARKER = re.compile(r"(?:\s*[\[【][\d\s,，、;–-]*|\s+)\Z")


@dataclass(frozen=True, slots=True)
class Marker:
    """A passage's number, from 1 as it was shown, and the place in the text without markers where it stood."""

    at: int
    passage: int


def take_markers(text: str) -> tuple[str, tuple[Marker, ...]]:
    """The text without markers and without white space around it, and the markers in order, each number of a range by itself."""
    plain, markers, end = "", [], 0
    for match in _MARKER.finditer(text):
        plain = (plain + text[end : match.start()]).lstrip()
        markers += [Marker(len(plain), number) for number in _numbers(match[1] or match[2])]
        end = match.end()
    plain = (plain + text[end:]).strip()
    return plain, tuple(markers)


def claim_of(marker: Marker, spans: list[tuple[int, int]], leading: bool) -> int:
    """Which of the spans (start, end), in order and at least one, a marker belongs to; `leading`: markers stand in front."""
    if leading:
        return next((i for i, (_, end) in enumerate(spans) if end > marker.at), len(spans) - 1)
    return max((i for i, (start, _) in enumerate(spans) if start < marker.at), default=0)


def visible(pieces: Iterable[str], template: PromptTemplate = DEFAULT_TEMPLATE) -> Iterator[str]:
    """The pieces of a stream as they can be shown: markers taken out, and nothing of what may yet be a marker or an abstention.

    Joined they are `take_markers` of the whole text, or nothing where that is an abstention.
    """
    raw, shown = "", ""
    for piece in pieces:
        raw += piece
        plain, _ = take_markers(_MAY_BE_MARKER.sub("", raw))
        if not may_be_unknown(plain, template):
            yield from _rest(plain, shown)
            shown = plain
    plain, _ = take_markers(raw)
    if not is_unknown(plain, template):
        yield from _rest(plain, shown)


def _rest(text: str, shown: str) -> Iterator[str]:
    assert text.startswith(shown)
    if len(text) > len(shown):
        yield text[len(shown) :]


def _numbers(marked: str) -> Iterator[int]:
    for part in _PART.finditer(marked):
        first, last = sorted((int(part[1]), int(part[2] or part[1])))
        yield from range(first, last + 1)
