"""Does what an answer read support it? Words, names, numbers, and any checker's opinion, claim by claim.

Lexical support, unsupported names and unsupported numbers need no model and are no faithfulness: they say what stands
in the evidence, not what follows from it. A checker (`rag.verification`) gives probabilities; a claim's support is the
most that any passage which the answer read gives it, as in the zero-shot form of SummaC (Laban et al. 2022: the maximum
over the blocks of the evidence).

Invariants: an abstention has no claims, and nothing to support; an answer without recorded claims is one claim, its
whole text. A statement is checked once, however often it is asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genir.errors import ConfigError, DataError
from genir.records import Answer, Citation, Claim, Document, Verdict
from rag.attribution import lexical_support
from rag.measures.names import names, stands_in
from rag.measures.numbers import numbers
from rag.sentences import split_sentences
from rag.verification import NO_SUPPORT, THRESHOLD, Statement, Support, SupportChecker


@dataclass(frozen=True, slots=True)
class ClaimSupport:
    """A claim with the most that a passage supports and contradicts it, 0..1, and the verdict of the passage that decides."""

    claim: Claim
    supported: float
    contradicted: float
    verdict: Verdict


def claims_of(answer: Answer) -> tuple[Claim, ...]:
    """The claims of an answer; its whole text, with all citations, where none are recorded; none for an abstention or
    an empty text."""
    if answer.abstained or not answer.text.strip():
        return ()
    return answer.claims or (Claim(answer.text, 0, len(answer.text), answer.citations),)


def document_of(documents: Mapping[str, Document], doc_id: str, query_id: str) -> Document:
    """A document that an answer names. Raises DataError where it is not among the documents."""
    try:
        return documents[doc_id]
    except KeyError:
        raise DataError(
            f"the answer to {query_id!r} names document {doc_id!r}, which is not among the {len(documents)} documents: "
            "give the corpus that it was answered from"
        ) from None


def passages_of(answer: Answer, documents: Mapping[str, Document]) -> list[Document]:
    """The passages that an answer read, best first. Raises DataError for one that is not among the documents."""
    return [document_of(documents, passage.doc_id, answer.query_id) for passage in answer.passages]


def cited_text(citations: Iterable[Citation], documents: Mapping[str, Document], query_id: str = "") -> str:
    """The sentences that the citations stand in, a line each citation, behind the title of its document.

    A word that is quoted says nothing alone, nor does a sentence without what it is about.
    """
    lines: dict[str, None] = {}
    for citation in citations:
        source = document_of(documents, citation.doc_id, query_id)
        spans = split_sentences(source.text)
        around = [source.text[start:end] for start, end in spans if start < citation.end and citation.start < end]
        told = " ".join(around) or citation.text
        lines[f"{source.title}. {told}" if source.title else told] = None
    return "\n".join(lines)


def answer_lexical_support(answer: Answer, documents: Mapping[str, Document]) -> float:
    """Lexical support: the share of an answer's words, 0..1, that stand in the sentences its claims cite or their
    titles, mean over the claims; 0 where nothing is cited."""
    claims = claims_of(answer)
    shares = [lexical_support(claim.text, cited_text(claim.citations, documents, answer.query_id)) for claim in claims]
    return sum(shares) / len(shares) if shares else 0.0


def unsupported_names(claim: str, evidence: str, question: str = "") -> tuple[str, ...]:
    """The names of a claim that stand neither in the evidence nor in the question, in order.

    What a name is, and when it stands somewhere, `rag.measures.names` says. A name that the asker brought is nothing the answer
    made up. Entity-level hallucination by string matching, as in Nan et al. 2021 (their precision-source, N(h and s) /
    N(h), is the share of names that do stand there), with capitals in place of their entity recogniser.
    """
    return tuple(name for name in names(claim) if not (stands_in(name, evidence) or stands_in(name, question)))


def unsupported_numbers(claim: str, evidence: str, question: str = "") -> tuple[str, ...]:
    """The numbers of a claim, as written, whose values stand neither in the evidence nor in the question, in order.

    Values are compared, so that "five million" stands in a text with 5,000,000; a lone "one", "first" or "second" is
    not asked about. See `rag.measures.numbers`.
    """
    held = {number.value for number in (*numbers(evidence), *numbers(question))}
    return tuple(number.text for number in numbers(claim) if not number.idle and number.value not in held)


def check_once(statements: Iterable[Statement], checker: SupportChecker) -> dict[Statement, Support]:
    """Statement -> what the checker says, each distinct one checked once, in one call; without evidence or claim
    NO_SUPPORT, unasked."""
    asked = list(dict.fromkeys(statements))
    checkable = [statement for statement in asked if statement.claim.strip() and statement.evidence.strip()]
    found = checker.check(checkable) if checkable else []
    if len(found) != len(checkable):
        raise DataError(
            f"checker {checker.name!r} gave {len(found)} results for {len(checkable)} statements: expected one each"
        )
    return dict.fromkeys(asked, NO_SUPPORT) | dict(zip(checkable, found, strict=True))


def claim_support(
    answers: Sequence[Answer],
    documents: Mapping[str, Document],
    checker: SupportChecker,
    threshold: float = THRESHOLD,
) -> dict[str, tuple[ClaimSupport, ...]]:
    """query_id -> its claims against the passages that the answer read, all in one call of the checker.

    A claim that some passage supports is supported, whatever another says; only then does a contradiction count.
    Closed-book every claim is unsupported. Raises ConfigError for a threshold outside 0..1, DataError for a passage
    that is not among the documents.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold}: expected a probability, 0 to 1")
    statements: dict[str, list[tuple[Claim, list[Statement]]]] = {}
    for answer in answers:
        texts = [passage.title_and_text for passage in passages_of(answer, documents)]
        statements[answer.query_id] = [
            (claim, [Statement(claim.text, text, answer.question) for text in texts]) for claim in claims_of(answer)
        ]
    found = check_once((one for rows in statements.values() for _, row in rows for one in row), checker)
    return {
        query_id: tuple(_judged(claim, [found[one] for one in row], threshold) for claim, row in rows)
        for query_id, rows in statements.items()
    }


def _judged(claim: Claim, found: Sequence[Support], threshold: float) -> ClaimSupport:
    supported = max((one.supported for one in found), default=0.0)
    contradicted = max((one.contradicted for one in found), default=0.0)
    said = {one.verdict(threshold) for one in found}
    verdict: Verdict = next((one for one in ("supported", "contradicted") if one in said), "unsupported")
    return ClaimSupport(claim, supported, contradicted, verdict)
