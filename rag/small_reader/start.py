"""Starting weights with which a small LLaMA can copy before it has learnt anything.

Copying from the prompt rests on two attention heads in a row: one looks at the token before, the next one at
whatever followed an earlier occurrence of the current token (induction heads: Olsson et al. 2022, arXiv:2209.11895).
Gradient descent finds them late, and this reader has minutes. So the start holds them already, in the spirit of mimetic
initialisation (Trockman and Kolter 2023, arXiv:2305.09828); training is free to change every weight.

How, for a residual stream of size D and heads of size H:
- token embeddings are random, except for dimension 0, which is one constant for all tokens: a place to read from for
  heads that attend by position alone;
- layer 0, head h: queries and keys read the constant only, turned against each other by rotary angles such that the
  score peaks h + 1 tokens back; the value is a random H-dimensional view of that token, written to a subspace of its
  own;
- later layers, head 0: queries see the current token, keys what layer 0 wrote about the token before, both in the
  slow rotary dimensions, where position hardly matters; head 1: queries and keys see the same token; all heads write
  what they read back into the token's own directions (values and output are transposes), where the tied output layer
  takes it for a prediction.
"""

import math
from typing import Any

import torch

_EMBEDDING_STD = 0.1
_CONSTANT = 2.0  # dimension 0, in units of the embeddings' standard deviation
_SHARPNESS = 8.0  # attention logit of a position head at its peak, per rotary frequency used
_FAST = 3  # rotary frequencies that position heads use, fastest first
_SLOW_ANGLE = 0.004  # radians a token: below, a rotary dimension carries content
_MATCH = 2.0  # gain of content queries and keys
_WRITTEN = 0.12  # gain of what layer 0 writes
_COPIED = 0.2  # gain of what later layers write
_NOISE = 0.02


@torch.no_grad()
def start_with_copying(model: Any, seed: int) -> None:
    """Set the weights of a `LlamaForCausalLM` (tied embeddings, no biases, one key head a query head) in place."""
    config = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    size = config.head_dim or hidden // heads
    random = torch.Generator().manual_seed(seed)
    theta = config.rope_parameters["rope_theta"]
    angles = theta ** (-torch.arange(size // 2) / (size // 2))
    slow = [f for f in range(size // 2) if angles[f] < _SLOW_ANGLE]
    slow += [f + size // 2 for f in slow]  # Hugging Face pairs dimension f with f + size / 2

    embeddings = model.model.embed_tokens.weight
    embeddings.normal_(0, _EMBEDDING_STD, generator=random)
    embeddings[:, 0] = _CONSTANT * _EMBEDDING_STD
    no_constant = torch.zeros(size, 1)
    view = torch.cat([no_constant, _orthonormal(size, hidden - 1, random)], 1)
    written = [torch.cat([no_constant.T, _orthonormal(hidden - 1, size, random)], 0) for _ in range(heads)]

    for index, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.normal_(0, 2 * _NOISE, generator=random)
        attention.o_proj.weight.normal_(0, _NOISE, generator=random)
        basis = _orthonormal(hidden, hidden, random)
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            if index == 0:
                query, key = _position_pair(angles, head + 1, size)
                attention.q_proj.weight[rows, 0] = query
                attention.k_proj.weight[rows, 0] = key
                attention.v_proj.weight[rows] = view
                attention.o_proj.weight[:, rows] = _WRITTEN * written[head]
                continue
            attention.v_proj.weight[rows] = basis[rows]
            attention.o_proj.weight[:, rows] = _COPIED * basis[rows].T
            content = [head * size + place for place in slow]
            if head == 0:
                attention.q_proj.weight[content] = _MATCH * view[: len(slow)]
                attention.k_proj.weight[content] = _MATCH * written[0].T[: len(slow)]
            elif head == 1:
                attention.q_proj.weight[content] = _MATCH / 2 * view[: len(slow)]
                attention.k_proj.weight[content] = _MATCH / 2 * view[: len(slow)]


def _position_pair(angles: torch.Tensor, back: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key (size,) whose rotary score, sum over f of c^2 cos((i - j - back) angle_f), peaks `back` tokens back."""
    query, key = torch.zeros(size), torch.zeros(size)
    gain = math.sqrt(_SHARPNESS * math.sqrt(size)) / _CONSTANT
    for f in range(_FAST):
        key[f] = gain
        query[f] = gain * math.cos(back * float(angles[f]))
        query[f + size // 2] = -gain * math.sin(back * float(angles[f]))
    return query, key


def _orthonormal(rows: int, columns: int, random: torch.Generator) -> torch.Tensor:
    """Random (rows, columns) with orthonormal rows or columns, whichever are fewer."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=random)
    basis: torch.Tensor = torch.linalg.qr(tall)[0]
    return basis if rows >= columns else basis.T
