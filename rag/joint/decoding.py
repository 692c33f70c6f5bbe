"""Writing on behind prompts that were read once: the search for an identifier, then passage and answer on the same keys and values.

A prompt's keys and values are computed by `begin`, and never again. The beams of the search grow out of them; when it is over, what it has
found and the passage are read in one go behind the very same prompt, and the answer token by token behind that. So a sequence is one
generation, and its states are those of reading it whole.

Rows are padded anywhere: padding is masked, and positions count real tokens.

Shape letters: B prompts, N rows, T tokens, D hidden size, V text vocabulary.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genir.devices import autocast
from genir.models.causal import CausalModel
from genir.models.causal_scoring import positions_of
from genir.models.causal_search import RowPerBeamSearch, SharedPromptSearch, prompts_can_be_shared
from genir.models.projection import project
from rag.joint.sequence import SequenceWriter

Limit = Callable[[Sequence[int]], Collection[int]]  # tokens written so far -> tokens that may follow


class _KeepsPrompts:
    """A search that leaves a cache of its prompts for what is written behind them."""

    prompts: Any

    def _keep(self, prompts: Any, attention_mask: Tensor) -> None:
        self.prompts = copy.deepcopy(prompts)  # the search moves rows about in its own
        super()._keep(prompts, attention_mask)  # type: ignore[misc]  # that of the search this is mixed into


class _SharedPrompts(_KeepsPrompts, SharedPromptSearch):
    pass


class _RowPerBeam(_KeepsPrompts, RowPerBeamSearch):
    pass


@torch.inference_mode()
def begin(
    writer: SequenceWriter, prompts: Sequence[Sequence[int]]
) -> "tuple[_SharedPrompts | _RowPerBeam, Continuation]":
    """Read B prompts once: the step function of the search (a genir.protocols.NextToken), and what goes on behind them."""
    causal = writer.causal.eval()
    if causal.shares_prompts is None:
        causal.shares_prompts = prompts_can_be_shared(causal)
    input_ids, mask = causal.pad(prompts)
    kind = _SharedPrompts if causal.shares_prompts else _RowPerBeam
    search = kind(causal, causal.network, input_ids, mask)
    return search, Continuation(writer, search.prompts, mask)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer: its tokens without the end, the log-probabilities (nats) of all of them, the end's included, and whether it ended."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False


class Continuation:
    """N rows on their way: the cache of what was read, and a mask (N, T) of it."""

    def __init__(self, writer: SequenceWriter, cache: Any, mask: Tensor) -> None:
        self.writer, self.cache, self.mask = writer, cache, mask

    @torch.inference_mode()
    def take(self, rows: Sequence[int]) -> None:
        """Go on with these rows, each once or several times."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.reorder_cache(index)
        self.mask = self.mask[index]

    @torch.inference_mode()
    def read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Read further tokens of every row, any number of them from 1 on; the states (N, D) behind the last ones."""
        causal = self.writer.causal
        ids, mask = _left_padded(rows, self.mask.device)
        self.mask = torch.cat([self.mask, mask.to(self.mask.dtype)], 1)
        positions = positions_of(self.mask)[:, -ids.shape[1] :]
        with autocast(causal.device, causal.precision):
            states = causal.states(
                causal.network, self.writer.embed(ids), self.mask, positions, keep=1, cache=self.cache
            )
        return states[:, 0]

    @torch.inference_mode()
    def write(self, states: Tensor, limits: Sequence[Limit | None]) -> list[Written]:
        """Greedily, an answer behind states (N, D), each under its limit; log-probabilities are over the whole vocabulary."""
        end, most = self.writer.end, self.writer.settings.max_new_tokens
        written = [Written() for _ in limits]
        alive = list(range(len(written)))
        while alive:
            logprobs = answer_logits(self.writer.causal, states).float().log_softmax(1).cpu()
            going: list[int] = []
            for place, row in enumerate(alive):
                one, limit = written[row], limits[row]
                token = _best(logprobs[place], None if limit is None else limit(one.tokens))
                one.logprobs.append(float(logprobs[place, token]))
                if token == end:
                    written[row] = Written(one.tokens, one.logprobs, ended=True)
                    continue
                one.tokens.append(token)
                if len(one.tokens) < most:
                    going.append(place)
            alive = [alive[place] for place in going]
            if alive:
                if len(going) < len(states):
                    self.take(going)
                states = self.read([[written[row].tokens[-1]] for row in alive])
        return written


def answer_logits(causal: CausalModel, states: Tensor) -> Tensor:
    """Logits (..., V) of text tokens from what `CausalModel.states` returned, (..., D)."""
    if causal.own_embedding is None:
        return causal.project(causal.network, states)
    head = causal.network.get_output_embeddings()
    return project(states.to(head.weight.dtype), head.weight, None, head.bias)


def _left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and mask (N, T), T no longer than the longest row: what is padding here stays in the cache."""
    T = max(map(len, rows))
    ids = torch.tensor([[0] * (T - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, torch.arange(T, 0, -1, device=device) <= lengths[:, None]


def _best(logprobs: Tensor, allowed: Collection[int] | None) -> int:
    if allowed is None:
        return int(logprobs.argmax())
    keep = sorted(allowed)
    return keep[int(logprobs[keep].argmax())]
