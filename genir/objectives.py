"""What training minimises. Each objective turns a batch of (text, identifier) pairs into one loss.

`RankingObjective` ranks whole identifiers and their prefixes: plain cross-entropy is normalised token by token and never compares two
documents. Prefixes are ranked because a beam that does not look ahead prunes by them (RIPOR's prefix-oriented ranking, Zeng et al. 2024,
arXiv:2311.09134).

`genir.distillation` adds teachers to it, `genir.best_view` documents with several identifiers.

Shape letters: B pairs, N identifiers, P prefix lengths, U distinct prefixes, M candidates, L identifier length, D hidden size,
V identifier vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.errors import ConfigError
from genir.identifier_rows import IGNORED, TokenSums, pad_identifiers
from genir.models.code_decoder import CodeDecoder, EncodedText
from genir.records import DocIDTokens
from genir.right_targets import RightTargets


class StepModel(Protocol):
    """A model that can be trained by cross-entropy on tokens."""

    end_token: int | None

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor, identifiers: Tensor) -> Tensor:
        """Shape (B, L, V): teacher-forced logits along identifiers (B, L), differentiable."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What a step learns from. `rows` are the examples' numbers, for an objective that knows more of each than its target."""

    input_ids: Tensor  # (B, T)
    attention_mask: Tensor  # (B, T)
    targets: Tensor  # (B,): the index of each text's right identifier
    weights: Tensor  # (B,)
    rows: Tensor | None = None  # (B,)


class Objective(Protocol):
    """A loss over a batch."""

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted mean loss of a batch's texts."""
        ...


@runtime_checkable
class StatefulObjective(Protocol):
    """An objective with something of its own that changes from step to step, and belongs into a checkpoint."""

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, on any device."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave."""
        ...


class CrossEntropyObjective:
    """Mean negative log-likelihood of identifier tokens: the objective of DSI (Tay et al. 2022, arXiv:2202.06991).

    `scale` multiplies the logits: of `code_decoder` they begin as products with unit vectors, too close together for a softmax.
    """

    def __init__(self, model: StepModel, identifiers: Sequence[DocIDTokens], scale: float = 1.0) -> None:
        self.model, self.scale = model, scale
        self.identifiers = pad_identifiers(identifiers, model.end_token)

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective."""
        tokens = self.identifiers[batch.targets].to(batch.input_ids.device)
        logits = self.scale * self.model.step_logits(batch.input_ids, batch.attention_mask, tokens).float()
        losses = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=IGNORED, reduction="none")
        lengths = (tokens != IGNORED).sum(1)
        return weighted_mean(losses.view(tokens.shape).sum(1) / lengths, batch.weights)


class RankingObjective:
    """Softmax over identifiers and over their prefixes, in two parts that are added.

    1. Without the decoder's correction, against all N identifiers and all their prefixes of `prefixes` tokens: one small product,
       because a prefix's score is then a sum of dot products with the text's pooled vector.
    2. With it, against the `hard_negatives` identifiers that part 1 ranks highest for this very text.

    Invariant: what else is `right` for an example's text is no negative of it, nor is any prefix that one of these has.
    """

    def __init__(
        self,
        model: CodeDecoder,
        identifiers: Sequence[DocIDTokens],
        prefixes: Sequence[int] = (1, 2, 4),
        hard_negatives: int = 15,
        scale: float = 20.0,
        right: RightTargets | None = None,
    ) -> None:
        """`right` numbers the examples as the batches' `rows` do; without it every text has one right identifier."""
        self.model = model
        self.scale = scale
        self.right = right or None
        self.identifiers = pad_identifiers(identifiers, model.end_token).to(model.device)
        N, L = self.identifiers.shape
        self.hard_negatives = min(hard_negatives, N - 1) if model.layers else 0
        self.prefixes = tuple(sorted({m for m in prefixes if m < L} | {L}))
        # per prefix length: the distinct prefixes (U, m), and for every identifier the index of its own (N,)
        self.tables = [torch.unique(self.identifiers[:, :m], dim=0, return_inverse=True) for m in self.prefixes]
        self.sums = [TokenSums.of(table) for table, _ in self.tables]

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective. Raises ConfigError where texts have several right identifiers and the batch no `rows`."""
        return self.loss_of(self.model.encode(batch.input_ids, batch.attention_mask), batch)

    def loss_of(self, text: EncodedText, batch: TrainingBatch) -> Tensor:
        """`loss` where the batch's texts are read already."""
        spared = self.spared(batch)
        losses, whole = self.against_all(text, batch.targets, spared)
        if self.hard_negatives:
            candidates = self.candidates(whole, batch.targets, spared)
            losses = losses + self.against(self.prefix_scores(self.model, text, candidates), candidates, spared)
        return weighted_mean(losses / len(self.tables), batch.weights)

    def spared(self, batch: TrainingBatch) -> list[Tensor] | None:
        """Per prefix length (B, U), bool: the prefixes of each text's other right identifiers, but for its target's own.

        None where no text of the batch has another one.
        """
        if self.right is None:
            return None
        if batch.rows is None:
            raise ConfigError("texts have several right identifiers: give the numbers of the examples (`rows`)")
        pairs = self.right.pairs(batch.rows)
        if pairs is None:
            return None
        places, others = pairs
        every = torch.arange(len(batch.targets), device=places.device)
        found = []
        for table, own in self.tables:
            held = torch.zeros(len(every), len(table), dtype=torch.bool, device=places.device)
            held[places, own[others]] = True
            held[every, own[batch.targets]] = False
            found.append(held)
        return found

    def against_all(
        self, text: EncodedText, targets: Tensor, spared: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Part 1: losses (B,), summed over the prefix lengths; and the scores (B, N) of whole identifiers, detached."""
        by_token = (text.pooled @ self.model.codes.weight.T).float()  # (B, V)
        losses = torch.zeros(len(targets), device=targets.device)
        for place, (sums, (_, own)) in enumerate(zip(self.sums, self.tables, strict=True)):
            scores = sums(by_token)
            compared = scores if spared is None else scores.masked_fill(spared[place], -torch.inf)
            losses = losses + F.cross_entropy(self.scale * compared, own[targets], reduction="none")
        return losses, scores.detach()[:, own]  # the last table is that of whole identifiers

    def candidates(self, scores: Tensor, targets: Tensor, spared: Sequence[Tensor] | None = None) -> Tensor:
        """Shape (B, 1 + hard_negatives): each text's right identifier, then the best-scored wrong ones; -1 where none is left."""
        wrong = scores.scatter(1, targets[:, None], -torch.inf)
        if spared is not None:
            wrong = wrong.masked_fill(spared[-1][:, self.tables[-1][1]], -torch.inf)
        best = wrong.topk(self.hard_negatives, dim=1)
        chosen = best.indices if spared is None else best.indices.masked_fill(best.values == -torch.inf, -1)
        return torch.cat([targets[:, None], chosen], dim=1)

    def prefix_scores(self, model: CodeDecoder, text: EncodedText, candidates: Tensor) -> Tensor:
        """Shape (B, M, P), scaled: what `model` gives the P prefixes of each text's candidates (B, M); -1 gets anything."""
        sums = model.token_scores(text, self.identifiers[candidates.clamp(min=0)]).float().cumsum(-1)
        return self.scale * sums[..., [m - 1 for m in self.prefixes]]

    def against(self, scores: Tensor, candidates: Tensor, spared: Sequence[Tensor] | None = None) -> Tensor:
        """Part 2: losses (B,), summed over prefix lengths, of prefix scores (B, M, P); the target stands first.

        A candidate of -1 is none, nor is one that stood before. Those under the target's own prefix are no negatives of it, nor
        are those under another right identifier's.
        """
        first = torch.zeros_like(candidates[:, 0])
        losses = torch.zeros(len(candidates), device=candidates.device)
        idle = repeated(candidates) | (candidates < 0)
        for place, (_, own) in enumerate(self.tables):
            groups = own[candidates.clamp(min=0)]
            blocked = idle | (groups == groups[:, :1])
            if spared is not None:
                blocked |= spared[place].gather(1, groups)
            blocked[:, 0] = False
            losses = losses + F.cross_entropy(
                scores[..., place].masked_fill(blocked, -torch.inf), first, reduction="none"
            )
        return losses


def repeated(candidates: Tensor) -> Tensor:
    """Shape (B, M), bool: whether the same number stands further left in its row."""
    same = candidates[:, :, None] == candidates[:, None, :]
    return same.tril(-1).any(-1)


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The mean of losses (B,) under weights (B,)."""
    return (losses * weights).sum() / weights.sum()
