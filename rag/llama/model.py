"""The LLaMA decoder (Touvron et al. 2023), or any contiguous part of it: RMSNorm, RoPE, grouped attention, SwiGLU.

A `Stage` is a range of layers, with the embedding where it is the first and norm and head where it is the last. It knows a KV cache
and where a micro-batch lies in it, but no other stage, no rank and no request. Query, key and value are one product, and so are gate
and up.

Shape letters: T tokens, H query heads, KV key/value heads, D size of a head, E hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rag.llama.attention import Attention, can_compile
from rag.llama.batch import MicroBatch
from rag.llama.config import LlamaConfig
from rag.llama.kv_cache import KVCache, PagedContexts, Placement
from rag.llama.linear import FEW_ROWS
from rag.llama.rope import both_halves, inverse_frequencies, rotate, rotation


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang and Sennrich 2019)."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight, requires_grad=False), eps
        self.compiled = can_compile(weight.device, weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (T, E) -> (T, E)."""
        if self.compiled:
            from rag.llama.compiled import rms_norm

            return rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Layer(nn.Module):
    """One decoder layer; its parts are given, read from a file or made by a test."""

    def __init__(
        self,
        config: LlamaConfig,
        attention_norm: RMSNorm,
        qkv: nn.Module,
        output: nn.Module,
        mlp_norm: RMSNorm,
        gate_up: nn.Module,
        down: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm, self.qkv, self.output = attention_norm, qkv, output
        self.mlp_norm, self.gate_up, self.down = mlp_norm, gate_up, down
        self.query_heads, self.key_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values (T, H + 2 KV, D) of x (T, E), not turned by their positions yet."""
        heads: torch.Tensor = self.qkv(self.attention_norm(x))
        return heads.view(len(x), -1, self.head_dim)

    def finish(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """What attention saw (T, H, D) is added to x (T, E), then the SwiGLU block."""
        x = x + self.output(seen.reshape(len(x), -1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        x = x + self.down(F.silu(gate) * up)
        return x


class Stage(nn.Module):
    """Layers of a model, in order, with its ends where they belong to it. `embedding` (V, E)."""

    def __init__(
        self,
        config: LlamaConfig,
        layers: Sequence[Layer],
        attention: Attention,
        dtype: torch.dtype,
        device: torch.device,
        embedding: torch.Tensor | None = None,
        norm: RMSNorm | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.attention = config, attention
        self.layers = nn.ModuleList(layers)
        self.embedding = None if embedding is None else nn.Parameter(embedding, requires_grad=False)
        self.norm, self.head = norm, head
        theta, self.rope_factor = inverse_frequencies(config)
        self.theta = nn.Parameter(theta.to(device), requires_grad=False)
        self.dtype = dtype

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states (T, E) of token ids (T,); first stage only."""
        assert self.embedding is not None
        return F.embedding(tokens, self.embedding)

    def place(self, batch: MicroBatch, cache: KVCache) -> Placement:
        """Where a micro-batch lies, in the form that this stage's attention takes."""
        return cache.place(batch, self.attention.paged)

    def prefill(self, x: torch.Tensor, place: Placement, cache: KVCache) -> torch.Tensor:
        """Hidden states (T, E) through the layers: chunks of prompts, each seeing its whole context."""
        turn = self._turn(place)
        for number, layer in self._numbered():
            queries = self._store(number, layer, x, place, cache, *turn)
            seen = torch.empty_like(queries)
            for chunk in place.chunks:
                keys, values = cache.read(number, chunk.blocks, 1)
                context = keys[:, 0, : chunk.stop], values[:, 0, : chunk.stop]
                seen[chunk.rows] = self.attention.prefill(queries[chunk.rows], *context)
            x = layer.finish(x, seen)
        return x

    def decode(self, x: torch.Tensor, place: Placement, cache: KVCache) -> torch.Tensor:
        """Hidden states (T, E) through the layers: one token a sequence."""
        if place.contexts is not None:
            return self._decode_paged(x, place.positions, place.contexts, cache)
        turn = self._turn(place)
        for number, layer in self._numbered():
            queries = self._store(number, layer, x, place, cache, *turn)
            seen = [
                self.attention.decode(queries[g.rows], *cache.read(number, g.blocks, len(g.mask)), g.mask)
                for g in place.groups
            ]
            x = layer.finish(x, seen[0] if len(seen) == 1 else torch.cat(seen))
        return x

    def _decode_paged(
        self, x: torch.Tensor, positions: torch.Tensor, contexts: PagedContexts, cache: KVCache
    ) -> torch.Tensor:
        """The same by compiled loops: turning, storing and attending are one call, and no context is copied."""
        from rag.llama.compiled import paged_attention

        cos, sin = rotation(self.theta, self.rope_factor, positions)
        rows = len(x)
        if rows < FEW_ROWS:
            x = F.pad(x, (0, 0, 0, FEW_ROWS - rows))
        for number, layer in self._numbered():
            heads, numbers = layer.project(x), cache.numbers[number]
            x = layer.finish(
                x, paged_attention(heads, cos, sin, numbers, contexts.tables, contexts.starts, cache.block_size)
            )
        return x[:rows]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (T, V), float32, behind hidden states (T, E); last stage only."""
        assert self.norm is not None
        assert self.head is not None
        scores: torch.Tensor = self.head(self.norm(x))
        return scores.float()

    def _turn(self, place: Placement) -> tuple[torch.Tensor, torch.Tensor]:
        return both_halves(*rotation(self.theta, self.rope_factor, place.positions), self.dtype)

    def _numbered(self) -> Iterator[tuple[int, Layer]]:
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            yield number, layer

    @staticmethod
    def _store(
        number: int,
        layer: Layer,
        x: torch.Tensor,
        place: Placement,
        cache: KVCache,
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> torch.Tensor:
        """Queries (T, H, D) of layer `number`; its keys and values go into the cache."""
        heads = layer.project(x)
        turned = heads[:, : layer.query_heads + layer.key_heads]
        turned.copy_(rotate(turned, cos, sin))
        cache.write(number, heads[:, layer.query_heads :], place.slots)
        return heads[:, : layer.query_heads]
