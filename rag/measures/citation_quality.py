"""Citation recall and citation precision, as ALCE defines them (Gao et al. 2023, "Enabling Large Language Models to
Generate Text with Citations", under "Citation quality"), with any SupportChecker in place of the paper's NLI model.

With phi(premise, statement) = 1 where the checker supports it, s a claim and C its citations:

    recall(s)       = 1 if C is not empty and phi(concat(C), s) = 1, else 0
    irrelevant(c)   = phi(c, s) = 0 and phi(concat(C without c), s) = 1
    precision(c)    = 1 if recall(s) = 1 and c is not irrelevant, else 0

An answer's recall is the mean over its claims, its precision the mean over all citations of its claims. As in ALCE's
eval.py an answer without citations has precision 0, only a claim's first three citations count, and a claim with a marker
of a passage that was not shown ("[9]" of 5) is not recalled; unlike there, such a marker counts among the citations, as
an imprecise one. A citation is read as the sentences that it stands in, behind the title of its document.

Citations are what the generator gave (`Citation.written`), as in ALCE: its markers, or, of a reader that quotes or names
its passage, that. A generator that cites nothing has 0 and 0, however well its words can be found. How well what is shown
beside an answer supports it, the citations that we attributed by words included, is another measure of the same form:
attribution recall and attribution precision (`attribution_quality`). It tells of reader and attribution together.

Known gap, the paper's own: pasting the passage scores 1; show these only beside answer scores. What the checker cannot
tell, they cannot. Of a passage that a marker names its best sentence is read, where ALCE reads it whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genir.errors import ConfigError
from genir.records import Answer, Claim, Document
from rag.measures.support import check_once, cited_text, claims_of
from rag.verification import THRESHOLD, Statement, SupportChecker

AT_MOST = 3  # citations of a claim that count, ALCE's default


@dataclass(frozen=True, slots=True)
class CitationQuality:
    """Of one answer: recall and precision in 0..1, and the claims and citations, out-of-range markers included, behind them."""

    recall: float
    precision: float
    claims: int
    citations: int


@dataclass(frozen=True, slots=True)
class _Cited:
    """One claim, the texts of its citations, and how many of its markers name no passage that was shown."""

    query_id: str
    question: str
    claim: str
    texts: tuple[str, ...]
    out_of_range: int

    def with_texts(self, texts: Sequence[str]) -> Statement:
        return Statement(self.claim, "\n".join(texts), self.question)

    def without(self, index: int) -> Statement:
        return self.with_texts(self.texts[:index] + self.texts[index + 1 :])


def citation_quality(
    answers: Sequence[Answer],
    documents: Mapping[str, Document],
    checker: SupportChecker,
    threshold: float = THRESHOLD,
    at_most: int = AT_MOST,
) -> dict[str, CitationQuality]:
    """query_id -> citation recall and precision, of what the generator cited itself; 0 of 0 for an abstention.

    The checker is called three times at most, whatever the number of answers. Raises ConfigError for at_most below 1,
    DataError for a cited document that is not among the documents.
    """
    _check(at_most)
    written = [
        (answer, replace(claim, citations=tuple(one for one in claim.citations if one.written)))
        for answer in answers
        for claim in claims_of(answer)
    ]
    rows = [_row(answer, claim, documents, at_most, claim.out_of_range) for answer, claim in written]
    return _quality(answers, rows, checker, threshold)


def attribution_quality(
    answers: Sequence[Answer],
    documents: Mapping[str, Document],
    checker: SupportChecker,
    threshold: float = THRESHOLD,
    at_most: int = AT_MOST,
) -> dict[str, CitationQuality]:
    """As `citation_quality`, of all citations that an answer is shown with, whoever gave them."""
    _check(at_most)
    rows = [_row(answer, claim, documents, at_most) for answer in answers for claim in claims_of(answer)]
    return _quality(answers, rows, checker, threshold)


def _check(at_most: int) -> None:
    if at_most < 1:
        raise ConfigError(f"at_most = {at_most}: expected at least one citation a claim")


def _quality(
    answers: Sequence[Answer], rows: Sequence[_Cited], checker: SupportChecker, threshold: float
) -> dict[str, CitationQuality]:
    def supports(statements: Sequence[Statement]) -> list[bool]:
        found = check_once(statements, checker)
        return [found[one].verdict(threshold) == "supported" for one in statements]

    whole = supports([row.with_texts(row.texts) for row in rows])
    recalled = [right and not row.out_of_range for row, right in zip(rows, whole, strict=True)]
    # With one citation, phi(c, s) is the recall: only claims with several are asked about again.
    several = [
        (row, i)
        for row, right in zip(rows, recalled, strict=True)
        if right and len(row.texts) > 1
        for i in range(len(row.texts))
    ]
    alone = dict(zip(several, supports([row.with_texts((row.texts[i],)) for row, i in several]), strict=True))
    doubtful = [key for key in several if not alone[key]]
    spare = dict(zip(doubtful, supports([row.without(i) for row, i in doubtful]), strict=True))
    totals = {
        answer.query_id: [0, 0, 0, 0] for answer in answers
    }  # claims recalled, citations precise, claims, citations
    for row, right in zip(rows, recalled, strict=True):
        total = totals[row.query_id]
        total[0] += right
        total[1] += sum(right and not spare.get((row, i), False) for i in range(len(row.texts)))
        total[2] += 1
        total[3] += len(row.texts) + row.out_of_range
    return {
        query_id: CitationQuality(right / max(1, claims), precise / max(1, citations), claims, citations)
        for query_id, (right, precise, claims, citations) in totals.items()
    }


def _row(
    answer: Answer, claim: Claim, documents: Mapping[str, Document], at_most: int, out_of_range: int = 0
) -> _Cited:
    cited = tuple(dict.fromkeys(claim.citations))[:at_most]
    texts = tuple(cited_text((citation,), documents, answer.query_id) for citation in cited)
    return _Cited(answer.query_id, answer.question, claim.text, texts, out_of_range)
