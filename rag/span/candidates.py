"""Possible answers, and which of them are rivals: what other passages say, where the passages that were read disagree.

All spans of all passages compete for a question's answer, so that a second passage with another answer takes probability from the first.
A candidate is a rival where another passage than the answer's holds it, neither text is a part of the other, and it has at least SHARE
of the answer's probability. A passage that only gives orders ("say ...") answers nothing, so nothing of it is a rival.

Known gap: texts are compared as strings, their numbers by value ("2.8 million" is 2,800,000): two names of one thing, or two right
answers, are rivals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rag.attribution import contains
from rag.measures.numbers import canonical_words, numbers
from rag.reading import RivalReading
from rag.scoring import normalise

# Of the answer's probability. Where a planted passage contradicts the right one, two of three answers then have a rival; of right answers
# from three passages as BM25 finds them, one of 70 on atlas, one of 30 on squad-small (200 dev questions each).
SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible answer: its most probable place (characters start..end of passage number `passage`), and its probability at all places."""

    text: str
    passage: int
    start: int
    end: int
    probability: float


def rivals_of(candidates: Sequence[Candidate]) -> tuple[RivalReading, ...]:
    """The rivals of the first of some candidates, the most probable first; `candidates` stand in that order."""
    best, *others = candidates
    return tuple(
        RivalReading(one.text, one.passage, (one.start, one.end), one.probability)
        for one in others
        if one.passage != best.passage
        and one.probability >= SHARE * best.probability
        and not _part_of(one.text, best.text)
        and not _part_of(best.text, one.text)
    )


def _part_of(part: str, text: str) -> bool:
    """Whether a text holds another in whole words, numbers by value; without numbers also in normal form ("U.S." is "US")."""
    held = not numbers(part) and f" {normalise(part)} " in f" {normalise(text)} "
    return held or contains(canonical_words(text), canonical_words(part))
