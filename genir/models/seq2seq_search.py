"""The decoder's side of a search with an encoder-decoder: a `NextToken` over Hugging Face's decoder.

`SharedSearch` keeps everything about a text once a text and moves nothing (`beam_attention`). `RowSearch` keeps a row
for every beam and reorders it: for architectures that bring their own attention.

Shape letters: B texts, T text tokens, N live beams, F fan-out, D hidden size, V identifier vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genir.devices import Precision, autocast
from genir.models.beam_tree import BeamTree
from genir.models.projection import project

START = -1  # stands for the token in front of every identifier


@dataclass(frozen=True)
class Decoder:
    """A network's decoder with its way in and out: what it reads for identifier tokens, and how states become logits.

    `read` turns previous tokens (N, S), START in front, into the decoder's keyword arguments; `weight` (V, D) and
    `bias` (V,) project states times `scale`.
    """

    layers: Any
    read: Callable[[Tensor], dict[str, Tensor]]
    weight: Tensor
    bias: Tensor | None
    scale: float
    precision: Precision

    def logits(self, states: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Logits (..., V) of states (..., D); or (N, F) of states (N, D) for the tokens `allowed` (N, F)."""
        return project(states * self.scale, self.weight, allowed, self.bias)


class SharedSearch:
    """One search over a batch of texts: encoder states (B, T, D) and mask (B, T)."""

    def __init__(self, decoder: Decoder, states: Tensor, mask: Tensor) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        from genir.models.beam_attention import tree_cache

        self.decoder, self.states = decoder, states
        self.mask = mask.bool()[:, None, None]
        self.tree = BeamTree(len(states), states.device)
        self.cache = EncoderDecoderCache(tree_cache(self.tree), DynamicCache())

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, parents: Tensor | None, allowed: Tensor | None) -> Tensor:
        """See `genir.protocols.NextToken`."""
        previous = self.tree.texts.new_full((len(self.states),), START) if parents is None else tokens
        if parents is not None:
            self._follow(parents)
        with autocast(self.states.device, self.decoder.precision):
            hidden = self.decoder.layers(
                **self.decoder.read(previous[:, None]),
                attention_mask=self.tree.mask,
                encoder_hidden_states=self.states,
                encoder_attention_mask=self.mask,
                past_key_values=self.cache,
                use_cache=True,
                beams=self.tree,
            ).last_hidden_state
            return self.decoder.logits(hidden[:, 0], allowed).float()

    def _follow(self, parents: Tensor) -> None:
        remaining = self.tree.follow(parents)
        if remaining is not None:
            self.states, self.mask = self.states[remaining], self.mask[remaining]
            for layer in self.cache.self_attention_cache.layers:
                layer.keep(remaining)
            self.cache.cross_attention_cache.batch_select_indices(remaining)


class RowSearch:
    """The same with a row of states, mask and caches for every beam."""

    def __init__(self, decoder: Decoder, states: Tensor, mask: Tensor) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        self.decoder, self.states, self.mask = decoder, states, mask
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, parents: Tensor | None, allowed: Tensor | None) -> Tensor:
        """See `genir.protocols.NextToken`."""
        if parents is None:
            previous = torch.full((len(self.states),), START, device=self.states.device)
        else:
            previous, self.states, self.mask = tokens, self.states[parents], self.mask[parents]
            self.cache.reorder_cache(parents)
        with autocast(self.states.device, self.decoder.precision):
            hidden = self.decoder.layers(
                **self.decoder.read(previous[:, None]),
                encoder_hidden_states=self.states,
                encoder_attention_mask=self.mask,
                past_key_values=self.cache,
                use_cache=True,
            ).last_hidden_state
            return self.decoder.logits(hidden[:, 0], allowed).float()
