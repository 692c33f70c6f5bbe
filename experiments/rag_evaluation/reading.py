"""Questions and their evidence -> answers, with their prompts, measures and cost; every list of answers is kept, and reused where
current.

A folder below `work` holds one list: answers.jsonl, prompts.json, where steps asked something of a model calls.jsonl, and, last, its
manifest; beside them values.json, what the measures make of the list, kept as long as neither they nor the checkers change. The folder's
name is a digest of what decides the answers: questions, passages as they were shown, earlier turns, reader, checker, k. Known gaps: a
model that is served elsewhere, or named on a hub, is known by its name alone, and the code of readers and steps not at all; where one of
them changes, so must --work.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import genir.words
import rag
from experiments.rag_evaluation.arms import Playback, Rankings
from experiments.rag_evaluation.calls import kept_calls, write_calls
from experiments.rag_evaluation.models import load_model
from experiments.reading import LLAMA_WEIGHTS, SPAN_WEIGHTS
from genir.formats import read_answers, write_answers
from genir.manifest import MANIFEST, is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.protocols import Generation, Generator, SamplingParams, TokenCounter
from genir.records import Answer, Document, Query
from rag.answering import answer
from rag.conversation import Turn
from rag.measures.per_question import PerQuery, measure_answers
from rag.mitigations.cost import Call, Cost, Meter
from rag.reading import GeneratorReader, Reader, stream_generation
from rag.verification import SupportChecker
from retrievers.index_files import read_json

STAGE = "grounded answers"
_ANSWERS, _PROMPTS, _VALUES = "answers.jsonl", "prompts.json", "values.json"


@dataclass(frozen=True)
class Evidence:
    """What a reader gets. `playback` None: closed-book. `changed`: documents that stand in no corpus, by doc_id.

    `turns`: what went before each question, or nothing at all. `searched`: what finding the passages took, which every reading of them
    costs, too.
    """

    queries: tuple[Query, ...]
    playback: Playback | None = None
    changed: Mapping[str, Document] = field(default_factory=dict)
    turns: tuple[tuple[Turn, ...], ...] = ()
    searched: Cost = field(default_factory=Cost)

    @property
    def rankings(self) -> Rankings:
        """Of all questions; empty closed-book."""
        return {} if self.playback is None else self.playback.rankings


@dataclass(frozen=True)
class Answered:
    """One list of answers: the prompt behind each where the reader has prompts (None: it was not asked, or has none), the measures question
    by question, and the cost of all: searching, reading, and every step behind it. `calls`: what the steps behind the reading asked of
    models, one by one, for each answer; empty where there was no step, or none that asked.
    """

    queries: tuple[Query, ...]
    answers: tuple[Answer, ...]
    prompts: tuple[str | None, ...]
    values: PerQuery
    cost: Cost
    calls: Iterable[Sequence[Call]] = ()


@dataclass(frozen=True)
class Restated:
    """A condenser for readers that know no conversation: the first question, with the new utterance behind it."""

    def condense(self, questions: Sequence[str], turns: Sequence[Sequence[Turn]]) -> list[str]:
        """See rag.conversation.Condenser."""
        return [
            f"{earlier[0].question} {question}" if earlier else question
            for question, earlier in zip(questions, turns, strict=True)
        ]


@dataclass(frozen=True)
class AnswerStore:
    """Answers kept below `work`. `inputs`: sha256 of what they all hang on (data set, checker)."""

    work: Path
    documents: Mapping[str, Document]
    checker: SupportChecker
    inputs: Mapping[str, str]
    k: int = 3

    def read(self, evidence: Evidence, reader: Reader, fingerprint: str) -> Answered:
        """The reader's answers to `evidence`, read now unless they are kept; `fingerprint` tells readers apart."""
        shown = {
            query.query_id: [one.doc_id for one in evidence.rankings.get(query.query_id, ())[: self.k]]
            for query in evidence.queries
        }
        about = {
            "queries": [asdict(query) for query in evidence.queries],
            "retriever": None if evidence.playback is None else evidence.playback.name,
            "passages": shown,
            "changed": {doc_id: asdict(one) for doc_id, one in evidence.changed.items()},
            "turns": [[asdict(turn) for turn in turns] for turns in evidence.turns],
            "reader": fingerprint,
            "k": self.k,
        }
        kept = self.keep(about, evidence, lambda: self._read(evidence, reader))
        return replace(kept, cost=kept.cost + evidence.searched)

    def keep(self, about: Mapping[str, Any], evidence: Evidence, make: Callable[[], Answered]) -> Answered:
        """What `make` gives, or gave for the same `about`, its cost included, measured."""
        digest = hashlib.sha256(json.dumps([about, dict(self.inputs)], sort_keys=True).encode()).hexdigest()
        folder, config = self.work / "answers" / digest[:16], {"answers": digest}
        if not is_current(folder, STAGE, config, self.inputs):
            made = make()
            (folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
            write_answers(made.answers, folder / _ANSWERS)
            write_json(folder / _PROMPTS, made.prompts)
            write_calls(made.calls, folder)
            write_manifest(folder, STAGE, config, self.inputs, cost=asdict(made.cost))
        cost = read_manifest(folder, STAGE, "genir rag eval")["facts"]["cost"]
        answers = tuple(read_answers(folder / _ANSWERS))
        prompts = tuple(read_json(folder / _PROMPTS))
        values = self._measured(answers, evidence, folder / _VALUES)
        return Answered(evidence.queries, answers, prompts, values, Cost(**cost), kept_calls(folder))

    def _measured(self, answers: Sequence[Answer], evidence: Evidence, path: Path) -> PerQuery:
        """The values of a list, kept in the file `path` with the digest of the code that measured them."""
        kept = read_json(path) if path.is_file() else {}
        if kept.get("measured_by") != measuring_code():
            documents = {**self.documents, **evidence.changed}
            values = measure_answers(answers, evidence.queries, documents, self.checker)
            kept = {"measured_by": measuring_code(), "values": values}
            write_json(path, kept)
        found: PerQuery = kept["values"]
        return found

    def _read(self, evidence: Evidence, reader: Reader) -> Answered:
        """The answers with what reading took; loading the model is not counted, nor are the verdicts on the claims."""
        load_model(reader)
        prompts: list[str] = []
        meter = Meter()
        # A wrapped reader hides whether it knows conversations; one over a generator is wrapped inside.
        inside = isinstance(reader, GeneratorReader)
        counted = meter.reader(_recorded(reader, prompts)) if inside or not evidence.turns else reader
        answers = answer(
            evidence.queries,
            evidence.playback,
            counted,
            {**self.documents, **evidence.changed},
            self.k,
            conversations=evidence.turns,
            condenser=Restated() if evidence.turns else None,
            checker=self.checker,
        )
        asked = iter(prompts)
        told = [next(asked, None) if evidence.playback is None or one.passages else None for one in answers]
        return Answered(evidence.queries, tuple(answers), tuple(told), {}, meter.spent)


@cache
def measuring_code() -> str:
    """The sha256 of the measures, the checkers with their weights, and what both rest on."""
    package = Path(rag.__file__).parent
    parts = [package / "measures", package / "checkers"]
    files = [
        Path(genir.words.__file__),
        *sorted(package.glob("*.py")),
        *(path for part in parts for path in sorted(part.rglob("*"))),
    ]
    kept = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    told = [[path.relative_to(package.parent).as_posix(), sha256_of(path)] for path in kept]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def fingerprint(name: str) -> str:
    """What tells the reader of `--generator NAME` from another: the sha256 of its folder where it has one, behind its settings; else its
    name."""
    source = name.partition(":")[2] or name
    folder, settings = _folder(source, name), ""
    if not folder.is_dir():
        bare, _, settings = source.partition(",")
        folder = _folder(bare, name.partition(",")[0])
    kind = name.partition(":")[0] if ":" in name else "folder"
    return " ".join(filter(None, (kind, settings, sha256_of(folder)))) if folder.is_dir() else name


def _folder(source: str, name: str) -> Path:
    """The folder of weights that ship under a name, else that of a source."""
    return {"span": SPAN_WEIGHTS, "llama": LLAMA_WEIGHTS}.get(name, Path(source))


@dataclass(frozen=True)
class _Recorder:
    """A generator whose prompts are kept, and its generations where it does not stream."""

    inner: Generator
    prompts: list[str]
    generations: list[Generation] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        self.prompts.extend(prompts)
        done = self.inner.generate(prompts, params)
        self.generations.extend(done)
        return done

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        return (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        self.prompts.append(prompt)
        return stream_generation(self.inner, prompt, params)


@dataclass(frozen=True)
class _CountingRecorder(_Recorder):
    """The same over a generator that counts tokens."""

    def count_tokens(self, text: str) -> int:
        assert isinstance(self.inner, TokenCounter)
        return self.inner.count_tokens(text)

    def context_length(self) -> int | None:
        assert isinstance(self.inner, TokenCounter)
        return self.inner.context_length()


def _recorded(reader: Reader, prompts: list[str]) -> Reader:
    """The reader, keeping its prompts; itself where it has none."""
    return replace(reader, generator=_recorder(reader, prompts)) if isinstance(reader, GeneratorReader) else reader


def _recorder(reader: GeneratorReader, prompts: list[str]) -> _Recorder:
    return (_CountingRecorder if isinstance(reader.generator, TokenCounter) else _Recorder)(reader.generator, prompts)


def generated(
    reader: GeneratorReader, questions: Sequence[str], passages: Sequence[Sequence[Document]]
) -> list[Generation]:
    """What the reader's generator writes, as it comes, before anything is made of it: one generation a question."""
    recorder = _recorder(reader, [])
    replace(reader, generator=recorder).read(questions, passages)
    return recorder.generations
