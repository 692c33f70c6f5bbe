"""What additions and deletions mean for a tree: other documents at leaves it has, new identifiers, dead ones."""

from dataclasses import dataclass

import numpy as np

from genir.constraints.tree_documents import Documents, Groups, distinct_rows
from genir.constraints.tree_rows import Ints, Rows, contains, distinct, sort_rows, spans
from genir.constraints.tree_walk import Trails, Walker


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """See the module."""

    groups: Groups  # every leaf whose documents are not the base's
    new: Rows  # identifiers that the base does not have
    new_leaves: Ints
    new_trails: Trails
    dead: Ints  # END's places of the identifiers that have no document any more


def changes_of(walker: Walker, documents: Documents, added: Rows, numbers: Ints, deleted: Ints) -> Changes:
    """From the live added identifiers, their documents `numbers` (ascending), and all deleted documents (ascending)."""
    order, shared = sort_rows(added)
    first, _, place, _ = distinct_rows(order, shared)
    rows = added.take(first)
    trails = walker.by_tokens(rows)
    known = _known(walker, rows, trails)
    in_base = known >= 0
    leaves = numbers[first]
    leaves[in_base] = walker.leaves(known[in_base])
    old = deleted[deleted < len(documents)]
    bereft = distinct(walker.leaves(documents.ends[old].astype(np.int64)))
    base_leaves = distinct(np.concatenate([bereft, leaves[in_base]]))
    pair_leaves, pair_documents = documents.shared.pairs(base_leaves)
    live = ~contains(deleted, pair_documents)
    pairs = (
        np.concatenate([pair_leaves[live], leaves[place]]),
        np.concatenate([pair_documents[live], numbers[order]]),
    )
    groups = Groups.of_pairs(distinct(np.concatenate([base_leaves, leaves])), *pairs)
    dead = bereft[~contains(np.sort(pairs[0]), bereft)]
    new = np.flatnonzero(~in_base)
    return Changes(groups, rows.take(new), leaves[new], trails.take(new), documents.ends[dead].astype(np.int64))


def _known(walker: Walker, rows: Rows, trails: Trails) -> Ints:
    """END's places of the identifiers that the base has, -1 for the others, (rows,)."""
    nodes, edges = trails.last()
    depth = trails.depth
    found = np.full(len(rows), -1)
    here = rows.lengths == depth
    first = walker.first[nodes].astype(np.int64)
    found[here & (first < 0)] = ~first[here & (first < 0)]
    alone = np.flatnonzero(edges >= 0)
    _, ends = walker.rest_of(edges[alone])
    starts = walker.targets[edges[alone]].astype(np.int64) - walker.explicit
    lengths = ends - starts
    fits = lengths == rows.lengths[alone] - depth[alone] - 1
    alone, ends, starts, lengths = (values[fits] for values in (alone, ends, starts, lengths))
    theirs = rows.flat[spans(rows.starts[alone] + depth[alone] + 1, lengths)]
    differs = walker.pool[spans(starts, lengths)] != theirs
    owners = np.repeat(np.arange(len(alone)), lengths)
    same = np.bincount(owners[differs], minlength=len(alone)) == 0
    found[alone[same]] = ends[same]
    return found
