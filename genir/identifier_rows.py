"""Identifiers of several lengths as one tensor, and their scores where a token scores the same wherever it stands.

Shape letters: B texts, M identifiers (or prefixes), L the longest one's length, V identifier vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.records import DocIDTokens

IGNORED = -1  # fills identifiers shorter than the longest of their batch


def pad_identifiers(identifiers: Sequence[DocIDTokens], end_token: int | None) -> Tensor:
    """Shape (M, L): identifiers, each with the end token behind it where there is one, filled up with IGNORED."""
    rows = [(*tokens, end_token) if end_token is not None else tokens for tokens in identifiers]
    padded = torch.full((len(rows), max(len(row) for row in rows)), IGNORED)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.tensor(row)
    return padded


def sums_of_tokens(by_token: Tensor, identifiers: Tensor) -> Tensor:
    """Scores (B, M) of identifiers (M, L) from those of tokens (B, V), differentiable; IGNORED adds nothing."""
    columns = by_token.T.contiguous()
    present = (identifiers != IGNORED).to(columns.dtype)
    return F.embedding_bag(identifiers.clamp(min=0), columns, per_sample_weights=present, mode="sum").T
