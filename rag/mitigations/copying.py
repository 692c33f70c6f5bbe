"""Constrained copying: what an answer says must be a span of its evidence, word for word.

A claim that stands in a passage as a run of whole words is kept, and cites exactly that. Any other is replaced by the closest span, where
one is close enough: the most similar of the runs of about its number of words (the share of common characters in order, difflib's ratio),
which must have every number of the claim, since a number that is nearly right is wrong. A claim without such a span is dropped, and an
answer without claims withdrawn. Against made-up answers, not against wrong ones: a span of the passages may answer another question.

For the constraint inside decoding see `rag.mitigations.rereading.CopyingReader`. Known gap: a claim of a language model that is a whole
sentence of its own words is seldom near to any span; this is for short answers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from genir.errors import ConfigError
from genir.protocols import Retriever
from genir.records import Answer, Claim, Document
from genir.words import UNSPACED
from rag.attribution import quote
from rag.measures.support import claims_of, passages_of, unsupported_numbers
from rag.mitigations.revision import identified, identifiers, keep, question_of
from rag.sentences import words
from rag.verdicts import judge
from rag.verification import LexicalChecker, SupportChecker

SIMILARITY = 0.8
LONGER = 2  # words that a span may have more, or fewer, than the claim
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+(?:[-'’.,][^\W_{UNSPACED}]+)*")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters start..end of passage number `passage`, and how similar they are to what was looked for, 0..1."""

    passage: int
    start: int
    end: int
    similarity: float


@dataclass(frozen=True)
class ConstrainedCopying:
    """`similarity`: the least that a span must have to take a claim's place; 1 allows no replacement."""

    similarity: float = SIMILARITY
    checker: SupportChecker = field(default_factory=LexicalChecker)
    retriever: Retriever | None = None
    name: str = "copy"

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise ConfigError(f"similarity {self.similarity}: expected a share above 0, at most 1")

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation. Closed-book nothing can be copied: every answer is withdrawn."""
        passages = [passages_of(answer, documents) for answer in answers]
        copied = [
            [new for claim in claims_of(answer) if (new := copy(claim, found, self.similarity)) is not None]
            for answer, found in zip(answers, passages, strict=True)
        ]
        judged = judge(copied, [question_of(answer) for answer in answers], passages, self.checker)
        known = identifiers(answers, judged, self.retriever)
        return [
            answer if answer.abstained else keep(answer, [identified(claim, written) for claim in claims])
            for answer, claims, written in zip(answers, judged, known, strict=True)
        ]


def copy(claim: Claim, passages: Sequence[Document], similarity: float = SIMILARITY) -> Claim | None:
    """The claim as a span of the passages, citing it; None where there is none that is similar enough.

    Of equally similar spans the one that the claim cites, then that of the best passage. A claim that quotes already is itself; one that
    differs in case or punctuation alone keeps its words as they are written.
    """
    if any(one.text == claim.text for one in claim.citations):
        return claim
    cited = [(one.passage, one.start, one.end) for one in claim.citations]
    span = closest_span(claim.text, passages, similarity, cited)
    if span is None:
        return None
    written = any(one.written and one.passage == span.passage for one in claim.citations)
    citation = quote(passages[span.passage], span.start, span.end, span.passage, written)
    same = words(claim.text) == words(citation.text)
    return replace(claim, text=claim.text if same else citation.text, citations=(citation,))


def closest_span(
    text: str,
    passages: Sequence[Document],
    least: float = SIMILARITY,
    cited: Sequence[tuple[int, int, int]] = (),
) -> Span | None:
    """The run of whole words of the passages most similar to `text`, at least `least`; None where there is none.

    `cited`: (passage, start, end) that are preferred among equals.
    """
    said = _plain([match.group() for match in _TOKEN.finditer(text)])
    length = len(said)
    if not length:
        return None
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(" ".join(said))  # of the two the one whose analysis is kept
    best: Span | None = None
    best_key = (least, False, -len(passages) - 1)
    for number, passage in enumerate(passages):
        places = [match.span() for match in _TOKEN.finditer(passage.text)]
        plain = _plain([passage.text[start:end] for start, end in places])
        for first in range(len(places)):
            for last in range(first + max(0, length - 1 - LONGER), min(len(places), first + length + LONGER)):
                matcher.set_seq1(" ".join(plain[first : last + 1]))
                if matcher.real_quick_ratio() < best_key[0] or matcher.quick_ratio() < best_key[0]:
                    continue
                start, end = places[first][0], places[last][1]
                here = any(number == rank and low < end and start < high for rank, low, high in cited)
                key = (matcher.ratio(), here, -number)
                if key > best_key and not unsupported_numbers(text, passage.text[start:end]):
                    best, best_key = Span(number, start, end, key[0]), key
    return best


def _plain(tokens: Sequence[str]) -> list[str]:
    """Each token as words are compared: lower case, without punctuation inside."""
    return [" ".join(words(token)) for token in tokens]
