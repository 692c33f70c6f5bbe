"""Additions and deletions -> a patch. numpy on the host; the base is read along the paths of what changed, and not copied.

    1. documents: which leaves have other documents now, and which have none
    2. walks: the explicit nodes above every new and every dead identifier are touched
    3. sprouts: what grows below touched nodes (new identifiers, and those whose lone rests they run into) is a small
       tree of its own, built like any other, in which each touched node's number stands in front of what is behind it
    4. counts, from the deepest level up: identifiers behind each touched node; edges to dead ones go
    5. lists: each touched node's edges in the base, less those that go, plus its sprouts

Cost: the fan-outs of the touched nodes, plus what was added and deleted since the tree was built (all of it, each time:
build anew when that comes near the size of the tree).
"""

from typing import Any

import numpy as np
import torch

from genir.constraints.tree_arrays import TreeArrays
from genir.constraints.tree_build import leaf_units, pack_arrays
from genir.constraints.tree_changes import changes_of
from genir.constraints.tree_documents import Documents
from genir.constraints.tree_kernel import END, kernels
from genir.constraints.tree_patch import Patch
from genir.constraints.tree_rows import Ints, Rows, contains, distinct, spans
from genir.constraints.tree_sprouts import Sprouts, grow
from genir.constraints.tree_walk import Trails, Walker

_NO_INTS = np.zeros(0, np.int64)
NO_ROWS = Rows(_NO_INTS, _NO_INTS, _NO_INTS, 0)


def make_patch(
    base: TreeArrays, documents: Documents, identifiers: int, added: Rows, numbers: Ints, deleted: Ints, count: int
) -> Patch:
    """The patch for a tree on the host whose live added documents are `numbers`, of `count` that were ever numbered."""
    walker = Walker(base)
    changes = changes_of(walker, documents, added, numbers, deleted)
    dead_trails = walker.by_places(changes.dead)
    levels = _touched_levels([changes.new_trails, dead_trails])
    touched = np.concatenate([nodes for nodes, _ in levels])
    dead_nodes, dead_edges = dead_trails.last()
    sprouts, replaced = grow(walker, touched, changes.new, changes.new_leaves, changes.new_trails, dead_edges)
    kept_end = walker.first[touched] < 0
    kept_end[np.searchsorted(touched, dead_nodes[dead_edges < 0])] = False
    gone = distinct(np.concatenate([replaced, dead_edges[dead_edges >= 0]]))
    gone, weight = _prune(walker, levels, touched, gone, sprouts, kept_end)
    overlay, kept = _overlay(walker, touched, gone, sprouts, kept_end, weight)
    ends_here = kept_end | (sprouts.ends >= 0)
    return Patch(
        added,
        numbers,
        deleted,
        count,
        identifiers + len(changes.new) - len(changes.dead),
        changes.groups,
        torch.from_numpy(touched[kept]),
        torch.from_numpy(((weight == 1) & ~ends_here)[kept]),
        overlay,
    )


def _touched_levels(trails: list[Trails]) -> list[tuple[Ints, Ints]]:
    """Level by level: the touched nodes, ascending, and for each the edge that leads to it (-1: the root)."""
    levels = []
    for level in range(max(len(trail.nodes) for trail in trails)):
        having = [trail for trail in trails if level < len(trail.nodes)]
        nodes = np.concatenate([trail.nodes[level] for trail in having])
        edges = np.concatenate(
            [trail.edges[level - 1] if level else np.full_like(trail.nodes[0], -1) for trail in having]
        )
        distinct, places = np.unique(nodes, return_index=True)
        inside = distinct >= 0
        levels.append((distinct[inside], edges[places[inside]]))
    return levels


def _prune(
    walker: Walker, levels: list[tuple[Ints, Ints]], touched: Ints, gone: Ints, sprouts: Sprouts, kept_end: Ints
) -> tuple[Ints, Ints]:
    """All edges of the base that go, and how many identifiers are behind each touched node (t,): none, 1, or 2 for more."""
    weight = np.full(len(touched), 2)
    fan_out = walker.offsets[touched + 1] - walker.offsets[touched]
    sprouting = np.bincount(sprouts.owners, minlength=len(touched))
    only_end = (kept_end | (sprouts.ends >= 0)).astype(np.int64)
    light = np.zeros(len(touched), bool)  # whether a touched node's first sprout is a lone rest
    if sprouts.arrays is not None:
        new_explicit = walker.explicit + len(walker.pool) + sprouts.arrays.explicit
        light[sprouts.owners] = sprouts.targets >= new_explicit
    stop = len(touched)
    for nodes, edges_above in reversed(levels):
        here = slice(stop - len(nodes), stop)
        owners = walker.owners(gone)
        staying = fan_out[here] - _count(owners, nodes)
        entries = staying + sprouting[here] + only_end[here]
        weight[here][entries == 0] = 0
        weight[here][(entries == 1) & ((only_end[here] == 1) | ((sprouting[here] == 1) & light[here]))] = 1
        last = np.flatnonzero((entries == 1) & (staying == 1))
        weight[here.start + last] = _weight_of_last_edge(walker, nodes[last], gone, touched, weight)
        gone = distinct(np.concatenate([gone, edges_above[(weight[here] == 0) & (edges_above >= 0)]]))
        stop = here.start
    return gone, weight


def _weight_of_last_edge(walker: Walker, nodes: Ints, gone: Ints, touched: Ints, weight: Ints) -> Ints:
    """Identifiers behind nodes of which one edge stays."""
    starts = walker.offsets[nodes].astype(np.int64)
    edges = spans(starts, walker.offsets[nodes + 1] - starts)
    targets = walker.targets[edges[~contains(gone, edges)]].astype(np.int64)
    places = np.minimum(np.searchsorted(touched, targets), len(touched) - 1)
    behind = np.where(touched[places] == targets, weight[places], 2)
    counts: Ints = np.where(targets >= walker.explicit, 1, behind)
    return counts


def _overlay(
    walker: Walker, touched: Ints, gone: Ints, sprouts: Sprouts, kept_end: Ints, weight: Ints
) -> tuple[TreeArrays, Ints]:
    """The overlay, and which touched nodes it has (t,): those with identifiers behind them, and the root."""
    kept = weight > 0
    kept[:1] = True  # the root
    nodes = touched[kept]
    starts = walker.offsets[nodes].astype(np.int64)
    sizes = walker.offsets[nodes + 1] - starts
    begins = np.cumsum(sizes) - sizes
    owners = np.searchsorted(nodes, touched[sprouts.owners])
    bounds = walker.lower_bound(nodes[owners], sprouts.tokens)
    gone_owners = walker.owners(gone)
    inside = contains(nodes, gone_owners)
    gone, gone_owners = gone[inside], np.searchsorted(nodes, gone_owners[inside])
    shift = begins - starts  # from an edge's place in the base to that among the touched nodes' edges
    places = bounds + shift[owners]
    places += np.arange(len(places)) - np.searchsorted(gone + shift[gone_owners], places)

    # The base in pieces: a sprout cuts behind its bound and goes on at it, so that it has an edge to write over.
    piece_starts = np.sort(np.concatenate([starts, bounds, gone + 1]))
    piece_sizes = np.sort(np.concatenate([starts + sizes, bounds + 1, gone])) - piece_starts

    def merge(values: Ints, sprouting: Ints) -> Ints:
        merged = np.empty(int(piece_sizes.sum()), _type_for(values, sprouting))
        kernels().copy_pieces(values, piece_starts, piece_sizes, merged)
        merged[places] = sprouting
        return merged

    fan_out = sizes - np.bincount(gone_owners, minlength=len(nodes)) + np.bincount(owners, minlength=len(nodes))
    ends = np.where(kept_end, ~walker.first[touched].astype(np.int64), -1)
    return (
        _with_sprouts(
            walker,
            (fan_out, merge(walker.tokens, sprouts.tokens), merge(walker.targets, sprouts.targets)),
            ends[kept],
            sprouts,
            sprouts.ends[kept],
        ),
        kept,
    )


def _with_sprouts(
    walker: Walker, lists: tuple[Ints, Ints, Ints], base_ends: Ints, sprouts: Sprouts, sprout_ends: Ints
) -> TreeArrays:
    """One set of arrays: touched nodes (fan-outs, tokens, targets), then the sprouts'."""
    fan_out, tokens, targets = lists[0], [lists[1]], [lists[2]]
    pool, first = np.full(1, END, np.int16), np.zeros(0, np.int64)
    if sprouts.arrays is not None:
        small, first_new = Walker(sprouts.arrays), walker.explicit + len(walker.pool)
        edges = int(small.offsets[-1])
        fan_out = np.concatenate([fan_out, np.diff(small.offsets)])
        tokens.append(small.tokens[:edges])
        behind = small.targets[:edges].astype(np.int64) + first_new
        targets.append(behind.astype(_type_for(lists[2], behind)))
        pool, first = small.pool, small.first.astype(np.int64)
    ending = np.flatnonzero(base_ends >= 0)
    units = leaf_units(walker.leaves(base_ends[ending]), pool.dtype)
    own = np.concatenate([np.full((len(ending), 1), END, pool.dtype), units], 1)
    touched_first = np.where(sprout_ends >= 0, ~sprout_ends, 0)
    touched_first[ending] = ~(len(pool) + np.arange(len(ending)) * own.shape[1])
    return pack_arrays(
        np.append(0, np.cumsum(fan_out)),
        tokens,
        targets,
        np.concatenate([touched_first, first]),
        np.concatenate([pool, own.reshape(-1)]),
    )


def _type_for(values: Ints, others: Ints) -> Any:
    """The type of `values` where `others` fit into it, else int64: a copy into a wider type costs more than the rest."""
    return values.dtype if others.max(initial=0) <= np.iinfo(values.dtype).max else np.int64


def _count(values: Ints, ascending: Ints) -> Ints:
    """How often each of a sorted array occurs among `values`; all of those outside it are left out."""
    inside = values[contains(ascending, values)]
    return np.bincount(np.searchsorted(ascending, inside), minlength=len(ascending))
