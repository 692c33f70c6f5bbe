"""What grows below touched nodes: new identifiers, and those whose lone rests they run into, as a small tree of its own.

It is built like any other, in which each touched node's position stands in front of what is behind the node.
"""

from dataclasses import dataclass

import numpy as np

from genir.constraints.tree_arrays import TreeArrays
from genir.constraints.tree_build import build_arrays
from genir.constraints.tree_kernel import END
from genir.constraints.tree_rows import Ints, Rows, contains, distinct, sort_rows, spans
from genir.constraints.tree_walk import Trails, Walker, prefixed


@dataclass(frozen=True, slots=True, eq=False)
class Sprouts:
    """Edges at touched nodes; targets by outside numbers (see tree_patch)."""

    owners: Ints  # of each edge, the position of its touched node; ascending
    tokens: Ints  # ascending for each owner
    targets: Ints
    ends: Ints  # (t,) the place in the sprouts' pool of an identifier that ends at the touched node, or -1
    arrays: TreeArrays | None  # nodes by their own numbers


def grow(
    walker: Walker, touched: Ints, new: Rows, new_leaves: Ints, trails: Trails, dead_edges: Ints
) -> tuple[Sprouts, Ints]:
    """The sprouts of `new` rows, whose trails end at `touched` nodes (t,), and the base's edges that they stand in for."""
    nodes, edges = trails.last()
    met = distinct(edges[edges >= 0])
    met = met[~contains(np.sort(dead_edges), met)]
    rests, ends = walker.rest_of(met)
    met_nodes = walker.owners(met)
    depth = trails.depth
    behind = Rows(new.flat, new.starts + depth, new.lengths - depth, 0)
    rows = prefixed(np.searchsorted(touched, nodes), behind).joined(
        prefixed(np.searchsorted(touched, met_nodes), rests)
    )
    none = np.full(len(touched), -1)
    if not len(rows):
        return Sprouts(met, met, met, none, None), met
    order, shared = sort_rows(rows)
    leaves = np.concatenate([new_leaves, walker.leaves(ends)])
    arrays, _ = build_arrays(rows, order, shared, leaves[order])
    return _read_sprouts(Walker(arrays), none, walker.explicit + len(walker.pool)), met


def _read_sprouts(small: Walker, ends: Ints, first_new: int) -> Sprouts:
    """The edges of the nodes behind the small tree's root, which stand for the touched nodes."""
    fan_out = int(small.offsets[1])
    owners, nodes = small.tokens[:fan_out].astype(np.int64), small.targets[:fan_out].astype(np.int64)
    explicit = nodes < small.explicit
    above, inner = owners[explicit], nodes[explicit]
    first = small.first[inner].astype(np.int64)
    ends[above[first < 0]] = ~first[first < 0]
    sizes = small.offsets[inner + 1] - small.offsets[inner]
    edges = spans(small.offsets[inner].astype(np.int64), sizes)
    places = nodes[~explicit] - small.explicit
    written = small.pool[places].astype(np.int64)
    ends[owners[~explicit][written == END]] = places[written == END]
    goes_on = written != END
    all_owners = np.concatenate([np.repeat(above, sizes), owners[~explicit][goes_on]])
    tokens = np.concatenate([small.tokens[edges], written[goes_on]])
    targets = np.concatenate([small.targets[edges], nodes[~explicit][goes_on] + 1])
    order = np.lexsort((tokens, all_owners))
    return Sprouts(all_owners[order], tokens[order], targets[order] + first_new, ends, small.arrays)
