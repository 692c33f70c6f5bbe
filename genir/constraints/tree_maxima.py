"""The best identifier behind every node of a prefix tree, where each identifier has a score known beforehand.

Planning ahead (PAG, Zeng et al. 2024, arXiv:2404.14600) adds to a beam the score of the best document that it can still reach.
Nodes stand level by level, children behind their parents, so that one pass over the edges from the last level to the first finds
the maxima of all nodes. Nothing of a patch is known: plan on a tree as it was built.

Shape letters: B queries, N documents, R distinct identifiers in token order, M explicit nodes, P places of the pool.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genir.constraints.trie import PrefixTree
from genir.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class TreeMaxima:
    """What is the same for all scores."""

    edges: list[
        tuple[int, int, Tensor, Tensor]
    ]  # a level each: its nodes [first, last), owners and targets of their edges
    own: Tensor  # (M,) rank of the identifier that ends at a node, or -1
    rank_of_place: Tensor  # (P,) the rank of the identifier that a place of the pool belongs to
    rank_of_document: Tensor  # (N,) documents that share an identifier share its rank
    identifiers: int

    @property
    def nbytes(self) -> int:
        """Memory of all of it."""
        edges = sum(owners.nbytes + targets.nbytes for _, _, owners, targets in self.edges)
        return edges + self.own.nbytes + self.rank_of_place.nbytes + self.rank_of_document.nbytes

    @classmethod
    def of(cls, tree: PrefixTree) -> "TreeMaxima":
        """For a tree on any device. Raises DataError for one that was changed since it was built."""
        if tree.patch is not None:
            raise DataError("documents were added or removed since the tree was built: build it again to plan on it")
        arrays, device = tree.arrays, tree.device
        distinct, ranks = np.unique(np.asarray(tree.documents.ends, dtype=np.int64), return_inverse=True)
        ends, rank_of_document = torch.from_numpy(distinct), torch.from_numpy(ranks)
        first = arrays.first.long()
        own = torch.where(first < 0, torch.searchsorted(ends.to(device), ~first), -1)
        places = torch.arange(len(arrays.pool))
        rank_of_place = torch.searchsorted(ends, places).clamp(max=len(ends) - 1)
        offsets = arrays.offsets.long()
        edges = []
        start, stop = 0, min(1, arrays.explicit)  # the nodes of a level
        while start < stop:
            targets = arrays.targets[int(offsets[start]) : int(offsets[stop])].long()
            owners = torch.repeat_interleave(offsets[start + 1 : stop + 1] - offsets[start:stop])
            edges.append((start, stop, owners, targets))
            start, stop = stop, stop + int((targets < arrays.explicit).sum())
        return cls(edges, own, rank_of_place.to(device), rank_of_document.to(device), len(ends))

    def plan(self, scores: Tensor) -> "Plan":
        """The maxima of documents' scores (B, N)."""
        B, M = len(scores), len(self.own)
        by_rank = scores.new_full((B, self.identifiers), -torch.inf)
        by_rank.scatter_reduce_(1, self.rank_of_document.expand(B, -1), scores, "amax")
        nodes = scores.new_full((B, M), -torch.inf)
        ending = self.own >= 0
        nodes[:, ending] = by_rank[:, self.own[ending]]
        for start, stop, owners, targets in reversed(self.edges):
            inner = nodes[:, targets.clamp(max=M - 1)]
            lone = by_rank[:, self.rank_of_place[(targets - M).clamp(min=0)]]
            values = torch.where(targets < M, inner, lone)
            nodes[:, start:stop].scatter_reduce_(1, owners.expand(B, -1), values, "amax")
        return Plan(self, scores, by_rank, nodes)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What each of B queries can still hope for at any node; a `genir.beam_search.Guide`."""

    maxima: TreeMaxima
    documents: Tensor  # (B, N)
    by_rank: Tensor  # (B, R)
    nodes: Tensor  # (B, M)

    def __call__(self, query: Tensor, nodes: Tensor) -> Tensor:
        """Shape of `nodes` (K, F): the best score at or behind each, for queries (K,)."""
        M = self.nodes.shape[1]
        rows = query[:, None].expand_as(nodes)
        places = (nodes - M).clamp(min=0)
        lone = self.by_rank[rows, self.maxima.rank_of_place[places]]
        if not M:
            return lone
        return torch.where(nodes < M, self.nodes[rows, nodes.clamp(max=M - 1)], lone)

    def at_leaves(self, query: Tensor, nodes: Tensor) -> Tensor:
        """Shape (K,): the best score of the documents under the identifiers that end at nodes (K,)."""
        M = self.nodes.shape[1]
        ranks = self.maxima.rank_of_place[(nodes - M).clamp(min=0)]
        if M:
            ranks = torch.where(nodes < M, self.maxima.own[nodes.clamp(max=M - 1)], ranks)
        return self.by_rank[query, ranks]
