"""Context-aware decoding (Shi et al. 2023, arXiv:2305.14739): what the evidence adds is amplified, what the model knew by heart held down.

Every next token is chosen by

    softmax[(1 + alpha) logits(y | evidence, question, y_<t) - alpha logits(y | question, y_<t)]      (section 2.2)

so that alpha 0 is plain decoding. It is the same distribution as Hugging Face's `guidance_scale` 1 + alpha with the closed-book prompt as
the negative one (tested). For any Hugging Face causal model, and so for every LLaMA folder; the loop is `HFGenerator`'s own, over a model
that runs twice.

Invariants: a row's result does not depend on its batch; log-probabilities are those of the contrasted distribution. Known gaps: an
abstention is a text like any other, and is amplified or held down like one; a token costs two steps of the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch

from genir.errors import ConfigError
from genir.protocols import Generation, SamplingParams
from genir.records import Document
from rag.generators.hf import HFGenerator
from rag.mitigations.cost import Note
from rag.prompt import PromptTemplate
from rag.reading import GeneratorReader, Reading

ALPHA = 0.5


def contrast(with_evidence: torch.Tensor, without: torch.Tensor, alpha: float) -> torch.Tensor:
    """Logits of shape (..., V), like both arguments: (1 + alpha) with - alpha without."""
    return (1 + alpha) * with_evidence - alpha * without


@dataclass(frozen=True)
class ContrastiveDecoder:
    """Decodes pairs of prompts over the model of a `HFGenerator`."""

    source: HFGenerator
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise ConfigError(f"alpha {self.alpha}: expected a finite number, 0 (plain decoding) or more")

    def generate(self, prompts: Sequence[str], closed: Sequence[str], params: SamplingParams) -> list[Generation]:
        """One generation a pair of prompts, with evidence and without, in order; errors are those of `HFGenerator.generate`.

        Raises ConfigError where one prompt with evidence has two without.
        """
        tokenizer, model = self.source.load()
        pairs: dict[tuple[int, ...], list[int]] = {}
        for one, other in zip(prompts, closed, strict=True):
            without = self.source.tokens(other)
            if pairs.setdefault(tuple(self.source.tokens(one)), without) != without:
                raise ConfigError(f"prompt {one[:40]!r}: has two different prompts without evidence; expected one")
        twice = HFGenerator.of(
            _Twice(model, self.alpha, pairs), tokenizer, self.source.name, self.source.batch_size, self.source.chat
        )
        return twice.generate(prompts, params)


@dataclass(frozen=True)
class ContrastiveReader:
    """A reader that decodes by contrast; prompts and settings are those of its `reader`, which must have a Hugging Face model.

    Closed-book it decodes plainly: there is nothing to contrast. `note` hears of every prompt that the model runs: of both where it runs
    twice.
    """

    reader: GeneratorReader
    alpha: float = ALPHA
    note: Note | None = None

    @property
    def name(self) -> str:
        """The generator's name."""
        return self.reader.name

    @property
    def template(self) -> PromptTemplate:
        """The reader's."""
        return self.reader.template

    @property
    def generator(self) -> HFGenerator:
        """The reader's. Raises ConfigError for one of another kind."""
        generator = self.reader.generator
        if not isinstance(generator, HFGenerator):
            raise ConfigError(f"generator {self.name!r}: context-aware decoding needs a Hugging Face causal model (hf)")
        return generator

    def noting(self, note: Note) -> "ContrastiveReader":
        """See rag.mitigations.cost.NotingReader."""
        return replace(self, note=note)

    def count_tokens(self, text: str) -> int:
        """The generator's."""
        return self.generator.count_tokens(text)

    def context_length(self) -> int | None:
        """The generator's."""
        return self.generator.context_length()

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[Document]]) -> list[Reading]:
        """One reading a question."""
        decoder = ContrastiveDecoder(self.generator, self.alpha)
        prompts = [self.reader.prompt(*one) for one in zip(questions, passages, strict=True)]
        rows = [row for row, found in enumerate(passages) if found]
        closed = [row for row, found in enumerate(passages) if not found]
        bare = {row: self.reader.prompt(questions[row], ()).text for row in rows}
        told = [prompts[row].text for row in rows]
        contrasted = decoder.generate(told, list(bare.values()), self.reader.params) if rows else []
        plain = self.generator.generate([prompts[row].text for row in closed], self.reader.params) if closed else []
        done = dict(zip((*rows, *closed), (*contrasted, *plain), strict=True))
        if self.note is not None:
            for row, generation in done.items():
                self.note(row, self.generator, prompts[row].text, generation)
                if row in bare:
                    self.note(row, self.generator, bare[row], generation)
        return [self.reader.reading(prompt, done[row]) for row, prompt in enumerate(prompts)]


@dataclass
class _Caches:
    """Keys and values of both runs, and the mask (B, T) of the one without evidence."""

    told: Any
    known: Any
    mask: torch.Tensor


@dataclass
class _Output:
    """What `HFGenerator` reads of a model's output. Shape: logits (B, 1, V)."""

    logits: torch.Tensor
    past_key_values: _Caches


class _Twice:
    """A model that runs twice a step and gives the contrasted logits; it knows the prompts without evidence by those with."""

    def __init__(self, model: Any, alpha: float, pairs: Mapping[tuple[int, ...], list[int]]) -> None:
        self.model, self.alpha, self.pairs = model, alpha, pairs
        self.config, self.generation_config, self.device = model.config, model.generation_config, model.device
        self.takes_positions = "position_ids" in signature(model.forward).parameters

    def eval(self) -> "_Twice":
        self.model.eval()
        return self

    def __call__(self, **inputs: Any) -> _Output:
        return self.forward(**inputs)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, past_key_values: _Caches | None, use_cache: bool
    ) -> _Output:
        """Shapes: input_ids (B, S), the mask (B, T) with everything before; the first call brings the whole prompts."""
        if past_key_values is None:
            known_ids, known_mask = self._without(input_ids, attention_mask)
        else:
            known_ids = input_ids
            known_mask = torch.cat([past_key_values.mask, torch.ones_like(input_ids)], dim=1)
        told = self._run(input_ids, attention_mask, past_key_values and past_key_values.told, use_cache)
        known = self._run(known_ids, known_mask, past_key_values and past_key_values.known, use_cache)
        mixed = contrast(told.logits[:, -1:].float(), known.logits[:, -1:].float(), self.alpha)
        return _Output(mixed, _Caches(told.past_key_values, known.past_key_values, known_mask))

    def _run(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, use_cache: bool) -> Any:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        extra = {"position_ids": positions} if self.takes_positions else {}
        return self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=use_cache, **extra)

    def _without(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompts without evidence of a batch, padded on the left, and their mask."""
        bare = [self.pairs[tuple(row[kept.bool()].tolist())] for row, kept in zip(ids, mask, strict=True)]
        longest = max(map(len, bare))
        padded = [[0] * (longest - len(one)) + one for one in bare]
        masks = [[0] * (longest - len(one)) + [1] * len(one) for one in bare]
        return torch.tensor(padded, device=ids.device), torch.tensor(masks, device=ids.device)
