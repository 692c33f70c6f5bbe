"""Claims with what a checker says of them: supported, unsupported, or contradicted.

A claim is checked against the sentences that it cites, each whole, behind their document's title. One that cites nothing is checked against
the sentence nearest to the question, which becomes its citation where the checker says that it supports or contradicts the claim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from genir.records import Citation, Claim, Document
from rag.attribution import attribute
from rag.sentences import split_sentences
from rag.verification import Statement, Support, SupportChecker


def judge(
    answers: Sequence[Sequence[Claim]],
    questions: Sequence[str],
    passages: Sequence[Sequence[Document]],
    checker: SupportChecker,
) -> list[tuple[Claim, ...]]:
    """The claims of each answer with support and verdict; all are checked in one call."""
    cited = [
        [claim.citations or _nearest(claim, question, found) for claim in claims]
        for claims, question, found in zip(answers, questions, passages, strict=True)
    ]
    statements = [
        Statement(claim.text, evidence_of(sources, found), question)
        for claims, rows, question, found in zip(answers, cited, questions, passages, strict=True)
        for claim, sources in zip(claims, rows, strict=True)
        if sources
    ]
    said = iter(checker.check(statements) if statements else ())
    return [
        tuple(_judged(claim, sources, next(said)) if sources else claim for claim, sources in zip(*both, strict=True))
        for both in zip(answers, cited, strict=True)
    ]


def evidence_of(citations: Iterable[Citation], passages: Sequence[Document]) -> str:
    """The sentences that the citations stand in, each document's behind its title, each sentence once."""
    told: dict[str, None] = {}
    for citation in citations:
        passage = passages[citation.passage]
        if passage.title:
            told[f"{passage.title}."] = None
        for start, end in split_sentences(passage.text):
            if start < citation.end and citation.start < end:
                told[passage.text[start:end]] = None
    return " ".join(told)


def _nearest(claim: Claim, question: str, passages: Sequence[Document]) -> tuple[Citation, ...]:
    found = attribute(f"{question} {claim.text}", "", passages).citation
    return () if found is None else (found,)


def _judged(claim: Claim, sources: tuple[Citation, ...], said: Support) -> Claim:
    verdict = said.verdict()
    if verdict == "unsupported" and not claim.citations:
        return claim
    return replace(claim, citations=sources, support=said.supported, verdict=verdict)
