"""What a sentence claims of its question: the names and numbers that it adds. "Norway's capital city is Oslo" answers by "Oslo".

A bare answer says nothing without its question; a sentence does, and is asked two things: whether what it adds answers the question by
the evidence, and whether it holds by itself. Paraphrase costs the first one nothing.

Known gaps: a sentence that answers without names and numbers ("by boat") adds none, nor does one in Chinese or Japanese; sentences are
known by the looks of English.
"""

import re

from rag.attribution import contains
from rag.measures.names import names
from rag.measures.numbers import numbers
from rag.sentences import split_sentences, words
from rag.verification import Statement

_FINITE = re.compile(
    r"\b(?:am|is|are|was|were|be|been|has|have|had|do|does|did|can|could|will|would|may|might|must|shall|should|cannot)\b|n['’]t\b",
    re.I,
)
_ENDED = re.compile(r"[\w)\]\"”'’]{3,}[.!?][\"”'’]?$")  # initials and abbreviations aside
_POSSESSIVE = re.compile(r"['’]s\b")


def is_sentence(claim: str) -> bool:
    """Whether a claim says something without its question: it has a verb that is known to be finite, or ends like a sentence."""
    return len(claim.split()) > 2 and (_FINITE.search(claim) is not None or _ENDED.search(claim.strip()) is not None)


def is_fragment(statement: Statement) -> bool:
    """Whether the claim was cut out of the evidence, and is no whole sentence of it."""
    return contains(words(statement.evidence), words(statement.claim)) and not is_quoted(statement)


def is_quoted(statement: Statement) -> bool:
    """Whether the claim is made of whole sentences of the evidence."""
    evidence = {tuple(words(statement.evidence[start:end])) for start, end in split_sentences(statement.evidence)}
    claimed = [tuple(words(statement.claim[start:end])) for start, end in split_sentences(statement.claim)]
    return bool(claimed) and all(one in evidence for one in claimed)


def answers_within(statement: Statement) -> list[str]:
    """The names and numbers of the claim that the question does not have; a first word counts as a name where the evidence has it."""
    asked = _words(statement.question)
    held = _words(statement.evidence)
    opening = words(statement.claim)[:1]
    found = [*names(statement.claim), *(number.text for number in numbers(statement.claim) if not number.idle)]
    return [one for one in found if _words(one) - asked and (words(one) != opening or _words(one) <= held)]


def _words(text: str) -> set[str]:
    return set(words(_POSSESSIVE.sub("", text)))
