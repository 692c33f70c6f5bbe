"""Constrained copying: what an answer says must be a span of its evidence, word for word.

A claim that stands in a passage as a run of whole words is kept, and cites exactly that. Any other is replaced by the closest span, where
one is close enough: the most similar of the runs of about its number of words (the share of common characters in order, difflib's ratio)
that say the same. For likeness alone would make "Zambia" of "Gambia", and "lawful" of "unlawful": each word of the claim must have its own
there, in order, and each number its value. Missing there may be only function words in front of the claim ("in 1889"), "the", and an
initial behind a name ("Gustave G. Eiffel"). Two words are one where they differ in case, width and accents alone, or, in a name of
several words, if long, by a letter doubled or an e at the end ("Eifel", "Gustav"). A claim without such a span is dropped, and an answer
without claims withdrawn. Against made-up answers, not against wrong ones: a span of the passages may answer another question, or be denied
there.

For the constraint inside decoding see `rag.mitigations.rereading.CopyingReader`. Known gaps: a claim of a language model that is a whole
sentence of its own words is seldom near to any span, nor is one in other forms of the same words (British and American, traditional and
simplified, numerals in words): this is for short answers. By the rule for names, Martin Dupont becomes Martine Dupont, and John Q. Adams
becomes John Adams. Signs other than a minus are not compared (C and C++, 5% and $5).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from genir.errors import ConfigError
from genir.protocols import Retriever
from genir.records import Answer, Claim, Document
from genir.words import UNSPACED
from rag.attribution import quote
from rag.measures.names import name_words
from rag.measures.negation import IDLE
from rag.measures.numbers import MINUS
from rag.measures.support import claims_of, passages_of, unsupported_numbers
from rag.mitigations.revision import identified, identifiers, keep, question_of
from rag.sentences import words
from rag.verdicts import judge
from rag.verification import LexicalChecker, SupportChecker

SIMILARITY = 0.8
LONGER = 2  # words that a span may have more, or fewer, than the claim
LONG = 6  # letters from which on a word of a name may be spelt otherwise
_TOKEN = re.compile(rf"[{UNSPACED}]|(?:{MINUS})?[^\W_{UNSPACED}]+(?:(?!['’]s\b)[-'’.,][^\W_{UNSPACED}]+)*")
_INITIAL = re.compile(r"(\b[A-Z]\w+ )[ABE-HJKN-UWYZ]\.\s+(?=[A-Z]\w)")  # of the letters that are no Roman numerals
_ABBREVIATED = re.compile(r"(?<=\b[A-Z])\.\s?(?=[A-Z]\b)")  # "U.S." is "US", and "J. R. R." is "J.R.R."
_ROMAN = re.compile("[ivxlcdm]+")
_ACCENTS = re.compile("[\u0300-\u036f]")


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
    """The run of whole words of the passages most similar to `text`, at least `least`, of those that say it; None where there is none.

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
                if key > best_key and says(passage.text[start:end], text):
                    best, best_key = Span(number, start, end, key[0]), key
    return best


def says(span: str, claim: str) -> bool:
    """Whether the words of a span are those of a claim, by the rules above."""
    if unsupported_numbers(claim, span):
        return False
    written = _words(span)
    own, others = (name_words(_without_accents(text)) for text in (claim, span))

    def same(one: str, other: str) -> bool:
        return one == other or (len(own) > 1 and one in own and other in others and _is_variant(one, other))

    for said in (_words(claim), _words(_INITIAL.sub(r"\1", claim))):
        idle = next((i for i, word in enumerate(said) if word not in IDLE), 0)
        if any(len(said) - i == len(written) and all(map(same, said[i:], written)) for i in range(idle + 1)):
            return True
    return False


def _is_variant(one: str, other: str) -> bool:
    """Whether the longer of two words is the shorter with a letter doubled ("Eiffel"), or with an e behind it ("Gustave")."""
    short, long = sorted((one, other), key=len)
    if len(long) != len(short) + 1 or len(long) < LONG or _ROMAN.fullmatch(long):
        return False
    place = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    doubled = place > 0 and long[place] == long[place - 1]
    silent = place == len(short) >= LONG and long[-1] == "e"
    return short[place:] == long[place + 1 :] and (doubled or silent)


def _words(text: str) -> list[str]:
    """The words of a text without accents, abbreviations as one, and without "the" (unless there is nothing else)."""
    found = words(_ABBREVIATED.sub("", _without_accents(text)))
    return [word for word in found if word != "the"] or found


def _without_accents(text: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def _plain(tokens: Sequence[str]) -> list[str]:
    """Each token as words are compared: lower case, without punctuation inside."""
    return [" ".join(words(token)) for token in tokens]
