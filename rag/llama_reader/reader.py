"""The reader `llama`: a small LLaMA that says whether the sentences answer, and copies the answer out of them. It writes none of its own.

Of all passages the sentences that share most with the question are read (`rag.llama_reader.evidence`). The model
first writes [ANSWER] or [NONE]: P([ANSWER]) is the probability that the evidence answers. Behind [ANSWER] it writes
what it copies, greedily; the longest beginning of them that is a run of whole words of one sentence is looked
for there, and quoted from the passage, so that every answer has its characters. An answer that begins with no word of
the evidence is none. The confidence is P([ANSWER]) P(answer | [ANSWER]), with its log-odds divided by the temperature
that calibration found; below `min_confidence` the reader abstains.

It can only copy: what it answers stands in a passage, word for word; an instruction in a question or passage is text like any other;
and closed-book, without passages, it always abstains.

Served by the project's LLaMA engine (`LlamaReader.load`); `of_model` reads with a network in memory, as training
does. Known gap: greedy, so that one answer a question is scored, not the most probable of all spans.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genir.devices import Precision, autocast, pick_device
from genir.errors import ConfigError
from genir.manifest import write_json
from genir.protocols import Generation, SamplingParams
from genir.records import Document
from rag.generators.hf import HFGenerator
from rag.llama_reader.evidence import Evidence, EvidenceMaker
from rag.llama_reader.network import ANSWERS, NONE, load_tokenizer, save_network, unpacked
from rag.prompt import UNKNOWN
from rag.reader_settings import read_reader_settings
from rag.reading import Reading
from rag.span.storage import Storage

SETTINGS_FILE = "llama_reader.json"

Write = Callable[[Sequence[Sequence[int]], int], list[Generation]]  # prompts in tokens, most new tokens -> what follows


@dataclass(frozen=True, slots=True)
class LlamaReaderSettings:
    """What travels with the weights. Lengths are in tokens; `min_confidence`: the reader abstains below it."""

    max_evidence_tokens: int = 80
    max_question_tokens: int = 40
    max_answer_tokens: int = 24
    echo: bool = False  # the evidence is read twice
    temperature: float = 1.0
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if min(self.max_evidence_tokens, self.max_question_tokens, self.max_answer_tokens) < 1:
            raise ConfigError(f"impossible settings: {self}; expected lengths of at least 1")
        if self.temperature <= 0 or self.min_confidence > 1:
            raise ConfigError(f"impossible settings: {self}; expected temperature > 0 and min_confidence <= 1")

    @property
    def longest(self) -> int:
        """Most tokens of a prompt with its answer."""
        evidence = self.max_evidence_tokens * (2 if self.echo else 1)
        return evidence + self.max_question_tokens + self.max_answer_tokens + 8

    def maker(self, tokenizer: Any) -> EvidenceMaker:
        """Makes evidence and prompts as the model learnt to read them."""
        return EvidenceMaker(tokenizer, self.max_evidence_tokens, self.max_question_tokens, self.echo)


@dataclass(frozen=True, slots=True)
class Answered:
    """What was written to one question: the run of evidence tokens, None for no copy, and its probability before calibration."""

    span: tuple[int, int] | None
    probability: float


class LlamaReader:
    """A trained reader. `genir train-reader llama` makes one; `save` and `load` keep it as a folder."""

    name = "llama"

    def __init__(self, write: Write, tokenizer: Any, settings: LlamaReaderSettings | None = None) -> None:
        self.write, self.tokenizer, self.settings = write, tokenizer, settings or LlamaReaderSettings()

    @classmethod
    def of_model(
        cls, model: Any, tokenizer: Any, settings: LlamaReaderSettings | None = None, precision: Precision = "auto"
    ) -> "LlamaReader":
        """A reader around a LlamaForCausalLM in memory."""
        generator = HFGenerator.of(model, _Decimal(tokenizer), "llama")

        def write(prompts: Sequence[Sequence[int]], most: int) -> list[Generation]:
            model.eval()
            with autocast(model.device, precision):
                return generator.generate([" ".join(map(str, prompt)) for prompt in prompts], _greedy(most))

        return cls(write, tokenizer, settings)

    @classmethod
    def load(cls, folder: Path, device: str = "auto", dtype: str = "auto") -> "LlamaReader":
        """The reader of a folder, served by the project's engine. Raises ArtefactError where it is missing, broken, or another's."""
        from rag.llama.engine import EngineOptions, LlamaEngine

        settings, tokenizer = read_settings(folder), load_tokenizer(folder)
        room = tempfile.TemporaryDirectory(prefix="genir-llama-")
        source = unpacked(folder, Path(room.name))
        engine = LlamaEngine(source, EngineOptions(device=pick_device(device).type, dtype=dtype), "llama")

        def write(prompts: Sequence[Sequence[int]], most: int) -> list[Generation]:
            _ = room  # an unpacked folder lives as long as its reader
            return engine.generate(prompts, _greedy(most))

        return cls(write, tokenizer, settings)

    def with_settings(self, **changes: float) -> "LlamaReader":
        """The same weights under other settings, e.g. min_confidence=0 to have every question answered."""
        return LlamaReader(self.write, self.tokenizer, replace(self.settings, **changes))  # type: ignore[arg-type]

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question; an abstention, too, holds the confidence of the answer that was not given."""
        evidence, answered = self.answer(questions, passages)
        readings = []
        for found, read, one in zip(passages, evidence, answered, strict=True):
            confidence = calibrated(one.probability, self.settings.temperature)
            if read is None or one.span is None or confidence < self.settings.min_confidence:
                readings.append(Reading(UNKNOWN, abstained=True, confidence=confidence, probability=confidence))
                continue
            passage, (start, end) = read.place(*one.span)
            text = found[passage].text[start:end]
            readings.append(
                Reading(text, confidence=confidence, passage=passage, span=(start, end), probability=confidence)
            )
        return readings

    def answer(
        self, questions: Sequence[str], passages: Sequence[Sequence[Document]]
    ) -> tuple[list[Evidence | None], list[Answered]]:
        """What was read for each question, and what was written to it."""
        maker, longest = self.settings.maker(self.tokenizer), self.settings.max_answer_tokens
        asked = [maker.question(question) for question in questions]
        evidence = [maker.evidence(one, found) for one, found in zip(asked, passages, strict=True)]
        answered = [Answered(None, 0.0)] * len(asked)
        yes, none, end = (self._id(token) for token in (ANSWERS, NONE, self.tokenizer.sep_token))
        prompts = {row: maker.prompt(asked[row], read) for row, read in enumerate(evidence) if read is not None}
        if not prompts:
            return evidence, answered
        shares: dict[int, float] = {}
        for row, one in zip(prompts, self.write(list(prompts.values()), 1), strict=True):
            share = math.exp(one.logprobs[0])
            shares[row] = share if one.tokens[0] == yes else 1 - share if one.tokens[0] == none else 0.0
        forced = [[*prompt, yes] for prompt in prompts.values()]
        for row, one in zip(prompts, self.write(forced, longest + 1), strict=True):
            read = evidence[row]
            assert read is not None
            tokens = list(one.tokens)
            span = read.find(tokens[: tokens.index(end)] if end in tokens else tokens)
            answered[row] = Answered(span, shares[row] * math.exp(math.fsum(one.logprobs)) if span else 0.0)
        return evidence, answered

    def _id(self, token: str) -> int:
        number: int = self.tokenizer.convert_tokens_to_ids(token)
        return number


def save_reader(
    folder: Path, tokenizer: Any, model: Any, settings: LlamaReaderSettings, storage: Storage = "float32"
) -> None:
    """Write config.json, the tokenizer, the weights and the settings into `folder`, ordinary or packed."""
    save_network(folder, tokenizer, model, storage)
    write_json(folder / SETTINGS_FILE, asdict(settings))


def read_settings(folder: Path) -> LlamaReaderSettings:
    """The settings of a saved reader. Raises ArtefactError where there are none."""
    return read_reader_settings(folder / SETTINGS_FILE, LlamaReaderSettings, "genir train-reader llama")


def calibrated(probability: float, temperature: float) -> float:
    """A probability with its log-odds divided by `temperature`."""
    if not 0 < probability < 1:
        return probability
    return 1 / (1 + math.exp(-math.log(probability / (1 - probability)) / temperature))


def _greedy(most: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=most)


class _Decimal:
    """A tokenizer whose texts are token ids in decimal, for a generator that takes text only."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pad_token_id, self.eos_token_id = tokenizer.pad_token_id, tokenizer.sep_token_id

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [int(token) for token in text.split()]}

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool = True) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)
        return text
