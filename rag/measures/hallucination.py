"""Kinds of hallucination, made operational: which of them an answer shows.

After Zhang et al. 2023 ("Siren's Song in the AI Ocean", section 2.2), who name three: *input-conflicting* (departs from
what the user gave), *context-conflicting* (from what was generated before), *fact-conflicting* (from the world). Here,
for question answering:

- input-conflicting: the answer is of another type than was asked for (`rag.measures.answer_type`), or its source is about
  another subject.
- context-conflicting: a claim contradicts the passages that were read, or another claim of the same answer. The
  passages are part of the prompt, and thus of the context; the survey would count them as input.
- fact-conflicting: the answer contradicts the accepted ones, the only facts that are at hand.

And after Maynez et al. 2020 (section 2; Ji et al. 2023): *intrinsic*, a claim contradicts its source; *extrinsic*, a
claim can neither be supported nor contradicted from it (and may be true).

Invariants: one answer may be of several kinds; an abstention is of none. A contradiction is what a checker calls one: of
one that sees none (`rag.verification.verdicts_of`), the lexical one for instance, intrinsic is not defined. Known gaps: subject and type
are judged by their looks (`rag.measures.names`), and only where that is plain; what a sentence denies, by rules
(`rag.measures.negation`). Fact-conflicting is string matching, so that a right answer in other words conflicts, as it does for exact
match; a part of an accepted answer agrees with it, since "Eiffel" must agree with "Gustave Eiffel", and with that "John" with "John
Smith" and "France" with "King of France"; rivals beside the right answer are seen in short answers and lists only, not in sentences, and
not where they are neither names nor numbers, or up to three unjoined words, be it behind a comma: "Hemingway, Faulkner" looks like "Paris,
France"; a Chinese 和 joins rivals only where an accepted answer is the whole of one side; an answer that asserts the right one in one
clause and denies it in another agrees.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from genir.records import Answer, Document, Query
from genir.words import ENGLISH_STOPWORDS
from rag.attribution import contains
from rag.measures.answer_type import expected_type, is_of_another_type
from rag.measures.names import is_unspaced, name_words, names, pairs
from rag.measures.negation import IDLE, asserted, stretches
from rag.measures.numbers import canonical_words, numbers
from rag.measures.support import ClaimSupport, check_once, claims_of, document_of
from rag.sentences import words
from rag.verification import THRESHOLD, Statement, SupportChecker

_SENTENCE = 6  # words from which on an uncited answer is taken for a sentence with a subject of its own
_JOINED = re.compile(r"[;/&、；]|\b(?:and|or)\b|或", re.I)  # what stands between answers that are offered side by side
# A Chinese "and", where no common word has it (共和, 和平, 参与, 埃及).
_CHINESE_AND = re.compile(
    "(?<![共饱飽昭温溫缓緩颐頤呼])和(?![平谐諧解約约服睦尚田谈談])|(?<![参參])[与與]|以及|(?<![埃普以])及"
)
_SAME_NAME = 3  # words beside an accepted answer that may be the rest of its name
_YEARS = range(1000, 2100)
_DENIED = "¬"  # in front of a word that a negation reaches


@dataclass(frozen=True, slots=True)
class InputConflict:
    """How an answer departs from its question: by type, by subject, by both or by none."""

    wrong_type: bool
    wrong_subject: bool

    def __bool__(self) -> bool:
        return self.wrong_type or self.wrong_subject


@dataclass(frozen=True, slots=True)
class SourceConflict:
    """How an answer departs from what it read, and from itself."""

    intrinsic: bool
    extrinsic: bool
    self_contradicting: bool

    @property
    def context_conflicting(self) -> bool:
        """Whether it contradicts its passages or itself."""
        return self.intrinsic or self.self_contradicting


def input_conflict(answer: Answer, documents: Mapping[str, Document]) -> InputConflict:
    """Whether an answer is of another type, or of another subject, than its question; an abstention is of none."""
    if answer.abstained:
        return InputConflict(False, False)
    expected = expected_type(answer.question)
    wrong_type = expected is not None and is_of_another_type(answer.text, expected)
    cited = [citation for claim in claims_of(answer) for citation in claim.citations]
    sources = [document_of(documents, citation.doc_id, answer.query_id).title_and_text for citation in cited]
    return InputConflict(wrong_type, is_of_another_subject(answer.question, answer.text, sources))


def is_of_another_subject(question: str, answer: str, sources: Sequence[str] = ()) -> bool:
    """Whether none of the question's names stands in the answer or in its sources (the whole text of each document that
    it cites).

    Without sources only an answer that is a sentence with names of its own can be told to speak of something else. A
    question without names has no subject that could be missed.
    """
    asked = name_words(question)
    if not asked:
        return False
    if sources:
        return not asked & _subjects(" ".join((answer, *sources)))
    own = name_words(answer)
    return len(words(answer)) >= _SENTENCE and bool(own) and not asked & _subjects(answer)


def fact_conflicting(answer: str, accepted: Sequence[str], question: str) -> bool:
    """Whether an answer contradicts every accepted one, or offers rivals beside it; False where none is known.

    Two answers agree where the words of one stand in the other (of Chinese: as one run), numbers by value, asserted or denied alike
    (`rag.measures.negation`). "Gustave Eiffel, an engineer" agrees with "Eiffel", and so does "Eiffel, not Koechlin"; "5 million" does not
    agree with "5", nor "not Paris" with "Paris". Rivals, of a short answer or a list: names or numbers of the same kind that it asserts and
    that stand neither in an accepted answer nor in the question ("1066 1067", "North Korea and South Korea").
    """
    said = _telling(answer, question)
    agreed = [gold for gold in accepted if _agree(said, _telling(gold, question))]
    if not agreed:
        return bool(accepted)
    known = "; ".join((*accepted, question))  # apart, or "two thousand" twice would be other numbers
    return _is_bare(answer) and _offers_rivals(asserted(answer, question), agreed, known)


def source_conflicts(
    answers: Sequence[Answer],
    support: Mapping[str, Sequence[ClaimSupport]],
    checker: SupportChecker,
    threshold: float = THRESHOLD,
) -> dict[str, SourceConflict]:
    """query_id -> what its claims' verdicts (`rag.measures.support.claim_support`) say, and whether two claims contradict each other.

    Claims are checked against each other in both directions, all answers in one call, and without the question: to a checker, another
    answer to it contradicts, but one answer may well say two things.
    """
    two_ways = {
        answer.query_id: [
            Statement(one.text, other.text)
            for pair in combinations(claims_of(answer), 2)
            for one, other in (pair, pair[::-1])
        ]
        for answer in answers
    }
    found = check_once((one for several in two_ways.values() for one in several), checker)
    return {
        query_id: SourceConflict(
            intrinsic=any(claim.verdict == "contradicted" for claim in support[query_id]),
            extrinsic=any(claim.verdict == "unsupported" for claim in support[query_id]),
            self_contradicting=any(found[one].verdict(threshold) == "contradicted" for one in several),
        )
        for query_id, several in two_ways.items()
    }


def fact_conflicts(answers: Sequence[Answer], queries: Mapping[str, Query]) -> dict[str, bool]:
    """query_id -> `fact_conflicting`, of the answers whose question has an accepted one; an abstention contradicts nothing."""
    return {
        answer.query_id: not answer.abstained
        and fact_conflicting(answer.text, queries[answer.query_id].answers, answer.question)
        for answer in answers
        if queries[answer.query_id].answers
    }


def _is_bare(answer: str) -> bool:
    """Whether an answer is no sentence: short, or nothing but names and numbers."""
    said, named = words(answer), name_words(answer)
    if is_unspaced(answer) and len(said) >= _SENTENCE:
        pieces = [words(piece) for piece in _pieces(answer)]
        named = {character for name in names(answer) for character in words(name)}
        return all(len(piece) < _SENTENCE and named.issuperset(piece) for piece in pieces)
    return len(said) < _SENTENCE or all(
        word in named or word in ENGLISH_STOPWORDS or any(c.isdigit() for c in word) for word in said
    )


def _offers_rivals(answer: str, agreed: Sequence[str], known: str) -> bool:
    """Whether an answer names, beside the accepted ones that it agrees with, others of their kind that are not `known`."""
    values = {number.value for number in numbers(known)}
    years = {number.value in _YEARS for gold in agreed for number in numbers(gold)}
    if any(n.value not in values and (n.value in _YEARS) in years for n in numbers(answer) if not n.idle):
        return True
    told = set(words(known)) | pairs(known)
    parts = _side_by_side(answer, agreed)
    golds = [_telling(gold) for gold in agreed]
    for part in parts if len(parts) > 1 else ():
        if name_words(part) - told and not any(_agree(_telling(part), gold) for gold in golds):
            return True
    named = any(name_words(gold) for gold in agreed)
    return named and not is_unspaced(answer) and len(name_words(answer) - told) > _SAME_NAME


def _side_by_side(answer: str, agreed: Sequence[str]) -> list[str]:
    """What an answer joins; by a Chinese "and", which names have too, only where a part is an accepted answer, or 北京市 for 北京."""
    golds = [words(gold) for gold in agreed if is_unspaced(gold)]
    pieces = [words(piece) for piece in _pieces(answer)]
    if any(piece[: len(gold)] == gold and len(piece) <= len(gold) + 1 for piece in pieces for gold in golds):
        return _pieces(answer)
    return [part for part in _JOINED.split(answer) if words(part)]


def _pieces(answer: str) -> list[str]:
    return [piece for part in _JOINED.split(answer) for piece in _CHINESE_AND.split(part) if words(piece)]


def _subjects(text: str) -> set[str]:
    return set(words(text)) | pairs(text)


def _telling(text: str, question: str = "") -> list[str]:
    """The canonical words without those that tell nothing ("in 1889"), unless there are no others; denied ones are marked."""
    said = [(word, _DENIED * part.denied) for part in stretches(text, question) for word in canonical_words(part.text)]
    return [mark + word for word, mark in said if word not in IDLE] or [mark + word for word, mark in said]


def _agree(said: Sequence[str], gold: Sequence[str]) -> bool:
    if not said or not gold:
        return list(said) == list(gold)
    short, long = (said, gold) if len(said) <= len(gold) else (gold, said)
    scattered = set(short) <= set(long) and not any(is_unspaced(word) for word in short)
    return contains(long, short) or scattered
