"""A search's beams on Hugging Face's models, through transformers' own doors.

`TreeCacheLayer` is a cache layer over a `BeamTree`, `beam_attention` an attention implementation that stands the beams of
a query side by side as query positions, so that they share their text's keys and values. Models that need another
attention than this can use neither, and keep one cache row a beam (see `use_beam_attention`).

Importing this module imports transformers.

Shape letters: Q texts, N live beams, K the most beams of a text, S slots of a text, H heads, G heads with keys of their
own, D width of a head, T keys.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from genir.models.beam_tree import BeamTree, TreeLayer

NAME = "genir_beams"


class TreeCacheLayer(TreeLayer, CacheLayerMixin):  # type: ignore[misc]
    """A TreeLayer as transformers' decoders use a layer of their cache."""

    is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the first keys make the store."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """See `TreeLayer.update`."""
        return super().update(keys, values)

    def get_seq_length(self) -> int:
        """Tokens in front of those being read now."""
        return self.tree.length - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Slots that a mask has to cover, and where they start."""
        return len(self.tree.steps), 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def tree_cache(tree: BeamTree, prompts: Any = None) -> Any:
    """A transformers Cache whose layers write into `tree`, behind what `prompts`, a cache of its prompts, holds."""
    if prompts is None:
        return Cache(layer_class_to_replicate=partial(TreeCacheLayer, tree))
    return Cache(layers=[TreeCacheLayer(tree, (layer.keys, layer.values)) for layer in prompts.layers])


def use_beam_attention(network: Any) -> bool:
    """Switch a transformers model over to `beam_attention`; False, and nothing changed, where it needs another one.

    Refused are models that do not use transformers' AttentionInterface, whose beams need more than keys and values of
    all positions (sliding windows, recurrent states), or that cap their attention scores.
    """
    config = network.config.get_text_config(decoder=True)
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    if capped or not (plain and network._supports_sdpa and network._can_set_attn_implementation()):
        return False
    AttentionInterface.register(NAME, beam_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    network.set_attn_implementation(NAME)
    return True


def beam_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    position_bias: Tensor | None = None,
    beams: BeamTree | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of query (N, H, S, D) as transformers expects it, (N, S, H, D), with keys and values once a text.

    In a search (`beams`), N beams of one position each read the slots of their tree (Q, H, S, D) or their text
    (Q, H, T, D). Elsewhere it is plain `sdpa`, except that N sequences may read Q texts, as many of them each.
    """
    if beams is not None:
        grid = beams.side_by_side(query)
        Q, H, K, D = grid.shape
        G = key.shape[1]
        if key is beams.newest:  # the slots of one step stand at one position
            position_bias = None if position_bias is None else position_bias[..., beams.steps]
            attention_mask = beams.bias(H // G, query.dtype)
        if position_bias is not None:
            position_bias = position_bias.expand(-1, -1, K, -1).reshape(len(position_bias), G, H // G * K, -1)
            attention_mask = _added(position_bias, attention_mask)
        # Heads that share a key stand side by side, as beams do: it is not repeated for either.
        grid = grid.reshape(Q, G, H // G * K, D)
        attended = F.scaled_dot_product_attention(grid, key, value, attention_mask, scale=options.get("scaling"))
        return beams.as_rows(attended.reshape(Q, H, K, -1).transpose(1, 2)), None
    N, H, S, D = query.shape
    Q = key.shape[0]
    if N == Q:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, position_bias=position_bias, **options
        )
    if attention_mask is not None:
        attention_mask = attention_mask[:, :, :1]
    if position_bias is not None:
        position_bias = position_bias[:, :, :1]
    grouped = query.view(Q, N // Q, H, S, D).transpose(1, 2).reshape(Q, H, N // Q * S, D)
    options["is_causal"] = False
    attended, _ = sdpa_attention_forward(
        module, grouped, key, value, attention_mask, position_bias=position_bias, **options
    )
    return attended.reshape(N, S, H, D), None


def _added(bias: Tensor, mask: Tensor | None) -> Tensor:
    """A bias and a mask, which is True where something is seen or itself a bias, as one bias."""
    if mask is None:
        return bias
    return torch.where(mask, bias, -torch.inf) if mask.dtype == torch.bool else bias + mask
