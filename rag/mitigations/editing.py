"""Research and revision of unsupported claims, after RARR (Gao et al. 2023, arXiv:2210.08726).

A claim that the checker does not call supported is researched: questions about it, evidence for each. Where the checker finds the claim
supported by what was found, it stays, and cites that (RARR's agreement model). Else it is edited: by a generator, which changes the
statement to agree with the evidence; or, without one, by the reader, whose span takes the place of a bare answer, or of the name or number
of a sentence that the evidence does not have. An edit stays where the checker calls it supported, else the claim is deleted; without a
claim the answer is withdrawn.

RARR keeps claims that it can neither confirm nor mend, and bounds how much an edit may change; here what stays is what the checker
supports, so the step is as good as its checker: with the lexical one a reader that quotes is never edited.

Defined results: without evidence nothing is supported; an abstention stays one; a generator that writes nothing edits nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genir.protocols import Generator
from genir.records import Answer, Citation, Claim, Document
from rag.claims import draft
from rag.markers import take_markers
from rag.measures.names import stands_in
from rag.measures.support import claims_of, passages_of
from rag.mitigations.chain_of_verification import written_questions
from rag.mitigations.cost import asked_for
from rag.mitigations.questions import MOST, Check, cloze_checks
from rag.mitigations.revision import identified, identifiers, keep, question_of
from rag.mitigations.tools import Found, Tools, fused, search, with_more, write
from rag.mitigations.wording import wording_for
from rag.prompt import is_unknown
from rag.reading import Reading
from rag.sentences import words
from rag.verdicts import evidence_of, judge

SPAN = 8  # words up to which a reading can take the place of a name inside a sentence


@dataclass(frozen=True, slots=True)
class _Case:
    """An unsupported claim: of which answer, and the questions that research it; then the passages, its own and those found."""

    row: int
    answer: Answer
    claim: Claim
    checks: tuple[Check, ...]
    passages: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Edit:
    """`most`: questions a claim, beside the question that was asked."""

    tools: Tools
    most: int = MOST
    name: str = "edit"

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation."""
        claims = self._judged([list(claims_of(answer)) for answer in answers], answers, documents)
        cases = self._cases(answers, claims)
        if not cases:
            return list(answers)
        richer, cases = self._researched(answers, cases, documents)
        mended = self._settled(richer, cases)
        revised = []
        by_claim = {(case.row, case.claim): tuple(new) for case, new in zip(cases, mended, strict=True)}
        final = [
            _distinct([one for claim in several for one in by_claim.get((row, claim), (claim,))])
            for row, several in enumerate(claims)
        ]
        known = identifiers(richer, final, self.tools.retriever)
        edited = {case.row for case in cases}
        for row, (answer, several, written) in enumerate(zip(richer, final, known, strict=True)):
            revised.append(
                keep(answer, [identified(one, written) for one in several]) if row in edited else answers[row]
            )
        return revised

    def _judged(
        self, claims: Sequence[Sequence[Claim]], answers: Sequence[Answer], documents: Mapping[str, Document]
    ) -> list[tuple[Claim, ...]]:
        """The claims with the verdicts of this step's checker."""
        passages = [passages_of(answer, documents) for answer in answers]
        return judge(claims, [question_of(answer) for answer in answers], passages, self.tools.checker)

    def _cases(self, answers: Sequence[Answer], claims: Sequence[Sequence[Claim]]) -> list[_Case]:
        """One for every claim that is not supported, with the questions to research it by."""
        doubted = [
            (row, claim) for row, several in enumerate(claims) for claim in several if claim.verdict != "supported"
        ]
        writer = self.tools.writer
        if writer is None:
            asked = [cloze_checks(claim.text, question_of(answers[row]), self.most) for row, claim in doubted]
        else:
            single = [replace(answers[row], text=claim.text) for row, claim in doubted]
            asked = [[Check(one, "") for one in several] for several in written_questions(single, writer, self.most)]
        return [
            _Case(row, answers[row], claim, tuple(checks)) for (row, claim), checks in zip(doubted, asked, strict=True)
        ]

    def _researched(
        self, answers: Sequence[Answer], cases: Sequence[_Case], documents: Mapping[str, Document]
    ) -> tuple[list[Answer], list[_Case]]:
        """The answers with what was found behind their passages, and the cases with all of these."""
        richer = list(answers)
        if self.tools.retriever is not None:
            owners = [case.answer for case in cases]
            asked = [
                [question_of(one), *(check.question for check in case.checks)]
                for one, case in zip(owners, cases, strict=True)
            ]
            # Two claims of one answer are two searches: each round has every query_id once.
            found = _search_apart(owners, asked, self.tools)
            for case, rankings in zip(cases, found, strict=True):
                richer[case.row] = with_more(richer[case.row], fused(rankings)[: self.tools.k], self.tools.retriever)
        return richer, [replace(case, passages=tuple(passages_of(richer[case.row], documents))) for case in cases]

    def _settled(self, answers: Sequence[Answer], cases: Sequence[_Case]) -> list[list[Claim]]:
        """What each case's claim becomes: itself where the evidence supports it, its edit where it supports that, or nothing."""
        questions = [question_of(answers[case.row]) for case in cases]
        again = self._supported([Reading(case.claim.text) for case in cases], questions, cases)
        left = [number for number, claims in enumerate(again) if not claims]
        doubted = [cases[number] for number in left]
        asked = [questions[number] for number in left]
        edits = self._edits(doubted, asked)
        for number, claims in zip(left, self._supported(edits, asked, doubted), strict=True):
            again[number] = claims
        return again

    def _supported(
        self, readings: Sequence[Reading], questions: Sequence[str], cases: Sequence[_Case]
    ) -> list[list[Claim]]:
        """The claims of each reading that the checker calls supported by the case's passages."""
        drafts = [
            [] if reading.abstained else draft(reading, question, case.passages).claims
            for reading, question, case in zip(readings, questions, cases, strict=True)
        ]
        judged = judge(drafts, questions, [case.passages for case in cases], self.tools.checker)
        return [[claim for claim in claims if claim.verdict == "supported"] for claims in judged]

    def _edits(self, cases: Sequence[_Case], questions: Sequence[str]) -> list[Reading]:
        """An edit of each claim; an abstention where there is none."""
        edits = [Reading("", abstained=True) for _ in cases]
        rows = [row for row, case in enumerate(cases) if case.passages]
        chosen, asked = [cases[row] for row in rows], [questions[row] for row in rows]
        writer = self.tools.writer
        made = self._read(chosen, asked) if writer is None else _rewritten(chosen, asked, writer)
        for row, edit in zip(rows, made, strict=True):
            edits[row] = edit
        return edits

    def _read(self, cases: Sequence[_Case], questions: Sequence[str]) -> list[Reading]:
        """The reader's answer in place of a bare answer, or of the first name or number of a sentence that no passage has."""
        asked, missing = [], []
        for case, question in zip(cases, questions, strict=True):
            evidence = "\n".join(passage.title_and_text for passage in case.passages)
            wrong = next(
                (
                    one
                    for one in case.checks
                    if one.expected in case.claim.text and not stands_in(one.expected, evidence)
                ),
                None,
            )
            asked.append(wrong.question if wrong else question)
            missing.append(wrong.expected if wrong else "")
        reader = asked_for(self.tools.reader, [case.answer for case in cases])
        readings = reader.read(asked, [case.passages for case in cases]) if cases else []
        edits = []
        for case, reading, taken in zip(cases, readings, missing, strict=True):
            said = take_markers(reading.text)[0]
            if reading.abstained or not taken or len(words(said)) > SPAN:
                edits.append(reading)
            else:
                edits.append(Reading(case.claim.text.replace(taken, said.rstrip("."), 1)))
        return edits


def _distinct(claims: Sequence[Claim]) -> list[Claim]:
    """Claims whose words another has said before left out: two that were wrong may become one that is right."""
    return list({tuple(words(claim.text)): claim for claim in reversed(claims)}.values())[::-1]


def _rewritten(cases: Sequence[_Case], questions: Sequence[str], writer: Generator) -> list[Reading]:
    """The generator's edit of each claim, from the sentences that have most to do with it."""
    prompts = []
    for case, question in zip(cases, questions, strict=True):
        cited: list[Citation] = [
            citation
            for text in (f"{question} {case.claim.text}", question, case.claim.text)
            for claim in draft(Reading(text), "", case.passages).claims
            for citation in claim.citations
        ]
        prompts.append(wording_for(question).mend(question, case.claim.text, evidence_of(cited, case.passages)))
    made = write(writer, [case.answer for case in cases], prompts, ("\n",))
    return [Reading(text, abstained=is_unknown(text)) for text in made]


def _search_apart(owners: Sequence[Answer], asked: Sequence[Sequence[str]], tools: Tools) -> list[list[Found]]:
    """`search` for several claims of one answer: all their queries as that answer's, then each claim's own again."""
    together: dict[str, list[str]] = {}
    places = []
    for owner, queries in zip(owners, asked, strict=True):
        mine = together.setdefault(owner.query_id, [])
        places.append((owner.query_id, len(mine), len(mine) + len(queries)))
        mine += queries
    single = {owner.query_id: owner for owner in owners}
    found = dict(
        zip(
            together,
            search([single[one] for one in together], list(together.values()), tools.retriever, tools.k),
            strict=True,
        )
    )
    return [found[query_id][start:end] for query_id, start, end in places]
