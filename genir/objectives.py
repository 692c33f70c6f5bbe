"""What training minimises. Each objective turns a batch of (text, identifier) pairs into one loss.

`RankingObjective` ranks whole identifiers and their prefixes: plain cross-entropy on tokens ruins a codebook start, because it is
normalised token by token and never compares two documents. Prefixes are ranked because the beam prunes by them
(RIPOR's prefix-oriented ranking, Zeng et al. 2024, arXiv:2311.09134).

Shape letters: B pairs, N identifiers, U distinct prefixes, M candidates, L identifier length, D hidden size, V identifier vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.models.code_decoder import IGNORED, CodeDecoder, pad_identifiers
from genir.records import DocIDTokens


class StepModel(Protocol):
    """A model that can be trained by cross-entropy on tokens."""

    end_token: int | None

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor, identifiers: Tensor) -> Tensor:
        """Shape (B, L, V): teacher-forced logits along identifiers (B, L), differentiable."""
        ...


class Objective(Protocol):
    """A loss over a batch."""

    def loss(self, input_ids: Tensor, attention_mask: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean loss of texts (B, T) whose right identifiers have the indices targets (B,)."""
        ...


class CrossEntropyObjective:
    """Mean negative log-likelihood of identifier tokens: the objective of DSI (Tay et al. 2022, arXiv:2202.06991)."""

    def __init__(self, model: StepModel, identifiers: Sequence[DocIDTokens]) -> None:
        self.model = model
        self.identifiers = pad_identifiers(identifiers, model.end_token)

    def loss(self, input_ids: Tensor, attention_mask: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See Objective."""
        tokens = self.identifiers[targets].to(input_ids.device)
        logits = self.model.step_logits(input_ids, attention_mask, tokens).float()
        losses = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=IGNORED, reduction="none")
        lengths = (tokens != IGNORED).sum(1)
        return _weighted_mean(losses.view(tokens.shape).sum(1) / lengths, weights)


class RankingObjective:
    """Softmax over identifiers and over their prefixes, in two parts that are added.

    1. Without the decoder's correction, against all N identifiers and all their prefixes of `prefixes` tokens: one small product,
       because a prefix's score is then a sum of dot products with the text's pooled vector.
    2. With it, against the `hard_negatives` identifiers that part 1 ranks highest for this very text.
    """

    def __init__(
        self,
        model: CodeDecoder,
        identifiers: Sequence[DocIDTokens],
        prefixes: Sequence[int] = (1, 2, 4),
        hard_negatives: int = 15,
        scale: float = 20.0,
    ) -> None:
        self.model = model
        self.scale = scale
        self.identifiers = pad_identifiers(identifiers, model.end_token).to(model.device)
        N, L = self.identifiers.shape
        self.hard_negatives = min(hard_negatives, N - 1) if model.layers else 0
        self.prefixes = tuple(sorted({m for m in prefixes if m < L} | {L}))
        # per prefix length: the distinct prefixes (U, m), and for every identifier the index of its own (N,)
        self.tables = [torch.unique(self.identifiers[:, :m], dim=0, return_inverse=True) for m in self.prefixes]

    def loss(self, input_ids: Tensor, attention_mask: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See Objective."""
        text = self.model.encode(input_ids, attention_mask)
        by_token = (text.pooled @ self.model.codes.weight.T).float().T.contiguous()  # (V, B)
        losses = torch.zeros_like(weights)
        for table, own in self.tables:
            scores = _sum_of_tokens(by_token, table)
            losses = losses + F.cross_entropy(self.scale * scores, own[targets], reduction="none")
        if self.hard_negatives:
            whole_scores, whole = scores, own  # the last table is that of whole identifiers
            candidates = self._candidates(whole_scores.detach()[:, whole], targets)
            token_scores = self.model.token_scores(text, self.identifiers[candidates]).float().cumsum(-1)
            for m, (_, own) in zip(self.prefixes, self.tables, strict=True):
                groups = own[candidates]
                same = groups == groups[:, :1]
                same[:, 0] = False  # the target itself stays; others under its prefix are no negatives of that prefix
                scores = self.scale * token_scores[:, :, m - 1].masked_fill(same, -torch.inf)
                losses = losses + F.cross_entropy(scores, torch.zeros_like(targets), reduction="none")
        return _weighted_mean(losses / len(self.tables), weights)

    def _candidates(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Shape (B, 1 + hard_negatives): each text's right identifier, then the best-scored wrong ones."""
        wrong = scores.scatter(1, targets[:, None], -torch.inf)
        return torch.cat([targets[:, None], wrong.topk(self.hard_negatives, dim=1).indices], dim=1)


def _sum_of_tokens(by_token: Tensor, table: Tensor) -> Tensor:
    """Scores (B, U) of prefixes (U, m) from token scores (V, B); IGNORED adds nothing."""
    present = (table != IGNORED).to(by_token.dtype)
    return F.embedding_bag(table.clamp(min=0), by_token, per_sample_weights=present, mode="sum").T


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum()
