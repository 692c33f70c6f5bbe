"""A changed answer put together again: its text, its claims with offsets, citations and verdicts, its support.

Invariants: a revised answer keeps query_id, question, search_query, retriever and generator; its claims stand in order and do not
overlap; an answer without a claim is an abstention, in the question's language.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from genir.protocols import IdentifierWriter, Retriever
from genir.records import Answer, Citation, Claim, Document
from rag.answering import LONGEST_QUESTION
from rag.attribution import lexical_support
from rag.claims import Draft, draft
from rag.measures.names import is_unspaced
from rag.measures.support import passages_of
from rag.packing import count_words, cut
from rag.reading import Reading
from rag.sentences import words
from rag.template import unknown_for
from rag.verdicts import judge
from rag.verification import SupportChecker


def question_of(answer: Answer) -> str:
    """What was asked, complete in itself, and no longer than readers get it (`rag.answering.LONGEST_QUESTION`)."""
    told = (answer.search_query or answer.question).split()
    return cut(" ".join(told[:LONGEST_QUESTION]), lambda text: count_words(text) <= 2 * LONGEST_QUESTION)


def withdraw(answer: Answer) -> Answer:
    """The answer as an abstention; passages and confidence stay on record."""
    unknown = unknown_for(answer.question)
    return replace(answer, text=unknown, abstained=True, claims=(), citations=(), support=0.0, rivals=())


def keep(answer: Answer, claims: Sequence[Claim]) -> Answer:
    """The answer made of `claims` alone, in order, with new offsets; withdrawn where there are none, itself where nothing changed."""
    if not claims:
        return withdraw(answer)
    if tuple(claims) == answer.claims and not answer.abstained:
        return answer
    text, placed = "", []
    for claim in claims:
        gap = "" if not text or is_unspaced(text[-1] + claim.text[:1]) or text[-1] in "。！？" else " "
        start = len(text) + len(gap)
        text += gap + claim.text
        placed.append(replace(claim, start=start, end=len(text)))
    lengths = [len(words(claim.text)) for claim in placed]
    held = [lexical_support(claim.text, " ".join(one.text for one in claim.citations)) for claim in placed]
    support = sum(n * share for n, share in zip(lengths, held, strict=True)) / max(1, sum(lengths))
    return replace(answer, text=text, abstained=False, claims=tuple(placed), citations=_cited(placed), support=support)


def rewrite(
    answers: Sequence[Answer],
    readings: Sequence[Reading],
    documents: Mapping[str, Document],
    checker: SupportChecker,
    retriever: Retriever | None = None,
) -> list[Answer]:
    """Every answer as a new reading of its passages says it: attributed, checked, with the DocIDs that `retriever` writes.

    Without a retriever that writes identifiers those that the old citations carried are kept. Markers of passages that were not shown are
    dropped and counted in a warning, as in `rag.answering`.
    """
    passages = [passages_of(answer, documents) for answer in answers]
    questions = [question_of(answer) for answer in answers]
    drafts = [
        Draft("") if reading.abstained else draft(reading, question, found)
        for reading, question, found in zip(readings, questions, passages, strict=True)
    ]
    if dropped := sum(one.dropped for one in drafts):
        warnings.warn(f"{dropped} citation markers name passages that were not shown and were dropped", stacklevel=2)
    judged = judge([one.claims for one in drafts], questions, passages, checker)
    known = identifiers(answers, judged, retriever)
    revised = []
    for answer, reading, made, claims, written in zip(answers, readings, drafts, judged, known, strict=True):
        sure = replace(answer, confidence=reading.certainty, rivals=())  # they were those of the old text
        named = tuple(identified(claim, written) for claim in claims)
        revised.append(
            replace(sure, text=made.text, abstained=False, claims=named, citations=_cited(named), support=made.support)
            if named
            else withdraw(sure)
        )
    return revised


Identifiers = Mapping[str, tuple[tuple[int, ...], str]]  # doc_id -> docid_tokens, the same in words


def identifiers(
    answers: Sequence[Answer], claims: Sequence[Sequence[Claim]], retriever: Retriever | None
) -> list[Identifiers]:
    """For each answer the identifiers of what its new `claims` cite: as its old citations had them, and as `retriever` writes them."""
    written: Identifiers = {}
    if isinstance(retriever, IdentifierWriter):
        cited = {one.doc_id: None for several in claims for claim in several for one in claim.citations}
        written = retriever.written(list(cited))
    return [
        {one.doc_id: (one.docid_tokens, one.identifier) for one in answer.citations if one.docid_tokens} | dict(written)
        for answer in answers
    ]


def identified(claim: Claim, written: Identifiers) -> Claim:
    """The claim whose citations carry their documents' identifiers, where these are known."""

    def named(citation: Citation) -> Citation:
        tokens, spelt = written.get(citation.doc_id, (citation.docid_tokens, citation.identifier))
        return replace(citation, docid_tokens=tokens, identifier=spelt)

    return replace(claim, citations=tuple(map(named, claim.citations)))


def _cited(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    return tuple(dict.fromkeys(citation for claim in claims for citation in claim.citations))
