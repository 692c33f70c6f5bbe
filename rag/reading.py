"""What reading is: questions and their passages in, replies out. Every way to answer comes down to this one
Protocol.

`GeneratorReader` makes a reader of any `Generator`: all passages in one prompt. Others (the extractive generator,
the small reader) implement `read` themselves. A reader may also know conversations, and may write while one waits.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

from genir.errors import ConfigError
from genir.protocols import Generation, GenerationStreamer, Generator, SamplingParams, TokenCounter
from genir.records import Document
from rag.demonstrations import Demonstrations
from rag.markers import take_markers, visible
from rag.packing import count_words
from rag.prompt import DEFAULT_TEMPLATE, Prompt, PromptTemplate, Turn, compose, is_unknown, say_left_out

PROMPT_WORDS = 600  # where a generator cannot count its tokens
PROMPT_TOKENS = 2048  # most of them, however long the context
_STUMP = re.compile(r"[\[【][\d\s,，、;–-]*\Z")  # a citation marker without its end


@dataclass(frozen=True, slots=True)
class RivalReading:
    """Another answer: characters `span` of the passage numbered `passage`; `probability` is what the reader gives it beside the answer."""

    text: str
    passage: int
    span: tuple[int, int]
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A reply to one question.

    `confidence`: higher is surer, in the reader's own unit (mean log-probability of the answer's tokens, or a share of words covered).
    `passage`: index of the passage it was read from, where the reader knows; `span`: character offsets there, where it quotes.
    `shown`: how many of the passages, best first, the reader saw (None: all). `probability`: the confidence in 0..1, where it has one.
    `rivals`: other answers that other passages give by themselves, the most probable first, of a reader that looks for them.
    """

    text: str
    abstained: bool = False
    confidence: float = 0.0
    passage: int | None = None
    span: tuple[int, int] | None = None
    shown: int | None = None
    probability: float | None = None
    rivals: tuple[RivalReading, ...] = ()

    @property
    def certainty(self) -> float:
        """`probability`; without one, a log-probability as a probability, and any other confidence cut to 0..1."""
        if self.probability is not None:
            return self.probability
        return math.exp(self.confidence) if self.confidence < 0 else min(self.confidence, 1.0)


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


@runtime_checkable
class ClosedBookReader(Protocol):
    """A reader that has a memory to answer from where it gets no passages; one without this mark only copies from passages."""

    answers_from_memory: Literal[True]


@runtime_checkable
class ConversationReader(Protocol):
    """A reader that is shown what was asked and answered before; others get questions that were made complete."""

    def read_turns(
        self, questions: Sequence[str], passages: Sequence[Sequence[Document]], turns: Sequence[Sequence[Turn]]
    ) -> list[Reading]:
        """As `read`; each question with its earlier turns, oldest first."""
        ...


@runtime_checkable
class StreamingReader(Protocol):
    """A reader whose reply can be shown while it is written."""

    def read_stream(
        self, question: str, passages: Sequence[Document], turns: Sequence[Turn] = ()
    ) -> Iterator[str | Reading]:
        """The reply in pieces, without markers, then the reading; joined, the pieces are its text without markers.

        Of an abstention there are no pieces: what it says is worded where all are (`rag.answering`).
        """
        ...


@dataclass(frozen=True)
class GeneratorReader:
    """A reader out of any generator: one prompt a question with all its passages; the reply's first line counts.

    `budget` bounds the prompt: in tokens where the generator counts them (by default what its context leaves, at most PROMPT_TOKENS),
    else in words (PROMPT_WORDS). `min_logprob`: abstain where the mean log-probability (nats a token) of the reply lies below; generators
    that give none are not cut. `demonstrations` chooses worked examples for every question. What does not fit the prompts is counted in a
    warning. Where the reply was cut for its length, the beginning of a citation marker at its end is no text of it.
    """

    generator: Generator
    template: PromptTemplate = DEFAULT_TEMPLATE
    params: SamplingParams = field(default_factory=lambda: SamplingParams(max_new_tokens=32, stop=("\n",)))
    budget: int | None = None
    min_logprob: float = float("-inf")
    demonstrations: Demonstrations | None = None
    answers_from_memory: ClassVar[Literal[True]] = True

    @property
    def name(self) -> str:
        """The generator's name."""
        return self.generator.name

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One generation a question."""
        return self.read_turns(questions, passages, [()] * len(questions))

    def read_turns(
        self, questions: Sequence[str], passages: Sequence[Sequence[Document]], turns: Sequence[Sequence[Turn]]
    ) -> list[Reading]:
        """One generation a question, behind its earlier turns."""
        prompts = [self.prompt(*one) for one in zip(questions, passages, turns, strict=True)]
        say_left_out(prompts)
        generations = self.generator.generate([prompt.text for prompt in prompts], self.params)
        return [self.reading(*both) for both in zip(prompts, generations, strict=True)]

    def read_stream(
        self, question: str, passages: Sequence[Document], turns: Sequence[Turn] = ()
    ) -> Iterator[str | Reading]:
        """Pieces as the generator writes them; with `min_logprob` all at once, since nothing is to be shown that falls below it."""
        prompt = self.prompt(question, passages, turns)
        say_left_out([prompt])
        if self.min_logprob > float("-inf"):
            [generation] = self.generator.generate([prompt.text], self.params)
            reading = self.reading(prompt, generation)
            if not reading.abstained:
                yield take_markers(reading.text)[0]
        else:
            streamed = _Streamed(stream_generation(self.generator, prompt.text, self.params))
            yield from visible(streamed, self.template)
            reading = self.reading(prompt, streamed.generation)
        yield reading

    def prompt(self, question: str, passages: Sequence[Document], turns: Sequence[Turn] = ()) -> Prompt:
        """What the generator gets. Raises ConfigError where not even the question fits."""
        shots = (
            []
            if self.demonstrations is None
            else self.demonstrations.choose(question, [one.doc_id for one in passages])
        )
        counts = self.generator if isinstance(self.generator, TokenCounter) else None
        count = count_words if counts is None else counts.count_tokens
        budget = self._budget(counts.context_length() if counts else None, PROMPT_TOKENS if counts else PROMPT_WORDS)
        return compose(question, passages, self.template, budget, count, shots=shots, turns=turns)

    def _budget(self, context: int | None, usual: int) -> int:
        """Room for the prompt: what was asked for, or the usual, and no more than the context leaves."""
        wanted = usual if self.budget is None else self.budget
        if context is None:
            return wanted
        if context <= self.params.max_new_tokens:
            raise ConfigError(
                f"max_new_tokens {self.params.max_new_tokens}: leaves no room for a prompt in the context of {context} tokens of "
                f"{self.name!r}; give a smaller one"
            )
        return min(wanted, context - self.params.max_new_tokens)

    def reading(self, prompt: Prompt, generation: Generation) -> Reading:
        """What is made of a generation behind a prompt: an abstention where it says so, or is not sure enough."""
        text, logprobs = _uncut(generation).strip(), generation.logprobs
        confidence = sum(logprobs) / len(logprobs) if logprobs else 0.0
        certain = math.exp(confidence) if logprobs else 0.0
        if is_unknown(take_markers(text)[0], self.template) or confidence < self.min_logprob:
            return Reading(self.template.unknown, True, confidence, shown=prompt.passages, probability=certain)
        return Reading(text, confidence=confidence, shown=prompt.passages, probability=certain)


class _Streamed:
    """The pieces of a stream, to be iterated once; when they are over, `generation` is the whole."""

    def __init__(self, pieces: Iterator[str | Generation]) -> None:
        self.pieces, self.generation = pieces, Generation("")

    def __iter__(self) -> Iterator[str]:
        held = ""  # what may be the stump of a marker
        for piece in self.pieces:
            if isinstance(piece, Generation):
                self.generation = piece
                continue
            text = held + piece
            stump = _STUMP.search(text)
            sure = stump.start() if stump else len(text)
            held = text[sure:]
            yield text[:sure]
        if self.generation.finish_reason != "length":
            yield held


def _uncut(generation: Generation) -> str:
    """Its text, without the beginning of a citation marker where the last token allowed fell into one."""
    return _STUMP.sub("", generation.text) if generation.finish_reason == "length" else generation.text


def stream_generation(generator: Generator, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
    """The pieces of a generator's stream, then the generation: with log-probabilities where it streams them, else its text alone."""
    if isinstance(generator, GenerationStreamer):
        yield from generator.stream_generation(prompt, params)
        return
    heard = []
    for piece in generator.stream(prompt, params):
        heard.append(piece)
        yield piece
    yield Generation("".join(heard))


def as_reader(source: Reader | Generator) -> Reader:
    """`source` itself where it can read, else a `GeneratorReader` around it."""
    return source if isinstance(source, Reader) else GeneratorReader(source)
