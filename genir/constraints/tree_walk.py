"""Walks in the arrays of a tree as it was built, on the host, for many identifiers at once: by tokens, or by pool place.

Used by updates. The number of numpy calls grows with the depth of the tree, not with the number of identifiers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genir.constraints.tree_arrays import TreeArrays
from genir.constraints.tree_kernel import END, kernels
from genir.constraints.tree_rows import Ints, Rows, spans


@dataclass(frozen=True, slots=True, eq=False)
class Trails:
    """The explicit nodes that identifiers pass, level by level; -1 behind the last one."""

    nodes: list[Ints]  # a level each: (k,)
    edges: list[Ints]  # (k,) the edge taken from it; -1 where there is none: the identifier ends, or leaves the tree

    @property
    def depth(self) -> Ints:
        """(k,) the level of each one's last explicit node."""
        levels: Ints = np.sum([nodes >= 0 for nodes in self.nodes], 0) - 1
        return levels

    def last(self) -> tuple[Ints, Ints]:
        """(k,) twice: the last explicit node, and the edge taken from it, into the pool, or -1."""
        depth, column = self.depth, np.arange(len(self.nodes[0]))
        return np.stack(self.nodes)[depth, column], np.stack(self.edges)[depth, column]

    def take(self, rows: Ints) -> "Trails":
        """Those of some identifiers."""
        return Trails([nodes[rows] for nodes in self.nodes], [edges[rows] for edges in self.edges])


class Walker:
    """A tree's arrays as numpy's; memory is shared."""

    def __init__(self, arrays: TreeArrays) -> None:
        tensors = arrays.tensors()
        self.offsets, self.tokens, self.targets, self.first, self.pool = (
            tensors[name].numpy() for name in ("offsets", "tokens", "targets", "first", "pool")
        )
        self.arrays = arrays
        self.explicit = arrays.explicit

    def by_tokens(self, rows: Rows) -> Trails:
        """As far as explicit nodes go."""

        def step(level: int, active: Ints, nodes: Ints) -> Ints:
            tokens = rows.column(active, level) - 1
            edges = self.lower_bound(nodes, tokens)
            found = (edges < self.offsets[nodes + 1]) & (tokens >= 0)
            found &= self.tokens[edges] == tokens
            return np.where(found, edges, -1)

        return self._walk(len(rows), step)

    def by_places(self, ends: Ints) -> Trails:
        """To the identifiers whose END stands at these places of the pool: it lies behind the last edge that starts before."""

        def step(_: int, active: Ints, nodes: Ints) -> Ints:
            places = ends[active]

            def starts_before(edges: Ints) -> Ints:
                targets = self.targets[edges].astype(np.int64)
                first = self.first[np.minimum(targets, self.explicit - 1)]
                starts = np.where(targets < self.explicit, np.where(first < 0, ~first, first), targets - self.explicit)
                before: Ints = starts <= places
                return before

            edges = self._bisect(nodes, starts_before) - 1
            return np.where(self.first[nodes] == ~places, -1, edges)

        return self._walk(len(ends), step)

    def lower_bound(self, nodes: Ints, tokens: Ints) -> Ints:
        """For each node its first edge whose token is not below the given one; the end of its edges if there is none."""
        bounds: Ints = kernels().lower_bound(nodes, tokens, self.offsets, self.tokens)
        return bounds

    def owners(self, edges: Ints) -> Ints:
        """The nodes that edges belong to."""
        # In the type of the offsets: numpy would convert them all.
        nodes: Ints = np.searchsorted(self.offsets, edges.astype(self.offsets.dtype), side="right") - 1
        return nodes

    def rest_of(self, edges: Ints) -> tuple[Rows, Ints]:
        """Of identifiers that are alone behind an edge: its token and all behind, and END's place in the pool."""
        ends = self.targets[edges].astype(np.int64) - self.explicit
        going = np.arange(len(edges))
        while len(going):
            going = going[self.pool[ends[going]] != END]
            ends[going] += 1
        starts = self.targets[edges].astype(np.int64) - self.explicit
        return prefixed(self.tokens[edges], Rows(self.pool, starts, ends - starts, 0)), ends

    def leaves(self, ends: Ints) -> Ints:
        """The leaves behind END at these places of the pool."""
        low: Ints = self.pool[ends + 1].astype(np.int64)
        if self.pool.dtype != np.int16:
            return low
        both: Ints = (low & 0xFFFF) | self.pool[ends + 2].astype(np.int64) << 16
        return both

    def _walk(self, count: int, step: Callable[[int, Ints, Ints], Ints]) -> Trails:
        active, nodes = np.arange(count), np.zeros(count, np.int64)
        trails = Trails([], [])
        while len(active) or not trails.nodes:
            taken = step(len(trails.nodes), active, nodes)
            for values, levels in ((nodes, trails.nodes), (taken, trails.edges)):
                level = np.full(count, -1)
                level[active] = values
                levels.append(level)
            onwards = taken >= 0
            onwards[onwards] = self.targets[taken[onwards]] < self.explicit
            active, nodes = active[onwards], self.targets[taken[onwards]].astype(np.int64)
        return trails

    def _bisect(self, nodes: Ints, goes_right: Callable[[Ints], Ints]) -> Ints:
        """For each node the first of its edges for which `goes_right` is false."""
        low, high = self.offsets[nodes].astype(np.int64), self.offsets[nodes + 1].astype(np.int64)
        while (open_ := low < high).any():
            middle = (low + high) >> 1  # where nothing is open at most one behind the last edge, which is padded
            right = goes_right(middle)
            low = np.where(open_ & right, middle + 1, low)
            high = np.where(open_ & ~right, middle, high)
        return low


def prefixed(heads: Ints, rows: Rows) -> Rows:
    """Every row with one token in front, packed anew."""
    lengths = rows.lengths + 1
    starts = np.cumsum(lengths) - lengths
    flat = np.empty(int(lengths.sum()), np.int64)
    flat[starts] = heads
    flat[spans(starts + 1, rows.lengths)] = rows.flat[spans(rows.starts, rows.lengths)]
    return Rows(flat, starts, lengths, int(lengths.min(initial=1)))
