"""How sure is an answer? Numbers in 0..1, higher is surer, that abstention, Verify-and-Edit and the gate decide by.

Invariants: one value an answer, in order; an abstention has 0, whatever the signal: there is nothing to be sure of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from genir.errors import ConfigError
from genir.records import Answer, Document
from rag.markers import take_markers
from rag.measures.consistency import clusters_by_text
from rag.measures.support import claim_support, passages_of
from rag.mitigations.cost import asked_for
from rag.mitigations.revision import question_of
from rag.reading import GeneratorReader, Reading
from rag.verification import SupportChecker

SAMPLES, TEMPERATURE = 5, 0.7


@runtime_checkable
class Signal(Protocol):
    """Anything that says how sure answers are."""

    @property
    def name(self) -> str:
        """What thresholds and tables call it."""
        ...

    def of(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[float]:
        """One value an answer, in order, 0..1."""
        ...


@dataclass(frozen=True, slots=True)
class ConfidenceSignal:
    """The reader's own confidence, as the answers record it: costs nothing."""

    name: str = "confidence"

    def of(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[float]:
        """See Signal."""
        return [0.0 if answer.abstained else answer.confidence for answer in answers]


@dataclass(frozen=True)
class SupportSignal:
    """The support that a checker gives the least supported claim, over the passages that were read; closed-book always 0."""

    checker: SupportChecker

    @property
    def name(self) -> str:
        """Which checker."""
        return f"support ({self.checker.name})"

    def of(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[float]:
        """See Signal; one call of the checker."""
        found = claim_support(answers, documents, self.checker)
        return [min((one.supported for one in found[answer.query_id]), default=0.0) for answer in answers]


@dataclass(frozen=True)
class ConsistencySignal:
    """Self-consistency (Wang et al. 2023): the share of sampled replies that say what the answer says.

    Every question is asked `samples` times at `temperature`, with the passages of its answer (closed-book where it has none); replies
    agree where their words do (`rag.measures.consistency.clusters_by_text`). Verify-and-Edit (Zhao et al. 2023) counts agreement with
    the majority, here it is agreement with the answer that is to be given.
    """

    reader: GeneratorReader
    samples: int = SAMPLES
    temperature: float = TEMPERATURE
    name: str = "consistency"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature <= 0:
            raise ConfigError(
                f"samples {self.samples}, temperature {self.temperature}: expected at least one sample, and a temperature above 0"
            )

    def of(self, answers: Sequence[Answer], documents: Mapping[str, Document]) -> list[float]:
        """See Signal; `samples` replies a question."""
        rows = [row for row, answer in enumerate(answers) if not answer.abstained]
        chosen = [answers[row] for row in rows]
        sure = dict.fromkeys(range(len(answers)), 0.0)
        drawn = sampled(self.reader, chosen, documents, self.samples, self.temperature)
        for row, answer, readings in zip(rows, chosen, drawn, strict=True):
            said = [take_markers(one.text)[0] for one in readings if not one.abstained]
            first, *others = clusters_by_text([answer.text, *said], answer.question)
            sure[row] = others.count(first) / self.samples
        return list(sure.values())


def sampled(
    reader: GeneratorReader,
    answers: Sequence[Answer],
    documents: Mapping[str, Document],
    samples: int,
    temperature: float,
) -> list[list[Reading]]:
    """For each answer `samples` other replies to its question, from its passages, the same ones every time (seeds 0, 1, ...)."""
    questions = [question_of(answer) for answer in answers]
    passages = [passages_of(answer, documents) for answer in answers]
    drawn: list[list[Reading]] = [[] for _ in answers]
    asked = asked_for(reader, answers)
    for seed in range(samples if answers else 0):
        params = replace(reader.params, temperature=temperature, seed=seed)
        for several, reading in zip(drawn, replace(asked, params=params).read(questions, passages), strict=True):
            several.append(reading)
    return drawn
