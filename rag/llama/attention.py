"""Attention of a micro-batch over the paged cache: one function to swap, two cases of it.

`pick_attention` names an `Attention`: what prefill does with one chunk, and what decode does with a group of single queries. "auto" is
torch's SDPA (flash-attn in half precision on a GPU, where installed). On a CPU it decodes by compiled loops that read the cache where
it lies ("compiled"), and in float16, which these do not know, by plain matrix products: SDPA's kernel there takes up to ten times as
long for a single query.

Shape letters: T new tokens of a chunk, S sequences, H query heads, KV key/value heads, G = H / KV, C positions, D size of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch.nn import functional as F

from genir.errors import ConfigError, MissingExtraError, unknown_name

ATTENTIONS = ("auto", "sdpa", "eager", "flash", "compiled")

# queries (T, H, D), keys and values (KV, C, D) where C - T positions came before -> (T, H, D)
Prefill = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
# queries (S, H, D), keys and values (KV, S, C, D), mask (S, 1, C) -> (S, H, D)
Decode = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Attention:
    """An implementation: its name, and its two functions; `paged`: decode reads the cache where it lies (`rag.llama.compiled`)."""

    name: str
    prefill: Prefill
    decode: Decode
    paged: bool = False


def pick_attention(name: str, device: torch.device, dtype: torch.dtype) -> Attention:
    """The implementation under a name. Raises ConfigError for an unknown one, or for one that cannot run there."""
    if name not in ATTENTIONS:
        raise unknown_name("attention", name, ATTENTIONS)
    if name == "compiled" and not can_compile(device, dtype):
        raise ConfigError(
            f"attention 'compiled' needs a CPU and float32 or bfloat16, got {device.type} and {dtype}; use 'auto'"
        )
    if name in ("auto", "compiled") and can_compile(device, dtype):
        return Attention("compiled", sdpa_prefill, eager_decode, paged=True)
    can_flash = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    installed = find_spec("flash_attn") is not None
    if name == "flash" and not can_flash:
        raise ConfigError(
            f"attention 'flash' needs a GPU and bfloat16 or float16, got {device.type} and {dtype}; use 'sdpa'"
        )
    if name == "flash" and not installed:
        raise MissingExtraError("flash-attn", "gpu", "attention 'flash'")
    if name == "flash" or (name == "auto" and can_flash and installed):
        return Attention("flash", flash_prefill, sdpa_decode)
    if name == "eager":
        return Attention("eager", eager_prefill, eager_decode)
    return Attention("sdpa", sdpa_prefill, eager_decode if name == "auto" and device.type == "cpu" else sdpa_decode)


def can_compile(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled loops (`rag.llama.compiled`) know such tensors."""
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16)


def sdpa_prefill(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention of a chunk by torch's fused kernel."""
    new, context, groups = queries.shape[0], keys.shape[1], queries.shape[1] // keys.shape[0]
    mask = None if new == context else _causal(new, context, queries)
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
    seen = F.scaled_dot_product_attention(
        queries.transpose(0, 1)[None], keys[None], values[None], attn_mask=mask, is_causal=mask is None
    )
    return seen[0].transpose(0, 1)


def sdpa_decode(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One query a sequence; the G query heads of a key head stand as G queries, so nothing is repeated."""
    seen = F.scaled_dot_product_attention(_by_key_head(queries, keys), keys, values, attn_mask=mask)
    return seen.transpose(0, 1).reshape(queries.shape)


def eager_prefill(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention written out: scores (KV, G, T, C) in memory, softmax in float32."""
    new, heads, size = queries.shape
    grouped = queries.transpose(0, 1).reshape(keys.shape[0], -1, new, size)
    scores = grouped @ keys[:, None].transpose(-1, -2) * size**-0.5 + _causal(new, keys.shape[1], queries)
    shares = scores.softmax(-1, dtype=torch.float32).to(queries.dtype)
    seen: torch.Tensor = (shares @ values[:, None]).view(heads, new, size).transpose(0, 1)
    return seen


def eager_decode(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The same for one query a sequence: scores (KV, S, G, C)."""
    grouped = _by_key_head(queries * queries.shape[-1] ** -0.5, keys)
    scores = (grouped @ keys.transpose(-1, -2)).add_(mask)
    shares = scores.softmax(-1, dtype=torch.float32).to(queries.dtype)
    return (shares @ values).transpose(0, 1).reshape(queries.shape)


def flash_prefill(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention by flash-attn, whose causal mask is aligned at the last position (from its version 2.1 on)."""
    flash_attn = import_module("flash_attn")
    seen: torch.Tensor = flash_attn.flash_attn_func(
        queries[None], keys.transpose(0, 1)[None], values.transpose(0, 1)[None], causal=True
    )
    return seen[0]


def _by_key_head(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Queries (S, H, D) as (KV, S, G, D)."""
    sequences, _, size = queries.shape
    return queries.view(sequences, keys.shape[0], -1, size).transpose(0, 1)


def _causal(new: int, context: int, like: torch.Tensor) -> torch.Tensor:
    """Mask (T, C), 0 or -inf: token t sees the C - T positions before the chunk, and the chunk up to itself."""
    mask = torch.full((new, context), float("-inf"), dtype=like.dtype, device=like.device)
    return mask.triu_(context - new + 1)
