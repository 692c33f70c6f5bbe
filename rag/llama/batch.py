"""What travels between the scheduler and the stages: a micro-batch on the way out, its tokens on the way back.

A micro-batch says everything that a stage has to know, so that a stage keeps nothing but weights and the KV cache. It goes to every
stage as JSON (a few hundred bytes for a decode step); hidden states travel by themselves, and token ids come back.

Shape letters: T tokens of the micro-batch, S sequences in it.
"""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """How the token behind a sequence is chosen. `uniform` in [0, 1) is the only randomness, drawn by the scheduler.

    `penalised` are the distinct tokens under the repetition penalty; `top` asks for that many best tokens with their
    log-probabilities (beam search chooses by itself).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    uniform: float = 0.0
    penalty: float = 1.0
    penalised: tuple[int, ...] = ()
    logprob: bool = False
    top: int = 0

    @classmethod
    def from_json(cls, plain: list[Any]) -> "Choice":
        """From its fields in order."""
        temperature, top_k, top_p, uniform, penalty, penalised, logprob, top = plain
        return cls(temperature, top_k, top_p, uniform, penalty, tuple(penalised), logprob, top)


@dataclass(slots=True)
class MicroBatch:
    """Sequences that go through the stages together, all of them in prefill or all in decode (one token each).

    `tokens` (T,) are new; sequence s has `counts[s]` of them, from position `starts[s]` on, and keeps keys and values in the blocks
    `tables[s]`. `copies` are (from, to) blocks to copy before anything else. `choices[s]` is None where no token is wanted yet.
    """

    number: int
    decode: bool
    tokens: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    tables: list[list[int]] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    choices: list[Choice | None] = field(default_factory=list)

    def add(self, tokens: list[int], start: int, table: list[int], choice: Choice | None) -> None:
        """One sequence more: its new tokens, the position of the first, its blocks."""
        self.tokens += tokens
        self.starts.append(start)
        self.counts.append(len(tokens))
        self.tables.append(table)
        self.choices.append(choice)

    def to_json(self) -> list[object]:
        """The same as plain lists."""
        choices = [None if c is None else [getattr(c, name) for name in Choice.__slots__] for c in self.choices]
        tables = [self.tokens, self.starts, self.counts, self.tables, self.copies]
        return [self.number, self.decode, *tables, choices]

    @classmethod
    def from_json(cls, plain: list[Any]) -> "MicroBatch":
        """The inverse of `to_json`."""
        number, decode, tokens, starts, counts, tables, copies, choices = plain
        made = [None if choice is None else Choice.from_json(choice) for choice in choices]
        pairs = [(source, target) for source, target in copies]
        return cls(number, decode, tokens, starts, counts, tables, pairs, made)


@dataclass(slots=True)
class StepResult:
    """What the last stage says about a micro-batch: per sequence a token (-1: none was wanted), its log-probability, best tokens."""

    number: int
    tokens: list[int]
    logprobs: list[float]
    tops: list[list[tuple[int, float]]]

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps([self.number, self.tokens, self.logprobs, self.tops]).encode()

    @classmethod
    def from_json(cls, plain: list[Any]) -> "StepResult":
        """The inverse of `to_bytes`, from what json.loads makes of it."""
        number, tokens, logprobs, tops = plain
        return cls(number, tokens, logprobs, [[(token, score) for token, score in top] for top in tops])
