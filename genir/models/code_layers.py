"""The layers of `code_decoder`: attention whose keys and values come from outside, over whole identifiers and step by step.

Shape letters as in genir.models.code_decoder.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from genir.models.beam_tree import BeamTree, TreeLayer


class Attention(nn.Module):
    """Multi-head attention whose keys and values come from outside, so that both kinds of cache are plain tensors."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def keys_values(self, x: Tensor) -> Tensor:
        """Shape (B, S, D) -> (2, B, heads, S, D / heads)."""
        B, S, D = x.shape
        projected: Tensor = self.key_value(x)
        return projected.view(B, S, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)

    def queries(self, x: Tensor) -> Tensor:
        """Shape (B, S, D) -> (B, heads, S, D / heads)."""
        B, S, D = x.shape
        projected: Tensor = self.query(x)
        return projected.view(B, S, self.heads, D // self.heads).transpose(1, 2)

    def forward(self, x: Tensor, keys_values: Tensor, mask: Tensor | None, is_causal: bool = False) -> Tensor:
        """Positions (B, S, D) of whole sequences, against `keys_values` (2, B, heads, T, D / heads)."""
        queries = self.queries(x)
        attended = F.scaled_dot_product_attention(queries, keys_values[0], keys_values[1], mask, is_causal=is_causal)
        mixed: Tensor = self.out(attended.transpose(1, 2).reshape(x.shape))
        return mixed

    def step(self, x: Tensor, tree: BeamTree, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """One position (N, 1, D) of every beam of a search, against keys and values (Q, heads, S, D / heads) of its text."""
        side_by_side = tree.side_by_side(self.queries(x))
        attended = F.scaled_dot_product_attention(side_by_side, keys, values, mask)
        mixed: Tensor = self.out(tree.as_rows(attended.transpose(1, 2)).reshape(x.shape))
        return mixed


class DecoderLayer(nn.Module):
    """Pre-norm decoder layer: causal self-attention over identifier tokens, cross-attention to the text, feed-forward."""

    def __init__(self, hidden_size: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.ff_norm = (nn.LayerNorm(hidden_size) for _ in range(3))
        self.self_attention = Attention(hidden_size, heads)
        self.cross_attention = Attention(hidden_size, heads)
        self.feedforward = nn.Sequential(
            nn.Linear(hidden_size, feedforward), nn.GELU(), nn.Linear(feedforward, hidden_size)
        )

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Whole identifiers (B * M, L, D), those of a text adjacent, beside `memory` (2, B, heads, T, D / heads) of B texts."""
        normed = self.self_norm(x)
        x = x + self.self_attention(normed, self.self_attention.keys_values(normed), None, is_causal=True)
        # Identifiers of one text stand in adjacent rows: side by side they share its keys and values without a copy.
        beside = self.cross_norm(x).view(memory.shape[1], -1, x.shape[-1])
        x = x + self.cross_attention(beside, memory, memory_mask).view(x.shape)
        fed: Tensor = self.feedforward(self.ff_norm(x))
        return x + fed

    def step(self, x: Tensor, past: TreeLayer, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """The same for one position (N, 1, D) of every beam of a search."""
        normed, tree = self.self_norm(x), past.tree
        keys, values = past.update(*self.self_attention.keys_values(normed))
        x = x + self.self_attention.step(normed, tree, keys, values, tree.mask)
        x = x + self.cross_attention.step(self.cross_norm(x), tree, memory[0], memory[1], memory_mask)
        fed: Tensor = self.feedforward(self.ff_norm(x))
        return x + fed
