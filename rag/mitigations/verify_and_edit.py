"""Verify-and-Edit (Zhao et al. 2023, arXiv:2305.03268): only answers that the model is unsure of are verified, and given again.

Where the signal (self-consistency in the paper, or the reader's confidence) lies below a threshold, verification questions are made from
the answer, knowledge is retrieved for each, and the question is answered again with that knowledge in view. The paper edits a chain of
thought and answers from it; a reader here gives no chain of thought, so what is edited is the evidence: what was found for the answer's
question and for its verification questions, in order of reciprocal rank fusion, at most twice `k` passages, in place of the old.

Unsure answers are answered anew whatever they said, an abstention included. Defined results: nothing found withdraws the answer; the sure
ones cost nothing but the signal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from genir.errors import ConfigError
from genir.records import Answer, Document
from rag.measures.support import claims_of
from rag.mitigations.chain_of_verification import read_again, written_questions
from rag.mitigations.questions import MOST, cloze_checks
from rag.mitigations.revision import question_of
from rag.mitigations.signals import ConfidenceSignal, Signal
from rag.mitigations.tools import Tools, fused, search, with_more


@dataclass(frozen=True)
class VerifyAndEdit:
    """`threshold`: answers of at most this value are edited (`rag.gate.tune_gate` finds it on dev answers)."""

    tools: Tools
    threshold: float = 0.5
    signal: Signal = field(default_factory=ConfidenceSignal)
    most: int = MOST
    name: str = "verify-and-edit"

    def __post_init__(self) -> None:
        if self.tools.retriever is None:
            raise ConfigError(f"{self.name}: needs a retriever to find knowledge with; give one, or use verify")

    def revise(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[Answer]:
        """See Mitigation."""
        values = self.signal.of(answers, documents)
        rows = [row for row, value in enumerate(values) if value <= self.threshold]
        chosen = [answers[row] for row in rows]
        asked = [[question_of(one), *more] for one, more in zip(chosen, self._questions(chosen), strict=True)]
        found = search(chosen, asked, self.tools.retriever, self.tools.k)
        bare = [replace(answer, passages=()) for answer in chosen]
        known = [
            with_more(answer, fused(rankings)[: 2 * self.tools.k], self.tools.retriever)
            for answer, rankings in zip(bare, found, strict=True)
        ]
        revised = list(answers)
        for row, answer in zip(rows, read_again(known, self.tools, documents), strict=True):
            revised[row] = answer
        return revised

    def _questions(self, answers: Sequence[Answer]) -> list[list[str]]:
        """The verification questions of each answer; none of an abstention."""
        writer = self.tools.writer
        if writer is None:
            clozes = [
                [one for claim in claims_of(answer) for one in cloze_checks(claim.text, question_of(answer), self.most)]
                for answer in answers
            ]
            return [[check.question for check in several][: self.most] for several in clozes]
        rows = [row for row, answer in enumerate(answers) if not answer.abstained]
        questions: list[list[str]] = [[] for _ in answers]
        for row, several in zip(
            rows, written_questions([answers[row] for row in rows], writer, self.most), strict=True
        ):
            questions[row] = several
        return questions
