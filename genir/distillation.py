"""Learning to rank from a teacher: another ranking of the same texts, or the model's own past.

A `TeacherTable` holds what a teacher (BM25, a dense encoder, a cross-encoder, any run) ranks for each example, computed once. It
gives hard negatives, and scores to come near to, for whole identifiers and for their prefixes (RIPOR, Zeng et al. 2024,
arXiv:2311.09134). A `MovingAverage` is the model itself, averaged over its last steps (mean teacher, Tarvainen and Valpola 2017,
arXiv:1703.01780), and is asked about the model's own candidates.

Invariants: a table's scores are in units of the mean spread of its lists, so that teachers with other scales need no other settings;
where the teacher did not find the right identifier it is not believed, and gives negatives alone; what is drawn depends on torch's
random state alone, which the training loop seeds at every step.

Shape letters: E examples, R of them with a teacher, K candidates of a teacher, n of them drawn; B, M, P as in genir.objectives.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective, TrainingBatch, repeated, weighted_mean
from genir.records import DocIDTokens
from genir.right_targets import RightTargets

Distance = Literal["kl", "margin_mse"]
_CONCAVE = 0.5  # of `margin_growth`; RIPOR's beta, which is 2 there, where no prefix is shorter than four tokens


@dataclass(frozen=True)
class TeacherTable:
    """What a teacher ranks for each of E examples: identifiers other than the right one, and the right one's score.

    `row_of` (E,): the example's row in the rest, or -1. `candidates` (R, K) int64, filled up with -1, and their `scores` (R, K).
    `own` (R,): the right identifier's score, NaN where the teacher did not find it.
    """

    row_of: Tensor
    candidates: Tensor
    scores: Tensor
    own: Tensor

    @classmethod
    def build(cls, rankings: Sequence[Mapping[int, float]], right: RightTargets) -> "TeacherTable":
        """From {identifier index: score} of each example (empty: not asked), and what is right for it."""
        row_of = torch.full((len(rankings),), -1)
        rows: list[list[tuple[int, float]]] = []
        own: list[float] = []
        for example, (ranking, target, others) in enumerate(zip(rankings, right.own, right.right, strict=True)):
            wrong = [(index, score) for index, score in ranking.items() if index != target and index not in others]
            if wrong:
                row_of[example] = len(rows)
                rows.append(wrong)
                own.append(ranking.get(target, torch.nan))
        K = max(map(len, rows), default=1)
        candidates, scores = torch.full((len(rows), K), -1), torch.full((len(rows), K), torch.nan)
        for row, wrong in enumerate(rows):
            candidates[row, : len(wrong)] = torch.tensor([index for index, _ in wrong])
            scores[row, : len(wrong)] = torch.tensor([score for _, score in wrong])
        found = candidates >= 0
        mean = scores.nan_to_num().sum(1, keepdim=True) / found.sum(1, keepdim=True).clamp(min=1)
        spread = ((scores - mean).nan_to_num() ** 2).sum(1) / found.sum(1).clamp(min=1)
        unit = float(spread.sqrt().mean()) if len(rows) else 1.0
        unit = unit if unit > 0 else 1.0
        return cls(row_of, candidates, scores.nan_to_num() / unit, torch.tensor(own) / unit)

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def found(self) -> int:
        """In how many of the lists the right identifier stands."""
        return int((~self.own.isnan()).sum())

    def draw(self, rows: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """At random n candidates (B, n) of examples `rows` (B,), their scores (B, n), and the right ones' (B,).

        -1 fills up where there are fewer, and all over where there is no teacher.
        """
        if not len(self):
            return torch.full((len(rows), 0), -1), torch.zeros(len(rows), 0), torch.full((len(rows),), torch.nan)
        row = self.row_of[rows]
        asked = row >= 0
        candidates = self.candidates[row.clamp(min=0)].where(asked[:, None], -1)
        order = (torch.rand(candidates.shape) - (candidates < 0).float()).topk(min(n, candidates.shape[1]), dim=1)
        scores = self.scores[row.clamp(min=0)].gather(1, order.indices)
        return candidates.gather(1, order.indices), scores, self.own[row.clamp(min=0)].where(asked, torch.nan)


class MovingAverage:
    """A copy of a model whose weights follow: after every step, average = decay * average + (1 - decay) * weights."""

    def __init__(self, model: Any, decay: float) -> None:
        self.model, self.decay = model, decay
        self.average = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def follow(self) -> None:
        """One step towards the model as it is now."""
        for average, weights in zip(self.average.parameters(), self.model.parameters(), strict=True):
            average.lerp_(weights.detach(), 1 - self.decay)


@dataclass(frozen=True)
class Teaching:
    """How teachers are used. A weight of 0 leaves that part out; `negatives` of a table are drawn anew at each step.

    `sharpness` is what a standard deviation of the teacher's scores is worth in the student's, which `scale` multiplies.
    """

    table: TeacherTable | None = None
    negatives: int = 7
    distance: Distance = "kl"
    weight: float = 1.0
    sharpness: float = 1.0
    self_weight: float = 0.0
    self_decay: float = 0.99


class TaughtRankingObjective(RankingObjective):
    """RankingObjective with a teacher's negatives, a distance to its scores, and one to those of a moving average."""

    def __init__(
        self,
        model: CodeDecoder,
        identifiers: Sequence[DocIDTokens],
        prefixes: Sequence[int] = (1, 2, 4),
        hard_negatives: int = 15,
        scale: float = 20.0,
        teaching: Teaching = Teaching(),
        right: RightTargets | None = None,
    ) -> None:
        """Raises ConfigError where self-distillation has no candidates to compare."""
        super().__init__(model, identifiers, prefixes, hard_negatives, scale, right)
        self.teaching = teaching
        if teaching.self_weight and teaching.table is None and not self.hard_negatives:
            raise ConfigError(
                "self_distillation compares candidates, and there are none: set hard_negatives >= 1 and decoder layers >= 1"
            )
        self.past = MovingAverage(model, teaching.self_decay) if teaching.self_weight else None
        self.growth = margin_growth(self.prefixes).to(model.device)

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective. Raises ConfigError where a teacher is there and no `rows`."""
        teaching, spared = self.teaching, self.spared(batch)
        text = self.model.encode(batch.input_ids, batch.attention_mask)
        losses, whole = self.against_all(text, batch.targets, spared)
        candidates = self.candidates(whole, batch.targets, spared)
        mined = candidates.shape[1]
        if teaching.table is not None:
            if batch.rows is None:
                raise ConfigError("an objective with a teacher needs the numbers of the examples: give `rows`")
            drawn, taught, own = (
                part.to(batch.targets.device) for part in teaching.table.draw(batch.rows.cpu(), teaching.negatives)
            )
            candidates = torch.cat([candidates, drawn], dim=1)
        scores = self.prefix_scores(self.model, text, candidates)
        if candidates.shape[1] > 1:
            losses = losses + self.against(scores, candidates, spared)
        if teaching.table is not None and teaching.weight:
            chosen = torch.cat([scores[:, :1], scores[:, mined:]], dim=1)
            known = torch.cat([torch.ones_like(own, dtype=torch.bool)[:, None], drawn >= 0], dim=1)
            wanted = teaching.sharpness * torch.cat([own[:, None], taught], dim=1)
            losses = losses + teaching.weight * self._distance(
                chosen, wanted.nan_to_num(), known & ~own.isnan()[:, None]
            )
        if self.past is not None:
            losses = losses + teaching.self_weight * self._from_past(batch, scores, candidates)
        return weighted_mean(losses / len(self.tables), batch.weights)

    def _distance(self, scores: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
        """Losses (B,), summed over prefix lengths: prefix scores (B, M, P) from the teacher's (B, M), where `known` (B, M)."""
        if self.teaching.distance == "kl":
            return divergence(scores, wanted[..., None].expand_as(scores), known)
        return margin_error(scores, wanted[..., None] * self.growth, known)

    def _from_past(self, batch: TrainingBatch, scores: Tensor, candidates: Tensor) -> Tensor:
        """Losses (B,): how far the prefix scores (B, M, P) are from those of the moving average."""
        assert self.past is not None
        self.past.follow()
        with torch.no_grad():
            text = self.past.average.encode(batch.input_ids, batch.attention_mask)
            wanted = self.prefix_scores(self.past.average, text, candidates)
        return divergence(scores, wanted, (candidates >= 0) & ~repeated(candidates))

    def state_dict(self) -> dict[str, Tensor]:
        """The moving average, for a checkpoint."""
        return {} if self.past is None else dict(self.past.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave; names that safetensors left out are tied to others."""
        if self.past is not None:
            self.past.average.load_state_dict(state, strict=False)


def margin_growth(prefixes: Sequence[int]) -> Tensor:
    """Shape (P,): what share of a whole identifier's margin a prefix of m tokens shall reach (RIPOR, equation 6).

    It grows with m, steeply at first: (1 - b / m) / (1 - b / L).
    """
    lengths = torch.tensor(prefixes, dtype=torch.float32)
    return (1 - _CONCAVE / lengths) / (1 - _CONCAVE / lengths[-1])


def divergence(scores: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Kullback-Leibler divergence (B,) of softmax(scores) from softmax(wanted) over M, both (B, M, P), summed over P.

    Only candidates that are `known` (B, M) count; a row without any has a loss of 0.
    """
    alone = ~known.any(1)
    blocked = ~(known | alone[:, None])[..., None]
    theirs = wanted.masked_fill(blocked, -torch.inf).log_softmax(1)
    ours = scores.masked_fill(blocked, -torch.inf).log_softmax(1)
    apart = theirs.exp() * (theirs.masked_fill(blocked, 0.0) - ours.masked_fill(blocked, 0.0))
    return apart.sum((1, 2)).masked_fill(alone, 0.0)


def margin_error(scores: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Margin-MSE (B,) (Hofstätter et al. 2020, arXiv:2010.02666) of scores (B, M, P), the right identifier first; summed over P.

    Only candidates that are `known` (B, M) count; a row without any has a loss of 0.
    """
    negatives = known[:, 1:, None].float()
    errors = (scores[:, :1] - scores[:, 1:] - (wanted[:, :1] - wanted[:, 1:])) ** 2 * negatives
    mean: Tensor = errors.sum((1, 2)) / negatives.sum((1, 2)).clamp(min=1)
    return mean
