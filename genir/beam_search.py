"""Beam search over a frozen set of identifiers, for any next-token function: all queries and all beams at once.

Hypotheses score the sum of their tokens' scores, divided by length ** length_penalty (length = tokens written).
What is kept is what Hugging Face's generate keeps (transformers 5, GenerationMixin._beam_search,
early_stopping=False): of all candidates of a query, those that end an identifier and rank within num_beams join its
finished pool, of which the best stay; of those behind which an identifier goes on, the best num_beams run on. A
candidate may do both.

Under "allowed" scoring a beam whose rest is certain costs nothing more: each of its tokens is the only one allowed, so
its log-probability is 0 whatever the model says, and the model is not asked. Such beams keep their place and are
finished at their length, as if it had been.

Invariants: beams that do not exist are never carried (a query has as many rows as it has live beams, a finished query
has none), the rows of a query are ordered by token path, and among equal scores the lower token path comes first. Only
where a full pool meets a later finisher of equal score does the earlier one stay, whatever its path.

Known gap: with a positive length penalty and without `threshold` the early stop is Hugging Face's, which judges running
beams at their present length; a longer identifier might have overtaken. With a penalty of 0 it loses nothing.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from genir.allowed_scores import NOTHING, allowed_scores
from genir.beam_selection import places_in, select, select_diverse
from genir.errors import ConfigError, DataError, unknown_name
from genir.protocols import Constraint, NextToken, Scoring

_CACHED = 1 << 18  # float32 numbers that a core's cache holds
_STEEPEST, _LARGE = 10.0, 1e6  # beyond, float32 no longer tells scores apart
_SCORINGS = ("vocabulary", "allowed", "logits")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A whole identifier: its leaf in the constraint, its tokens, its score."""

    leaf: int
    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class DecodingSettings:
    """How to search; every one of them can change a ranking.

    length_penalty   scores are divided by length ** length_penalty
    max_length       identifiers of more tokens are not reached (None: any length)
    num_return       whole identifiers kept a query (None: num_beams)
    num_beam_groups  groups of beams that choose one after another (diverse beam search), by `diversity_penalty`
    threshold        stop a query when its best `threshold` identifiers can no longer change: exact for these. None is
                     Hugging Face's rule. It needs log-probabilities, and with a positive length penalty `max_length`.
    """

    num_beams: int
    scoring: Scoring
    length_penalty: float = 0.0
    max_length: int | None = None
    num_return: int | None = None
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    threshold: int | None = None

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ConfigError(f"num_beams must be at least 1, got {self.num_beams}")
        if self.scoring not in _SCORINGS:
            raise unknown_name("scoring", self.scoring, _SCORINGS)
        if self.num_beam_groups < 1 or self.num_beams % self.num_beam_groups:
            raise ConfigError(
                f"num_beam_groups is {self.num_beam_groups}: expected a divisor of num_beams, which is {self.num_beams}"
            )
        if not 0 <= self.diversity_penalty < _LARGE:
            raise ConfigError(f"diversity_penalty is {self.diversity_penalty}: expected 0 or more, below {_LARGE:g}")
        if not abs(self.length_penalty) <= _STEEPEST:
            raise ConfigError(f"length_penalty is {self.length_penalty}: expected {-_STEEPEST:g} to {_STEEPEST:g}")
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length is {self.max_length}: expected at least 1")
        if self.pool < 1:
            raise ConfigError(f"num_return is {self.num_return}: expected at least 1")
        if self.threshold is not None and not 1 <= self.threshold <= self.pool:
            raise ConfigError(f"threshold is {self.threshold}: expected 1 to {self.pool}, the identifiers returned")
        if self.threshold is not None and self.scoring == "logits":
            raise ConfigError(
                "threshold needs log-probabilities: sums of logits may still rise, so no beam is ever out"
            )

    @property
    def pool(self) -> int:
        """Whole identifiers kept a query."""
        return self.num_beams if self.num_return is None else self.num_return


class Guide(Protocol):
    """What a beam may still hope for beside the model's scores (planning ahead: PAG, Zeng et al. 2024, arXiv:2404.14600)."""

    def __call__(self, query: Tensor, nodes: Tensor) -> Tensor:
        """Shape (N, F): the most that it adds to the score of an identifier at or behind nodes (N, F), for queries (N,)."""
        ...

    def at_leaves(self, query: Tensor, nodes: Tensor) -> Tensor:
        """Shape (N,): what it adds to the scores of the identifiers that end at nodes (N,), for queries (N,)."""
        ...


@dataclass(slots=True)
class _Beams:
    """The live beams, N rows, those of one query adjacent and in the order of their token paths."""

    query: Tensor  # (N,) place in the batch, ascending; with groups: query * groups + group
    nodes: Tensor  # (N,)
    scores: Tensor  # (N,) float32, sums
    paths: Tensor  # (N, length)
    rows: Tensor  # (N,) the beam's parent's row in the model's last call, -1 where the model is no longer asked

    def keep(self, rows: Tensor) -> "_Beams":
        """The beams of a mask (N,)."""
        return _Beams(self.query[rows], self.nodes[rows], self.scores[rows], self.paths[rows], self.rows[rows])


@dataclass(slots=True)
class _Finished:
    """The best whole identifiers of every query of the batch, best first; `event` -1 marks an empty place."""

    scores: Tensor  # (B, P)
    event: Tensor  # (B, P), a position in the concatenated leaves
    leaves: list[Tensor] = field(default_factory=list)  # one entry a step
    paths: list[Tensor] = field(default_factory=list)
    count: int = 0

    @classmethod
    def empty(cls, batch_size: int, pool: int, device: torch.device) -> "_Finished":
        """No identifier yet."""
        scores = torch.full((batch_size, pool), NOTHING, device=device)
        return cls(scores, torch.full_like(scores, -1, dtype=torch.int64))

    def add(self, beams: _Beams, leaves: Tensor, norm: float) -> None:
        """Offer beams that end identifiers `leaves` (E,)."""
        if not len(leaves):
            return
        places = places_in(beams.query)
        scores = self.scores.new_full((len(self.scores), int(places.max()) + 1), NOTHING)
        event = torch.full_like(scores, -1, dtype=torch.int64)
        scores[beams.query, places] = beams.scores / norm
        event[beams.query, places] = torch.arange(self.count, self.count + len(leaves), device=leaves.device)
        merged, order = torch.cat([self.scores, scores], 1).sort(stable=True, dim=1, descending=True)
        pool = self.scores.shape[1]
        self.scores = merged[:, :pool]
        self.event = torch.cat([self.event, event], 1).gather(1, order[:, :pool])
        self.leaves.append(leaves)
        self.paths.append(beams.paths)
        self.count += len(leaves)

    def hypotheses(self, groups: int) -> list[list[Hypothesis]]:
        """Per query, best first, ties by token path; `groups` rows make a query, and what two of them found counts once."""
        tokens = [tuple(path) for paths in self.paths for path in paths.tolist()]
        leaves = [leaf for step in self.leaves for leaf in step.tolist()]
        found = []
        for start in range(0, len(self.scores), groups):
            scores, events = self.scores[start : start + groups], self.event[start : start + groups]
            distinct: dict[tuple[int, ...], Hypothesis] = {}
            for score, event in zip(scores.flatten().tolist(), events.flatten().tolist(), strict=True):
                if event >= 0 and tokens[event] not in distinct:
                    distinct[tokens[event]] = Hypothesis(leaves[event], tokens[event], score)
            row = sorted(distinct.values(), key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens))
            found.append(row[: self.scores.shape[1]])
        return found


def beam_search(
    next_token: NextToken,
    constraint: Constraint,
    batch_size: int,
    num_beams: int,
    *,
    scoring: Scoring,
    length_penalty: float = 0.0,
    max_length: int | None = None,
    num_return: int | None = None,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.0,
    threshold: int | None = None,
) -> list[list[Hypothesis]]:
    """For each of `batch_size` queries at most `num_return` whole identifiers, best first, none twice.

    The options are those of `DecodingSettings`. A continuation whose score is -inf is impossible. Raises ConfigError for
    impossible settings, DataError where an identifier holds a token that the model does not have, GenirError where the
    model's scores are not numbers.
    """
    settings = DecodingSettings(
        num_beams, scoring, length_penalty, max_length, num_return, num_beam_groups, diversity_penalty, threshold
    )
    return search(next_token, constraint, batch_size, settings)


@torch.inference_mode()
def search(
    next_token: NextToken,
    constraint: Constraint,
    batch_size: int,
    settings: DecodingSettings,
    guide: Guide | None = None,
) -> list[list[Hypothesis]]:
    """`beam_search` by settings. With a `guide` a beam is judged by its score plus what the guide says of its node.

    A guide needs "logits" scoring, one group and no length penalty: sums, to which it adds.
    """
    if guide is not None and (settings.scoring, settings.num_beam_groups, settings.length_penalty) != ("logits", 1, 0):
        raise ConfigError("planning ahead adds to sums of logits: leave scoring, groups and length penalty as they are")
    groups = settings.num_beam_groups
    nodes = constraint.start(batch_size * groups)
    everyone = torch.arange(len(nodes), device=nodes.device)
    zeros = torch.zeros_like(nodes, dtype=torch.float32)
    beams = _Beams(everyone, nodes, zeros, nodes[:, None][:, :0], everyone // groups)
    finished = _Finished.empty(len(nodes), settings.pool, nodes.device)
    while len(beams.query) and beams.paths.shape[1] != settings.max_length:
        beams = _advance(beams, finished, next_token, constraint, settings, guide)
    return finished.hypotheses(groups)


def _advance(
    beams: _Beams,
    finished: _Finished,
    next_token: NextToken,
    constraint: Constraint,
    settings: DecodingSettings,
    guide: Guide | None,
) -> _Beams:
    """One token more for every beam: finishers join the pool; what runs on is returned."""
    tokens, nodes, mask = constraint.children(beams.nodes)
    added, rows = _continuation_scores(next_token, beams, tokens, mask, constraint, settings)
    if guide is not None:  # along a path what it says of a node takes the place of what it said of the parent
        added += guide(beams.query, nodes)
        if beams.paths.shape[1]:
            added -= guide(beams.query, beams.nodes[:, None])
    scores = _mask_out(added.add_(beams.scores[:, None]), mask)
    norm = (beams.paths.shape[1] + 1) ** settings.length_penalty

    def extended(scores: Tensor) -> _Beams:
        chosen = _choose(scores, beams.query, tokens, settings)
        parents, places = chosen.unbind(1)
        paths = torch.cat([beams.paths[parents], tokens[parents, places, None]], 1)
        return _Beams(beams.query[parents], nodes[parents, places], scores[parents, places], paths, rows[parents])

    best = extended(scores)
    leaves = constraint.leaf(best.nodes)
    ended = best.keep(leaves >= 0)
    if guide is not None:  # behind a leaf something better may lie
        ended.scores += guide.at_leaves(ended.query, ended.nodes) - guide(ended.query, ended.nodes[:, None])[:, 0]
    finished.add(ended, leaves[leaves >= 0], norm)

    if bool(constraint.continues(best.nodes).all()):
        running = best
    else:
        runs_on = constraint.continues(nodes) & mask
        running = extended(scores.masked_fill_(~runs_on, NOTHING))
    if settings.scoring == "logits":  # log-probabilities only fall; sums of logits may rise again
        return running
    return running.keep(_may_still_win(running, finished, settings))


def _mask_out(scores: Tensor, mask: Tensor) -> Tensor:
    """`scores` (N, F) with -inf where masked out, in place; the first columns, which all rows have, are passed over."""
    shared = int(mask.view(torch.uint8).amin(0).cumprod(0).sum())
    scores[:, shared:].masked_fill_(~mask[:, shared:], NOTHING)
    return scores


def _choose(scores: Tensor, query: Tensor, tokens: Tensor, settings: DecodingSettings) -> Tensor:
    if settings.num_beam_groups == 1:
        return select(scores, query, settings.num_beams)
    groups, penalty = settings.num_beam_groups, settings.diversity_penalty
    return select_diverse(scores, query, settings.num_beams, tokens, groups, penalty)


def _continuation_scores(
    next_token: NextToken,
    beams: _Beams,
    tokens: Tensor,
    mask: Tensor,
    constraint: Constraint,
    settings: DecodingSettings,
) -> tuple[Tensor, Tensor]:
    """Scores (N, F) of the legal continuations, anything where masked out, and each beam's row (N,) in the model's call."""
    first, everyone = not beams.paths.shape[1], torch.ones_like(beams.query, dtype=torch.bool)
    asked = ~constraint.settled(beams.nodes) if settings.scoring == "allowed" else everyone
    if first:
        asked = asked & (beams.query % settings.num_beam_groups == 0)  # one row a query
    if not bool(asked.any()):
        return torch.zeros_like(tokens, dtype=torch.float32), beams.rows
    if bool(asked.all()):
        scores = _ask(next_token, beams, tokens, mask, settings.scoring)
        return scores, torch.arange(len(scores), device=scores.device)
    some = _ask(next_token, beams.keep(asked), tokens[asked], mask[asked], settings.scoring)
    if first:
        return some[beams.rows], beams.rows
    scores = torch.zeros_like(tokens, dtype=torch.float32)
    scores[asked] = some
    return scores, torch.where(asked, asked.cumsum(0) - 1, -1)


def _ask(next_token: NextToken, beams: _Beams, tokens: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Scores (N, F) of the continuations of beams, by the model; anything where masked out."""
    first = not beams.paths.shape[1]
    last, parents = (beams.nodes, None) if first else (beams.paths[:, -1], beams.rows)
    if scoring == "vocabulary":
        return _log_probabilities(next_token(last, parents, None), tokens, mask)
    scores = next_token(last, parents, tokens).float()
    if scoring != "allowed":
        return scores
    possible = scores.masked_fill(~mask, NOTHING)
    return possible.log_softmax(1).masked_fill_(possible == NOTHING, NOTHING)  # a row without any would be NaN


def _log_probabilities(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax over V of logits (N, V), at tokens (N, F) only.

    On a CPU a few rows at a time: temporaries that stay in the cache are several times faster than fresh ones.
    """
    check_tokens(tokens, logits.shape[1])
    pieces = -(-logits.numel() // _CACHED) if logits.device.type == "cpu" else 1
    parts = zip(*(whole.chunk(pieces) for whole in (logits, tokens, mask)), strict=True)
    return torch.cat([allowed_scores(part.float().log_softmax(1), *places) for part, *places in parts])


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Raise DataError where a model of `vocab_size` tokens cannot write one of `tokens`."""
    highest = int(tokens.max()) if tokens.numel() else 0
    if highest >= vocab_size:
        raise DataError(
            f"an identifier holds token {highest}, but the model writes tokens 0 to {vocab_size - 1} only; "
            "use the model with the identifiers that it was trained for"
        )


def _may_still_win(running: _Beams, finished: _Finished, settings: DecodingSettings) -> Tensor:
    """Mask (N,): beams of queries whose best beam may still score above the pool's last place, or its threshold-th.

    Hugging Face's rule takes the best beam's score at its present length; a threshold takes the bound: log-probabilities
    only fall, and a positive penalty raises them most at the greatest length.
    """
    length, penalty = running.paths.shape[1], settings.length_penalty
    place = settings.pool if settings.threshold is None else settings.threshold
    if settings.threshold is not None and penalty > 0:
        norm = float("inf") if settings.max_length is None else settings.max_length**penalty
    else:
        norm = (length if settings.threshold is None else length + 1) ** penalty
    best = torch.full_like(finished.scores[:, 0], NOTHING)
    best.scatter_reduce_(0, running.query, running.scores, "amax")
    worst = finished.scores[:, place - 1]
    hopeful = best / norm > worst if settings.threshold is None else best / norm >= worst  # a lower path wins a tie
    return hopeful[running.query]
