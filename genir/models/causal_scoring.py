"""Exhaustive scoring with a causal model: every identifier after one prompt, teacher-forced.

The prompt is read once; identifiers read its keys and values from copies, as many at a time as memory is set aside for.

Shape letters: M identifiers, L identifier length, T prompt tokens, V identifier vocabulary.
"""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genir.devices import autocast

if TYPE_CHECKING:
    from genir.models.causal import CausalModel

_HELD_AT_ONCE = 1 << 26  # numbers held at a time, logits and cache: 256 MiB


def positions_of(mask: Tensor) -> Tensor:
    """Shape (B, T): how many real tokens stand in front of each; `mask` is 1 at these."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def score_after(model: "CausalModel", prompt: Tensor, tokens: Tensor) -> Tensor:
    """Shape (M,): log-probabilities of tokens (M, L), filled up with -1, after one prompt (1, T)."""
    from transformers import DynamicCache

    network, shape = model.network, model.network.config.get_text_config()
    L, T = tokens.shape[1], prompt.shape[1]
    held = 2 * L * model.vocab_size + 2 * T * shape.num_hidden_layers * shape.hidden_size
    at_once = max(1, _HELD_AT_ONCE // held)
    cache = DynamicCache(config=network.config)
    mask = torch.ones(1, T + L - 1, dtype=torch.int64, device=prompt.device)
    positions = positions_of(mask)
    scores = []
    with autocast(model.device, model.precision):
        read = model.states(network, model.embed_text(prompt), mask[:, :T], positions[:, :T], keep=1, cache=cache)
        first = model.project(network, read).float()
        for start in range(0, len(tokens), at_once):
            part = tokens[start : start + at_once]
            logits = first.expand(len(part), -1, -1)
            if L > 1:
                copies = copy.deepcopy(cache)
                copies.reorder_cache(torch.zeros(len(part), dtype=torch.int64, device=prompt.device))
                seen, places = (rows.expand(len(part), -1) for rows in (mask, positions[:, T:]))
                read = model.embed_identifiers(part[:, :-1])
                later = model.states(network, read, seen, places, keep=L - 1, cache=copies)
                logits = torch.cat([logits, model.project(network, later).float()], 1)
            steps = logits.gather(2, part.clamp(min=0)[..., None])[..., 0] - logits.logsumexp(2)
            scores.append(steps.masked_fill(part < 0, 0.0).sum(1))
    return torch.cat(scores)
