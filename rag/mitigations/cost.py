"""What answering costs: model calls, searches, checks, tokens and seconds, counted by wrappers that change nothing else; and which calls
were made for which answer, where that is said (`asked_for`).

One `Meter` counts for everything that was wrapped by it. Wrappers must not be nested in each other, or seconds would count twice; a
`GeneratorReader` is therefore counted at its generator, where the prompts are, and a `NotingReader` by what it says that its model read.

Units: a call is one prompt of a model, or one question of a reader that does not say what its model reads; a search is one query; a check
is one statement. Tokens are those of prompts and replies where the model counts them (`genir.protocols.TokenCounter`), else words of them
(of a reader: of question, passages and reply), and the two are kept apart. Seconds are wall-clock time inside the wrapped calls.

A closed-book question to which a reader abstains with confidence 0 is no call: readers that copy have nothing to read then, and run no
model.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

from genir.protocols import Generation, Generator, IdentifierWriter, Retriever, SamplingParams, TokenCounter
from genir.records import Answer, DocIDTokens, Document, Query, Run, Verdict
from rag.packing import count_words
from rag.reading import GeneratorReader, Reader, Reading, stream_generation
from rag.verification import Statement, Support, SupportChecker, verdicts_of


@dataclass(frozen=True, slots=True)
class Cost:
    """Totals; `+` and `-` add them up and take them apart."""

    calls: int = 0
    searches: int = 0
    checks: int = 0
    tokens: int = 0
    words: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        mine, theirs = asdict(self), asdict(other)
        return Cost(**{key: mine[key] + theirs[key] for key in mine})

    def __sub__(self, other: "Cost") -> "Cost":
        mine, theirs = asdict(self), asdict(other)
        return Cost(**{key: mine[key] - theirs[key] for key in mine})

    def times(self, share: float) -> "Cost":
        """This much of it; counts are rounded to whole ones."""
        mine = asdict(self)
        return Cost(**{key: value * share if key == "seconds" else round(value * share) for key, value in mine.items()})

    def each(self, questions: int) -> dict[str, float]:
        """The cost a question; zeros where there was none."""
        return {key: value / questions if questions else 0.0 for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Call:
    """A prompt that a model ran, and what it wrote behind that."""

    prompt: str
    reply: str


# The question's number, a model, a prompt that it read, and what it wrote behind that.
Note = Callable[[int, Generator, str, Generation], None]
Asked = TypeVar("Asked", GeneratorReader, Reader, Generator)


@runtime_checkable
class NotingReader(Reader, Protocol):
    """A reader that runs a model in a way of its own, and says what the model read and wrote."""

    def noting(self, note: Note) -> Reader:
        """The same reader, calling `note` once for every prompt that its model runs."""
        ...


class Meter:
    """Counts what is done through its wrappers; `spent` says how much, so far.

    `calls`: query_id -> the calls that were made for that answer, in order; those of nobody in particular (see `asked_for`) are counted
    alone.
    """

    def __init__(self) -> None:
        self.spent = Cost()
        self.calls: dict[str, list[Call]] = {}

    def add(self, cost: Cost) -> None:
        """Count something."""
        self.spent += cost

    def ran(self, model: Generator, prompt: str, generation: Generation, owner: str | None) -> None:
        """Count a prompt of a model and what was written behind it, and keep both where they are `owner`'s."""
        written = Cost(tokens=len(generation.tokens)) if generation.tokens else _length(model, [generation.text])
        self.add(_length(model, [prompt]) + written + Cost(calls=1))
        if owner is not None:
            self.calls.setdefault(owner, []).append(Call(prompt, generation.text))

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Count the seconds inside; those of a failure, too."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(Cost(seconds=time.perf_counter() - begun))

    def reader(self, reader: Reader) -> Reader:
        """The reader, counted."""
        if isinstance(reader, GeneratorReader):
            return replace(reader, generator=self.generator(reader.generator))
        return _NotingReader(reader, self) if isinstance(reader, NotingReader) else _Reader(reader, self)

    def generator(self, generator: Generator) -> Generator:
        """The generator, counted; it counts tokens where the original does."""
        return (_CountingGenerator if isinstance(generator, TokenCounter) else _Generator)(generator, self)

    def retriever(self, retriever: Retriever) -> Retriever:
        """The retriever, counted; it writes identifiers where the original does."""
        return _Retriever(retriever, self)

    def checker(self, checker: SupportChecker) -> SupportChecker:
        """The checker, counted."""
        return _Checker(checker, self)


@dataclass(frozen=True)
class _Reader:
    inner: Reader
    meter: Meter

    @property
    def name(self) -> str:
        return self.inner.name

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        with self.meter.clock():
            readings = self.inner.read(questions, passages)
        for question, found, reading in zip(questions, passages, readings, strict=True):
            if found or not reading.abstained or reading.confidence:
                told = [passage.title_and_text for passage in found]
                self.meter.add(_length(self.inner, [question, reading.text, *told]) + Cost(calls=1))
        return readings


@dataclass(frozen=True)
class _NotingReader:
    inner: NotingReader
    meter: Meter
    owners: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.inner.name

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        runs: list[tuple[int, Generator, str, Generation]] = []
        with self.meter.clock():
            readings = self.inner.noting(lambda *run: runs.append(run)).read(questions, passages)
        for row, model, prompt, generation in runs:
            self.meter.ran(model, prompt, generation, self.owners[row] if self.owners else None)
        return readings


@dataclass(frozen=True)
class _Generator:
    inner: Generator
    meter: Meter
    owners: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.inner.name

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        with self.meter.clock():
            done = self.inner.generate(prompts, params)
        owners = self.owners or (None,) * len(prompts)
        for prompt, generation, owner in zip(prompts, done, owners, strict=True):
            self.meter.ran(self.inner, prompt, generation, owner)
        return done

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        yield from (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The seconds are those that the generator takes, not those of who looks on."""
        pieces: list[str] = []
        stream = stream_generation(self.inner, prompt, params)
        while True:
            with self.meter.clock():
                piece = next(stream, None)
            if piece is None:
                break
            if isinstance(piece, str):
                pieces.append(piece)
            yield piece
        self.meter.add(_length(self.inner, [prompt, "".join(pieces)]) + Cost(calls=1))


@dataclass(frozen=True)
class _CountingGenerator(_Generator):
    def count_tokens(self, text: str) -> int:
        assert isinstance(self.inner, TokenCounter)
        return self.inner.count_tokens(text)

    def context_length(self) -> int | None:
        assert isinstance(self.inner, TokenCounter)
        return self.inner.context_length()


@dataclass(frozen=True)
class _Retriever:
    inner: Retriever
    meter: Meter

    @property
    def name(self) -> str:
        return self.inner.name

    def search(self, queries: Sequence[Query], k: int) -> Run:
        with self.meter.clock():
            run = self.inner.search(queries, k)
        self.meter.add(Cost(searches=len(queries)))
        return run

    def written(self, doc_ids: Sequence[str]) -> Mapping[str, tuple[DocIDTokens, str]]:
        return self.inner.written(doc_ids) if isinstance(self.inner, IdentifierWriter) else {}


@dataclass(frozen=True)
class _Checker:
    inner: SupportChecker
    meter: Meter

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return verdicts_of(self.inner)

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        with self.meter.clock():
            found = self.inner.check(statements)
        self.meter.add(Cost(checks=len(statements)))
        return found


def asked_for(model: Asked, answers: Sequence[Answer]) -> Asked:
    """The counted reader or generator, to be asked once, with one question or prompt for each of `answers`: its meter keeps the calls as
    theirs. Itself where it has no prompts, or where nothing is counted.
    """
    if isinstance(model, GeneratorReader):
        return replace(model, generator=asked_for(model.generator, answers))
    if isinstance(model, _Generator | _NotingReader):
        return replace(model, owners=tuple(one.query_id for one in answers))
    return model


def _length(model: object, texts: Sequence[str]) -> Cost:
    """The length of texts, in the unit that a model counts in."""
    if isinstance(model, TokenCounter):
        return Cost(tokens=sum(map(model.count_tokens, texts)))
    return Cost(words=sum(map(count_words, texts)))
