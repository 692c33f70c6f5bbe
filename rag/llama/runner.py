"""One stage at work: its weights, its cache, and what it does with a micro-batch. It talks to nobody.

`StageRunner.run` turns a micro-batch, and the hidden states of the stage before, into hidden states or, in the last stage, tokens.
It counts the seconds it computes and checks that what leaves it is made of numbers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from genir.errors import GenirError
from rag.llama.batch import MicroBatch, StepResult
from rag.llama.config import LlamaConfig, RopeScaling
from rag.llama.cuda_graphs import GraphedDecode
from rag.llama.kv_cache import KVCache
from rag.llama.sampling import choose
from rag.llama.stages import StageSlice
from rag.llama.weights import load_stage, pick_dtype


class StageError(GenirError):
    """A stage died, hung, or met scores that are not numbers; the message names it."""


@dataclass(frozen=True, slots=True)
class StageSetup:
    """All that a stage needs to begin; plain values, so that it travels as JSON. `cores`: the only ones that it runs on, () for any."""

    folder: str
    number: int
    part: StageSlice
    config: LlamaConfig
    dtype: str
    device: str
    int8: bool
    attention: str
    block_size: int
    blocks: int
    threads: int
    step_timeout: float = 30.0
    cuda_graphs: bool = False
    cores: tuple[int, ...] = ()
    rendezvous: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "StageSetup":
        """The inverse of `to_json`, after JSON made lists of tuples."""
        config = dict(plain["config"])
        config |= {"rope": RopeScaling(**config["rope"]), "eos_token_ids": tuple(config["eos_token_ids"])}
        rest = {key: value for key, value in plain.items() if key not in ("part", "config")}
        rest["cores"] = tuple(rest["cores"])
        return cls(part=StageSlice(**plain["part"]), config=LlamaConfig(**config), **rest)

    def __str__(self) -> str:
        return f"stage {self.number} ({self.part})"


@dataclass(slots=True)
class StageCounters:
    """What a stage has done: seconds computing, by kind, micro-batches, and bytes of weights that it read at the start."""

    prefill_busy: float = 0.0
    decode_busy: float = 0.0
    done: int = 0
    weights_bytes_read: int = 0


class StageRunner:
    """Constructed cheaply; `load` reads the weights and allocates the cache."""

    def __init__(self, setup: StageSetup) -> None:
        self.setup = setup
        self.counters = StageCounters()
        self.computing_since: float | None = None

    def load(self) -> None:
        """Read the weights, allocate the cache. Raises ArtefactError for a broken folder, StageError where memory is too small."""
        setup = self.setup
        torch.set_num_threads(setup.threads)
        self.device, self.dtype = torch.device(setup.device), pick_dtype(setup.dtype, setup.config)
        self.stage, self.counters.weights_bytes_read = load_stage(
            Path(setup.folder), setup.config, setup.part, self.dtype, self.device, setup.int8, setup.attention
        )
        try:
            self.cache = KVCache(
                setup.config, setup.part.layers, setup.blocks, setup.block_size, self.dtype, self.device
            )
        except RuntimeError as error:
            raise StageError(
                f"{setup}: no memory for a cache of {setup.blocks} blocks ({str(error).splitlines()[0]})"
            ) from None
        if self.stage.attention.paged:
            from rag.llama.compiled import prepare

            prepare(self.dtype)
        self._graphs = GraphedDecode(self.stage, self.cache) if setup.cuda_graphs else None

    @torch.inference_mode()
    def run(self, batch: MicroBatch, hidden: torch.Tensor | None = None) -> torch.Tensor | StepResult:
        """Hidden states (T, E) for the next stage, or the tokens. Raises StageError for scores that are not numbers."""
        begin = self.computing_since = perf_counter()
        self.cache.copy(batch.copies)
        hidden = self._graphs.run(batch, hidden) if self._graphs and batch.decode else self._through(batch, hidden)
        made = self._tokens(batch, hidden) if self.setup.part.last else self._checked(hidden)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.computing_since = None
        self._count(batch.decode, perf_counter() - begin)
        return made

    def _through(self, batch: MicroBatch, hidden: torch.Tensor | None) -> torch.Tensor:
        """Hidden states (T, E) behind this stage's layers."""
        place = self.stage.place(batch, self.cache)
        if hidden is None:
            hidden = self.stage.embed(torch.tensor(batch.tokens, device=self.device))
        layers = self.stage.decode if batch.decode else self.stage.prefill
        return layers(hidden, place, self.cache)

    def _tokens(self, batch: MicroBatch, hidden: torch.Tensor) -> StepResult:
        """Tokens of the sequences that want one, from the hidden states of their last tokens."""
        wanted = [number for number, choice in enumerate(batch.choices) if choice is not None]
        result = StepResult(batch.number, [-1] * len(batch.choices), [], [])
        if not wanted:
            self._checked(hidden)
            return result
        if not batch.decode:
            ends, row = [], -1
            for count in batch.counts:
                row += count
                ends.append(row)
            hidden = hidden[torch.tensor([ends[number] for number in wanted], device=self.device)]
        choices = [choice for choice in batch.choices if choice is not None]
        tokens, logprobs, tops, finite = choose(self.stage.logits(hidden), choices)
        if not finite:
            raise self._not_numbers()
        result.logprobs = [0.0] * len(batch.choices) if logprobs else []
        result.tops = [[] for _ in batch.choices] if any(tops) else []
        for at, number in enumerate(wanted):
            result.tokens[number] = tokens[at]
            if logprobs:
                result.logprobs[number] = logprobs[at]
            if result.tops:
                result.tops[number] = tops[at]
        return result

    def _checked(self, hidden: torch.Tensor) -> torch.Tensor:
        if not bool(hidden.sum(dtype=torch.float32).isfinite()):
            raise self._not_numbers()
        return hidden

    def _not_numbers(self) -> StageError:
        name = str(self.dtype).removeprefix("torch.")
        overflow = "" if self.dtype == torch.float32 else f", or {name} overflows; try float32"
        return StageError(
            f"{self.setup} made scores that are not numbers (NaN) in {name}: its weights are broken{overflow}"
        )

    def _count(self, decode: bool, seconds: float) -> None:
        self.counters.done += 1
        if decode:
            self.counters.decode_busy += seconds
        else:
            self.counters.prefill_busy += seconds
