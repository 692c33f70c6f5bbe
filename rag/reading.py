"""What reading is: questions and their passages in, replies out. Every way to answer comes down to this one
Protocol.

`GeneratorReader` makes a reader of any `Generator`: all passages in one prompt. Others (the extractive generator,
the small reader) implement `read` themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from genir.protocols import Generator, SamplingParams
from genir.records import Document
from rag.prompt import DEFAULT_TEMPLATE, PromptTemplate, build_prompt, is_unknown


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply to one question.

    `confidence`: higher is surer, in the reader's own unit (mean log-probability of the answer's tokens, or a share of words covered).
    `passage`: index of the passage it was read from, where the reader knows; `span`: character offsets there, where it quotes.
    """

    text: str
    abstained: bool = False
    confidence: float = 0.0
    passage: int | None = None
    span: tuple[int, int] | None = None


@runtime_checkable
class Reader(Protocol):
    """Anything that answers questions from passages; closed-book where a question's passages are empty."""

    @property
    def name(self) -> str:
        """What tables and answers call it."""
        ...

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question, in order; passages best first."""
        ...


@dataclass(frozen=True)
class GeneratorReader:
    """A reader out of any generator: one prompt a question with all its passages, within `budget` words; the reply's first line counts.

    `min_logprob`: abstain where the mean log-probability (nats a token) of the reply lies below; generators that give none are not cut.
    """

    generator: Generator
    template: PromptTemplate = DEFAULT_TEMPLATE
    params: SamplingParams = field(default_factory=lambda: SamplingParams(max_new_tokens=32, stop=("\n",)))
    budget: int = 600
    min_logprob: float = float("-inf")

    @property
    def name(self) -> str:
        """The generator's name."""
        return self.generator.name

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One generation a question."""
        prompts = [
            build_prompt(question, found, self.template, self.budget)
            for question, found in zip(questions, passages, strict=True)
        ]
        readings = []
        for generation in self.generator.generate(prompts, self.params):
            text = generation.text.strip()
            confidence = sum(generation.logprobs) / len(generation.logprobs) if generation.logprobs else 0.0
            if is_unknown(text, self.template) or confidence < self.min_logprob:
                readings.append(Reading(self.template.unknown, abstained=True, confidence=confidence))
            else:
                readings.append(Reading(text, confidence=confidence))
        return readings


def as_reader(source: Reader | Generator) -> Reader:
    """`source` itself where it can read, else a `GeneratorReader` around it."""
    return source if isinstance(source, Reader) else GeneratorReader(source)
