"""Chain-of-Verification (Dhuliawala et al. 2023, arXiv:2309.11495, the factored form): an answer is questioned, and revised.

Four stages: the answer as it is; questions that would show whether it is right; each of them answered by itself, from evidence found for
it, without sight of the answer; the revised answer. With a generator, it writes the questions and the revision (`rag.mitigations.wording`).
Without, the questions are clozes (`rag.mitigations.questions`), and a claim of which more questions contradict than confirm what it says is
dropped; where none is left, the question is read once more, from all evidence that was found, and an answer that says the same again is
withdrawn.

Defined results: a claim that nothing can be asked about stays; a question that the reader cannot answer counts neither way; a generator
that writes no questions leaves the answer, one that writes no revision withdraws it; an answer that stands is left as it was, without the
evidence that was found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genir.protocols import Generator
from genir.records import Answer, Claim, Document
from rag.markers import take_markers
from rag.measures.hallucination import fact_conflicting
from rag.measures.support import claims_of, passages_of
from rag.mitigations.cost import asked_for
from rag.mitigations.questions import MOST, Check, cloze_checks
from rag.mitigations.revision import keep, question_of, rewrite, withdraw
from rag.mitigations.tools import Tools, fused, search, texts_of, with_more, write
from rag.mitigations.wording import listed, wording_for
from rag.prompt import is_unknown
from rag.reading import Reading


@dataclass(frozen=True, slots=True)
class Checked:
    """A verification question with what the reader said, and which claim it was made for (-1: the whole answer)."""

    check: Check
    said: Reading
    claim: int

    @property
    def vote(self) -> int:
        """1 where the reader confirms what was expected, -1 where it says something else, 0 where it does not know."""
        if self.said.abstained or not self.check.expected:
            return 0
        said, _ = take_markers(self.said.text)
        return -1 if fact_conflicting(said, [self.check.expected], self.check.question) else 1


@dataclass(frozen=True)
class ChainOfVerification:
    """`most`: questions a claim, or with a generator an answer. Abstentions are left as they are."""

    tools: Tools
    most: int = MOST
    name: str = "verify"

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation."""
        rows = [row for row, answer in enumerate(answers) if not answer.abstained]
        revised, chosen = list(answers), [answers[row] for row in rows]
        for row, answer in zip(rows, self._settled(chosen, documents), strict=True):
            revised[row] = answer
        return revised

    def _settled(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """Answers, none an abstention, after their checks."""
        writer = self.tools.writer
        if writer is None or not answers:
            richer, checked = verify(answers, [self._clozes(one) for one in answers], self.tools, documents)
            return self._voted(answers, richer, checked, documents)
        richer, checked = verify(answers, self._written(answers, writer), self.tools, documents)
        return self._rewritten(richer, checked, documents, writer)

    def _clozes(self, answer: Answer) -> list[tuple[int, Check]]:
        return [
            (number, check)
            for number, claim in enumerate(claims_of(answer))
            for check in cloze_checks(claim.text, question_of(answer), self.most)
        ]

    def _written(self, answers: Sequence[Answer], writer: Generator) -> list[list[tuple[int, Check]]]:
        return [
            [(-1, Check(text, "")) for text in several] for several in written_questions(answers, writer, self.most)
        ]

    def _voted(
        self,
        answers: Sequence[Answer],
        richer: Sequence[Answer],
        checked: Sequence[Sequence[Checked]],
        documents: Mapping[str, Document],
    ) -> list[Answer]:
        """What stands of the answers after the votes; what fell altogether is read again, from its `richer` evidence."""
        revised, fallen = [], []
        for row, (answer, votes) in enumerate(zip(answers, checked, strict=True)):
            claims: Sequence[Claim] = claims_of(answer)
            standing = [
                claim
                for number, claim in enumerate(claims)
                if sum(one.vote for one in votes if one.claim == number) >= 0
            ]
            revised.append(answer if len(standing) == len(claims) else keep(answer, standing))
            if not standing:
                fallen.append(row)
        before = [richer[row] for row in fallen]
        for row, answer in zip(fallen, read_again(before, self.tools, documents), strict=True):
            fell = answers[row]
            same = not answer.abstained and not fact_conflicting(answer.text, [fell.text], question_of(fell))
            revised[row] = withdraw(answer) if same else answer
        return revised

    def _rewritten(
        self,
        answers: Sequence[Answer],
        checked: Sequence[Sequence[Checked]],
        documents: Mapping[str, Document],
        writer: Generator,
    ) -> list[Answer]:
        """The generator's revision of every answer that was checked."""
        rows = [row for row, several in enumerate(checked) if several]
        chosen, prompts = [answers[row] for row in rows], []
        for row in rows:
            told = [(one.check.question, take_markers(one.said.text)[0]) for one in checked[row]]
            asked = question_of(answers[row])
            prompts.append(wording_for(asked).settle(asked, answers[row].text, told))
        readings = [
            Reading(text, abstained=is_unknown(text), probability=answers[row].confidence)
            for row, text in zip(rows, write(writer, chosen, prompts, ("\n",)), strict=True)
        ]
        revised = list(answers)
        for row, answer in zip(
            rows, rewrite(chosen, readings, documents, self.tools.checker, self.tools.retriever), strict=True
        ):
            revised[row] = answer
        return revised


def written_questions(answers: Sequence[Answer], writer: Generator, most: int = MOST) -> list[list[str]]:
    """For each answer the verification questions that a generator writes, at most `most`, perhaps none."""
    asked = [question_of(answer) for answer in answers]
    prompts = [wording_for(one).ask(one, answer.text) for one, answer in zip(asked, answers, strict=True)]
    return [listed(reply, most) for reply in write(writer, answers, prompts, ("\n\n",))]


def verify(
    answers: Sequence[Answer],
    planned: Sequence[Sequence[tuple[int, Check]]],
    tools: Tools,
    documents: Mapping[str, Document],
) -> tuple[list[Answer], list[list[Checked]]]:
    """The answers with the evidence that was found behind their own, and every (claim, question) answered from its evidence alone.

    A question for which nothing was found is not read; closed-book, without a retriever, it is answered from memory.
    """
    found = search(answers, [[check.question for _, check in several] for several in planned], tools.retriever, tools.k)
    open_book = tools.retriever is not None
    questions, passages, places = [], [], []
    for row, (answer, several, rankings) in enumerate(zip(answers, planned, found, strict=True)):
        for number, ((_, check), ranking) in enumerate(zip(several, rankings, strict=True)):
            if ranking or (not open_book and answer.retriever == "none"):
                questions.append(check.question)
                passages.append(texts_of(answer, ranking, documents))
                places.append((row, number))
    reader = asked_for(tools.reader, [answers[row] for row, _ in places])
    readings = reader.read(questions, passages) if questions else []
    said = dict(zip(places, readings, strict=True))
    silent = Reading("", abstained=True)
    checked = [
        [Checked(check, said.get((row, number), silent), claim) for number, (claim, check) in enumerate(several)]
        for row, several in enumerate(planned)
    ]
    richer = [with_more(*both, tools.retriever) for both in zip(answers, map(fused, found), strict=True)]
    return richer, checked


def read_again(answers: Sequence[Answer], tools: Tools, documents: Mapping[str, Document]) -> list[Answer]:
    """The questions read from all passages that their answers now have; withdrawn where there are none."""
    rows = [row for row, answer in enumerate(answers) if answer.passages]
    chosen = [answers[row] for row in rows]
    passages = [passages_of(answer, documents) for answer in chosen]
    reader = asked_for(tools.reader, chosen)
    readings = reader.read([question_of(answer) for answer in chosen], passages) if rows else []
    revised = [withdraw(answer) for answer in answers]
    for row, answer in zip(rows, rewrite(chosen, readings, documents, tools.checker, tools.retriever), strict=True):
        revised[row] = replace(answer, generator=tools.reader.name)
    return revised
