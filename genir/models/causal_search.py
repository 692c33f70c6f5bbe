"""A causal model's half of a beam search: the prompt is read once a query, then one token a beam and step.

`SharedPromptSearch` keeps the prompt's keys and values once a query and moves nothing (`beam_tree`); `RowPerBeamSearch`
keeps transformers' own cache, one row a beam, and is right for every architecture. `prompts_can_be_shared` compares them on a
few made-up tokens, so that an architecture in which sharing is not exact is found out before it gives a wrong result.

Shape letters: B queries, T prompt tokens, N live beams, F tokens asked for, V identifier vocabulary.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genir.devices import autocast
from genir.errors import ConfigError
from genir.models.beam_tree import BeamTree
from genir.models.causal_scoring import positions_of

if TYPE_CHECKING:
    from genir.models.causal import CausalModel


class _PromptedSearch(ABC):
    """What both searches have in common; a subclass says what is cached, and how one token more is read."""

    def __init__(self, model: "CausalModel", network: Any, input_ids: Tensor, attention_mask: Tensor) -> None:
        """Read left-padded prompts (B, T) with `network`, which is the model's own or its twin in bfloat16."""
        from transformers import DynamicCache

        self.model, self.network = model, network
        self.lengths = attention_mask.sum(1)  # (B,), then (N,): real tokens that each row has read
        self._check_room(0)
        prompts = DynamicCache(config=network.config)
        embeddings = model.embed_text(input_ids)
        with autocast(model.device, model.precision):
            self.first = model.states(
                network, embeddings, attention_mask, positions_of(attention_mask), cache=prompts, keep=1
            )[:, 0]
        self._keep(prompts, attention_mask)

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, parents: Tensor | None, allowed: Tensor | None = None) -> Tensor:
        """See genir.protocols.NextToken."""
        model, network = self.model, self.network
        with autocast(model.device, model.precision):
            if parents is None:
                return model.project(network, self.first, allowed).float()
            self._follow(parents)
            self._check_room(1)
            states = self._read(model.embed_identifiers(tokens[:, None]), self.lengths[:, None])
            self.lengths = self.lengths + 1
            return model.project(network, states[:, 0], allowed).float()

    def _check_room(self, more: int) -> None:
        limit, needed = self.model.positions, int(self.lengths.max()) + more
        if limit is not None and needed > limit:
            raise ConfigError(
                f"a prompt and its identifier have {needed} tokens or more, but the network has {limit} positions; lower "
                "[causal] max_text_tokens, or use shorter identifiers"
            )

    @abstractmethod
    def _keep(self, prompts: Any, attention_mask: Tensor) -> None:
        """Take over the cache of the prompts that were read."""

    def _follow(self, parents: Tensor) -> None:
        """Let row i go on from row parents[i] of the step before."""
        self.lengths = self.lengths[parents]

    @abstractmethod
    def _read(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """States (N, 1, D) of one token a beam."""


class RowPerBeamSearch(_PromptedSearch):
    """Every beam has its prompt in its own row of transformers' cache."""

    def _keep(self, prompts: Any, attention_mask: Tensor) -> None:
        self.cache, self.mask = prompts, attention_mask

    def _follow(self, parents: Tensor) -> None:
        super()._follow(parents)
        self.cache.reorder_cache(parents)
        self.mask = torch.nn.functional.pad(self.mask[parents], (0, 1), value=1)

    def _read(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return self.model.states(self.network, embeddings, self.mask, positions, cache=self.cache, keep=1)


class SharedPromptSearch(_PromptedSearch):
    """A query's beams grow out of its prompt, which stays where it is."""

    def _keep(self, prompts: Any, attention_mask: Tensor) -> None:
        from genir.models.beam_attention import tree_cache

        self.tree = BeamTree(len(attention_mask), attention_mask.device, attention_mask)
        self.cache = tree_cache(self.tree, prompts)

    def _follow(self, parents: Tensor) -> None:
        super()._follow(parents)
        remaining = self.tree.follow(parents)
        if remaining is not None:
            for layer in self.cache.layers:
                layer.keep(remaining)

    def _read(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return self.model.states(
            self.network, embeddings, self.tree.mask, positions, cache=self.cache, keep=1, beams=self.tree
        )


@torch.inference_mode()
def prompts_can_be_shared(model: "CausalModel") -> bool:
    """Whether a search that shares prompts gives `model`'s logits; switches the network's attention over if so."""
    from genir.models.beam_attention import use_beam_attention

    network = model.network
    before = network.config._attn_implementation
    if not use_beam_attention(network):
        return False
    try:
        if _difference(model) <= (1e-2 if network.dtype == torch.float32 and model.precision == "float32" else 1e-1):
            return True
    except (TypeError, RuntimeError):
        pass  # layers that do not take the tree, or do not pass it on, so that attention finds two texts for three beams
    network.set_attn_implementation(before)
    return False


def _difference(model: "CausalModel") -> float:
    """How far the logits of both searches differ, in standard deviations.

    Tried with two prompts, one of them padded, and three beams of two tokens.
    """
    network, device = model.network, model.device
    vocabulary = network.get_input_embeddings().num_embeddings
    input_ids = torch.arange(8, device=device).view(2, 4) % vocabulary
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]], device=device)
    tokens = torch.arange(3, device=device) % model.vocab_size
    apart = RowPerBeamSearch(model, network, input_ids, mask)
    shared = SharedPromptSearch(model, network, input_ids, mask)
    for parents in (None, torch.tensor([0, 0, 1], device=device), torch.tensor([1, 0, 2], device=device)):
        expected, found = apart(tokens, parents, None), shared(tokens, parents, None)
    return float((expected - found).abs().max() / expected.std())
