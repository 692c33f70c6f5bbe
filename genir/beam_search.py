"""Beam search over a frozen set of identifiers, for any next-token function: all queries and all beams at once.

Hypotheses score the sum of their tokens' scores, divided by length ** length_penalty (length = tokens written).
What is kept is what Hugging Face's generate keeps (transformers 5, GenerationMixin._beam_search,
early_stopping=False): of all candidates of a query, those that end an identifier and rank within num_beams join its
finished pool, of which the best num_beams stay; of those behind which an identifier goes on, the best num_beams run
on. A candidate may do both.

Invariants: beams that do not exist are never carried (a query has as many rows as it has live beams, a finished query
has none), the rows of a query are ordered by token path, and among equal scores the lower token path comes first. Only
where a full pool meets a later finisher of equal score does the earlier one stay, whatever its path.

Known gap: with a positive length penalty the early stop is Hugging Face's, which judges running beams at their present
length; a longer identifier might have overtaken. With a penalty of 0 the early stop loses nothing.
"""

from dataclasses import dataclass, field

import torch

from genir.errors import ConfigError, DataError, GenirError, unknown_name
from genir.protocols import Constraint, NextToken, Scoring

_NOTHING = float("-inf")
_CACHED = 1 << 18  # float32 numbers that a core's cache holds
_SCORINGS = ("vocabulary", "allowed", "logits")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A whole identifier: its index in the constraint, its tokens, its score."""

    leaf: int
    tokens: tuple[int, ...]
    score: float


@dataclass(slots=True)
class _Beams:
    """The live beams, N rows, those of one query adjacent and in the order of their token paths."""

    query: torch.Tensor  # (N,) place in the batch, ascending
    nodes: torch.Tensor  # (N,)
    scores: torch.Tensor  # (N,) float32, sums
    paths: torch.Tensor  # (N, length)

    def keep(self, rows: torch.Tensor) -> "_Beams":
        """The beams of a mask (N,)."""
        return _Beams(self.query[rows], self.nodes[rows], self.scores[rows], self.paths[rows])


@dataclass(slots=True)
class _Finished:
    """The best num_beams whole identifiers of every query of the batch, best first; `event` -1 marks an empty place."""

    scores: torch.Tensor  # (B, K)
    event: torch.Tensor  # (B, K), a position in the concatenated leaves
    leaves: list[torch.Tensor] = field(default_factory=list)  # one entry a step
    paths: list[torch.Tensor] = field(default_factory=list)
    count: int = 0

    @classmethod
    def empty(cls, batch_size: int, num_beams: int, device: torch.device) -> "_Finished":
        """No identifier yet."""
        scores = torch.full((batch_size, num_beams), _NOTHING, device=device)
        return cls(scores, torch.full_like(scores, -1, dtype=torch.int64))

    def add(self, beams: _Beams, leaves: torch.Tensor, norm: float) -> None:
        """Offer beams that end identifiers `leaves` (E,), at most num_beams a query."""
        if not len(leaves):
            return
        scores, event = torch.full_like(self.scores, _NOTHING), torch.full_like(self.event, -1)
        places = _places(beams.query)
        scores[beams.query, places] = beams.scores / norm
        event[beams.query, places] = torch.arange(self.count, self.count + len(leaves), device=leaves.device)
        merged, order = torch.cat([self.scores, scores], 1).sort(stable=True, dim=1, descending=True)
        num_beams = scores.shape[1]
        self.scores = merged[:, :num_beams]
        self.event = torch.cat([self.event, event], 1).gather(1, order[:, :num_beams])
        self.leaves.append(leaves)
        self.paths.append(beams.paths)
        self.count += len(leaves)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Per query, best first, ties by token path."""
        tokens = [tuple(path) for paths in self.paths for path in paths.tolist()]
        leaves = [leaf for step in self.leaves for leaf in step.tolist()]
        found = []
        for scores, events in zip(self.scores.tolist(), self.event.tolist(), strict=True):
            row = [Hypothesis(leaves[e], tokens[e], s) for s, e in zip(scores, events, strict=True) if e >= 0]
            found.append(sorted(row, key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens)))
        return found


@torch.inference_mode()
def beam_search(
    next_token: NextToken,
    constraint: Constraint,
    batch_size: int,
    num_beams: int,
    *,
    scoring: Scoring,
    length_penalty: float = 0.0,
    max_length: int | None = None,
) -> list[list[Hypothesis]]:
    """For each of `batch_size` queries at most num_beams whole identifiers, best first, none twice.

    Identifiers longer than `max_length` tokens (None: any length) are not reached; a continuation whose score is -inf
    is impossible. Raises ConfigError for num_beams below 1 and for an unknown scoring, DataError where an identifier
    holds a token that the model does not have, GenirError where the model's scores are not numbers.
    """
    if num_beams < 1:
        raise ConfigError(f"num_beams must be at least 1, got {num_beams}")
    if scoring not in _SCORINGS:
        raise unknown_name("scoring", scoring, _SCORINGS)
    nodes = constraint.start(batch_size)
    everyone = torch.arange(batch_size, device=nodes.device)
    beams = _Beams(everyone, nodes, torch.zeros_like(nodes, dtype=torch.float32), nodes[:, None][:, :0])
    finished = _Finished.empty(batch_size, num_beams, nodes.device)
    tokens, parents = nodes, None
    while len(beams.query) and beams.paths.shape[1] != max_length:
        logits = next_token(tokens, parents)
        beams, parents = _advance(beams, finished, logits, constraint, num_beams, scoring, length_penalty)
        tokens = beams.paths[:, -1]
    return finished.hypotheses()


def _advance(
    beams: _Beams,
    finished: _Finished,
    logits: torch.Tensor,
    constraint: Constraint,
    num_beams: int,
    scoring: Scoring,
    length_penalty: float,
) -> tuple[_Beams, torch.Tensor]:
    """One token more for every beam: finishers join the pool; what runs on is returned, with each beam's old row."""
    tokens, nodes, mask = constraint.children(beams.nodes)
    scores = beams.scores[:, None] + _continuation_scores(logits, tokens, mask, scoring)
    norm = (beams.paths.shape[1] + 1) ** length_penalty

    def extended(chosen: torch.Tensor) -> tuple[_Beams, torch.Tensor]:
        parents, places = chosen.unbind(1)
        paths = torch.cat([beams.paths[parents], tokens[parents, places, None]], 1)
        return _Beams(beams.query[parents], nodes[parents, places], scores[parents, places], paths), parents

    best, _ = extended(_select(scores, beams.query, num_beams))
    leaves = constraint.leaf(best.nodes)
    finished.add(best.keep(leaves >= 0), leaves[leaves >= 0], norm)

    runs_on = constraint.continues(nodes) & mask
    running, parents = extended(_select(scores.masked_fill(~runs_on, _NOTHING), beams.query, num_beams))
    if scoring != "logits":  # log-probabilities only fall; sums of logits may rise again
        promising = _may_still_win(running, finished, norm)
        return running.keep(promising), parents[promising]
    return running, parents


def _continuation_scores(
    logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor, scoring: Scoring
) -> torch.Tensor:
    """Scores (N, F) of the legal continuations under logits (N, V); -inf where masked out."""
    highest = int(tokens.max())
    if highest >= logits.shape[1]:
        raise DataError(
            f"an identifier holds token {highest}, but the model writes tokens 0 to {logits.shape[1] - 1} only; "
            "use the model with the identifiers that it was trained for"
        )
    whole = scoring == "vocabulary"
    scores = _log_probabilities(logits, tokens) if whole else logits.gather(1, tokens).float()
    scores = scores.masked_fill(~mask, _NOTHING)
    if scoring == "allowed":
        scores = scores.log_softmax(1)
    if bool(scores.isnan().any()):
        raise GenirError("the model's scores are not numbers (NaN): its weights are broken, or its precision overflows")
    return scores


def _log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-softmax over V of logits (N, V), at tokens (N, F) only.

    On a CPU a few rows at a time: temporaries that stay in the cache are several times faster than fresh ones.
    """
    pieces = -(-logits.numel() // _CACHED) if logits.device.type == "cpu" else 1
    parts = zip(logits.chunk(pieces), tokens.chunk(pieces), strict=True)
    return torch.cat([part.float().log_softmax(1).gather(1, places) for part, places in parts])


def _select(scores: torch.Tensor, query: torch.Tensor, k: int) -> torch.Tensor:
    """(row, place) pairs (E, 2) of the k highest scores (N, F) of each query, in ascending order; -inf is never taken.

    Rows are in the order of their paths and places in that of their tokens, so ascending order is path order.
    """
    dense = torch.nn.functional.pad(query[1:] != query[:-1], (1, 0)).cumsum(0)
    places = _places(query)
    grid = scores.new_full((int(dense[-1]) + 1, int(places.max()) + 1, scores.shape[1]), _NOTHING)
    grid[dense, places] = scores
    return _highest(grid.flatten(1), k).view_as(grid)[dense, places].nonzero()


def _highest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Mask (Q, C) of the k highest scores of each row; among equals the leftmost, which topk alone does not promise."""
    possible = scores > _NOTHING
    if scores.shape[1] <= k:
        return possible
    threshold = scores.topk(k).values[:, -1:]
    above = scores > threshold
    level = (scores == threshold) & possible
    room = k - above.sum(1, keepdim=True)
    return above | (level & (level.cumsum(1) <= room))


def _may_still_win(running: _Beams, finished: _Finished, norm: float) -> torch.Tensor:
    """Mask (N,): beams of queries whose best beam scores above the worst of a full pool (Hugging Face's rule)."""
    best = torch.full_like(finished.scores[:, 0], _NOTHING)
    best.scatter_reduce_(0, running.query, running.scores, "amax")
    return (best / norm > finished.scores[:, -1])[running.query]


def _places(rows: torch.Tensor) -> torch.Tensor:
    """For each entry of an ascending (N,): how many equal ones stand before it."""
    return torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
