"""Identifiers of several lengths as one tensor, and their scores where a token scores the same wherever it stands.

Shape letters: B texts, M identifiers (or prefixes), L the longest one's length, V identifier vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.records import DocIDTokens

IGNORED = -1  # fills identifiers shorter than the longest of their batch


def pad_identifiers(identifiers: Sequence[DocIDTokens], end_token: int | None) -> Tensor:
    """Shape (M, L): identifiers, each with the end token behind it where there is one, filled up with IGNORED."""
    end = () if end_token is None else (end_token,)
    lengths = torch.tensor([len(tokens) + len(end) for tokens in identifiers])
    padded = torch.full((len(lengths), int(lengths.max())), IGNORED)
    written = torch.arange(padded.shape[1]) < lengths[:, None]
    padded[written] = torch.tensor(list(chain.from_iterable((*tokens, *end) for tokens in identifiers)))
    return padded


@dataclass(frozen=True, slots=True, eq=False)
class TokenSums:
    """What identifiers (M, L) score where a token scores the same wherever it stands."""

    tokens: Tensor  # (M, L) int32, 0 where IGNORED stood
    present: Tensor | None  # (M, L) float32, 0 there and 1 elsewhere; None where it stood nowhere

    @classmethod
    def of(cls, identifiers: Tensor) -> "TokenSums":
        """For identifiers (M, L), where IGNORED adds nothing."""
        present = identifiers != IGNORED
        return cls(identifiers.clamp(min=0).int(), None if bool(present.all()) else present.float())

    @property
    def nbytes(self) -> int:
        """Memory of both."""
        return self.tokens.nbytes + (0 if self.present is None else self.present.nbytes)

    def __call__(self, by_token: Tensor) -> Tensor:
        """Scores (B, M) from those of tokens (B, V), float32, differentiable."""
        columns = by_token.T.contiguous()
        return F.embedding_bag(self.tokens, columns, per_sample_weights=self.present, mode="sum").T
