"""A request on its way through the engine: what was asked, what has been written, and the sequences that write it.

`Request` is the handle that the engine's callers hold; `Sequence` is the scheduler's view of one row of tokens (a request has one, or
one a beam). Only the thread that steps the engine writes to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from genir.errors import ConfigError, GenirError
from genir.protocols import Generation, SamplingParams
from rag.llama.batch import Choice
from rag.llama.beams import BeamSearch
from rag.llama.block_pool import Key
from rag.llama.sampling import uniform


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens in a row. The keys and values of the first `computed` of them are in `blocks`; `keys` name the full blocks."""

    tokens: list[int]
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are not in the cache yet."""
        return len(self.tokens) - self.computed


@dataclass(slots=True, eq=False)
class Request:
    """One prompt and its continuation so far.

    `text` is what is certain (nothing that a stop string or half a character may still change); final once `done`.
    `finish_reason` is "" while it runs, then "stop", "length", "cancelled" or "error" (then `error` says what).
    """

    id: int
    prompt_tokens: tuple[int, ...]
    params: SamplingParams
    on_update: Callable[["Request"], None] | None = field(default=None, repr=False)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""
    error: GenirError | None = None
    watched: bool = False  # whether `text` is kept up to date while it runs; else it is decoded at the end
    cancelled: bool = False
    preempted: int = 0
    flying: bool = False
    sequences: list[Sequence] = field(default_factory=list)
    beams: BeamSearch | None = None
    _taken: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.finish_reason)

    @property
    def width(self) -> int:
        """Sequences that it runs at once."""
        return self.params.num_beams

    def take(self) -> str:
        """The text that came since the last call."""
        start, self._taken = self._taken, len(self.text)
        return self.text[start:]

    def generation(self) -> Generation:
        """The finished continuation. Raises the error that ended it, if one did."""
        if self.error is not None:
            raise self.error
        return Generation(self.text, tuple(self.tokens), tuple(self.logprobs), self.finish_reason)

    def choice(self) -> Choice:
        """How the next token is chosen."""
        params = self.params
        if self.beams is not None:
            return Choice(top=self.beams.candidates)
        penalised = (
            tuple(dict.fromkeys([*self.prompt_tokens, *self.tokens])) if params.repetition_penalty != 1.0 else ()
        )
        return Choice(
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            uniform=uniform(params.seed, len(self.tokens)) if params.temperature > 0 else 0.0,
            penalty=params.repetition_penalty,
            penalised=penalised,
            logprob=params.logprobs,
        )


def check_params(params: SamplingParams) -> None:
    """Raise ConfigError, naming the field, for parameters that mean nothing."""
    rules = (
        ("max_new_tokens", params.max_new_tokens >= 1, "at least 1"),
        ("temperature", params.temperature >= 0, "at least 0 (0 is greedy)"),
        ("top_k", params.top_k >= 0, "at least 0 (0 keeps all)"),
        ("top_p", 0 < params.top_p <= 1, "above 0 and at most 1"),
        ("repetition_penalty", 0.01 <= params.repetition_penalty <= 100, "between 0.01 and 100 (1 is none)"),
        ("num_beams", params.num_beams >= 1, "at least 1"),
    )
    for name, good, expected in rules:
        if not good:
            raise ConfigError(f"{name} is {getattr(params, name)}, expected {expected}")
    if params.num_beams > 1:
        if params.temperature > 0:
            raise ConfigError("num_beams above 1 takes no temperature: beam search draws nothing; set one of them back")
        if params.stop:
            raise ConfigError("num_beams above 1 takes no stop strings: beams end at end tokens or max_new_tokens")
        if params.repetition_penalty != 1.0:
            raise ConfigError("num_beams above 1 takes no repetition_penalty; set one of them back to 1")
