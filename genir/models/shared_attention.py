"""Cross-attention whose keys and values exist once a query, however many beams the query has.

Hugging Face's models hand their attention a key/value row for every beam, which costs the projection, the memory and a
reordering at each step once per beam, though all beams of a query read the same text. Registered with transformers as
an attention implementation, this one takes fewer rows of keys than of queries: Q texts, N beams, the beams of a text
adjacent. Where the rows agree (self-attention, encoders, training) it is plain `sdpa`.

Models that do not take their attention from transformers' AttentionInterface keep their own, with a row for every beam.
"""

from typing import Any

from torch import Tensor

NAME = "genir_shared_cross"


def share_cross_attention(network: Any) -> bool:
    """Switch a transformers model over to shared cross-attention; False where its architecture does not allow that."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if not (network._supports_sdpa and network._can_set_attn_implementation()):
        return False
    AttentionInterface.register(NAME, shared_cross_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    network.set_attn_implementation(NAME)
    return True


def shared_cross_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    position_bias: Tensor | None = None,
    cross_rows: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of query (N, H, S, D) to key and value (Q, H, T, D): output (N, S, H, D), as transformers expects it.

    `cross_rows` (N,) names the key row of every query row; None where every text has the same number of beams. Mask and
    bias are those of transformers, with one row a text; for cross-attention they are the same at every position.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

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
    if cross_rows is not None:
        key, value = key[cross_rows], value[cross_rows]
        attention_mask = None if attention_mask is None else attention_mask[cross_rows]
        grouped = query
    else:
        grouped = query.view(Q, N // Q, H, S, D).transpose(1, 2).reshape(Q, H, N // Q * S, D)
    options["is_causal"] = False
    attended, _ = sdpa_attention_forward(
        module, grouped, key, value, attention_mask, position_bias=position_bias, **options
    )
    return attended.reshape(N, S, H, D), None
