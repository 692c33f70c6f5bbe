"""Sorted identifiers -> the arrays of a prefix tree; numpy only, a fixed number of passes a level.

    1. sort (tree_rows.sort_rows), which also says how many tokens neighbours share
    2. pool: behind the last token that an identifier shares with a neighbour stands its own rest
    3. levels: runs of rows that share d tokens are the explicit nodes of level d

Invariant: the pool is in the order of the identifiers, so that the identifiers behind a node are a stretch of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genir.constraints.tree_arrays import TreeArrays, smallest
from genir.constraints.tree_kernel import END
from genir.constraints.tree_rows import Ints, Rows, spans

_CHUNK = 1 << 18  # rows whose tokens are copied at once: what a cache holds


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Distinct identifiers in ascending order, with where each one's rest starts."""

    rows: Rows
    order: Ints  # (U,) row numbers
    before: Ints  # (U,) tokens shared with the one before, -1 for the first
    after: Ints  # (U,) and with the one behind
    lengths: Ints  # (U,)
    cut: Ints  # (U,) tokens in front of the rest
    begins: Ints  # (U,) where the rest stands in the pool


def build_arrays(rows: Rows, order: Ints, shared: Ints, leaves: Ints) -> tuple[TreeArrays, Ints]:
    """The tree of distinct rows `order` (U,) as `sort_rows` gives them, and each one's place of END in the pool (U,).

    `leaves` (U,) are their numbers, below 2^31.
    """
    after = np.append(shared[1:], np.int32(-1))
    lengths = rows.lengths[order]
    cut = np.minimum(np.maximum(shared, after) + 1, lengths)
    kind = np.dtype(np.int16 if int(rows.flat.max()) < 2**15 else np.int32)
    sizes = lengths - cut + 1 + 4 // kind.itemsize
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    given = _Sorted(rows, order, shared, after, lengths, cut, ends - sizes)
    ends -= sizes - lengths + cut
    pool = _pool(given, leaves, ends, total, kind)
    return _levels(given, pool), ends


def pack_arrays(offsets: Ints, tokens: list[Ints], targets: list[Ints], first: Ints, pool: Ints) -> TreeArrays:
    """Arrays of the smallest types, the edges (in parts) padded for windows of the largest fan-out."""
    fan_out = np.diff(offsets)
    widest = max(int(fan_out.max(initial=0)), 1)
    padding = np.zeros(widest - (int(fan_out[-1]) if len(fan_out) else 0) + 1, np.int16)
    all_targets = np.concatenate([*targets, padding])
    return TreeArrays(
        _tensor(offsets, smallest(len(all_targets))),
        torch.from_numpy(np.concatenate([*tokens, padding])),
        _tensor(all_targets, smallest(int(all_targets.max()))),
        _tensor(first, smallest(len(pool))),
        torch.from_numpy(pool),
        widest,
    )


def leaf_units(leaves: Ints, kind: Any) -> Ints:
    """(N, 2) for 16 bits, (N, 1) for 32: leaves as they stand in a pool of that type, lower half first."""
    shifts = (0, 16) if kind == np.int16 else (0,)
    return np.stack([leaves >> shift for shift in shifts], 1).astype(kind)


def _pool(given: _Sorted, leaves: Ints, ends: Ints, total: int, kind: Any) -> Ints:
    pool = np.empty(total, kind)
    flat, last = given.rows.flat, len(given.rows.flat) - 1
    for start in range(0, len(ends), _CHUNK):
        part = slice(start, start + _CHUNK)
        units = leaf_units(leaves[part], kind)
        begins, at_end = given.begins[part], ends[part]
        sizes = at_end - begins + 1 + units.shape[1]
        here = slice(int(begins[0]), int(begins[-1] + sizes[-1]))
        # Tokens are read beyond each row's end, where END and the leaf are written over them.
        pool[here] = flat[np.minimum(spans(given.rows.starts[given.order[part]] + given.cut[part], sizes), last)]
        pool[at_end] = END
        for unit in range(units.shape[1]):
            pool[at_end + (1 + unit)] = units[:, unit]
    return pool


def _levels(given: _Sorted, pool: Ints) -> TreeArrays:
    fan_outs, tokens, targets, first = [], [], [], []
    alive, depth, known = np.arange(len(given.order)), 0, 1  # nodes numbered so far
    while len(alive):
        before, lengths = given.before[alive], given.lengths[alive]
        branches = (before <= depth) & (lengths > depth)
        opens = np.flatnonzero(before < depth)
        fan_outs.append(np.add.reduceat(branches, opens, dtype=np.int64))
        heads = alive[opens]
        first.append(np.where(lengths[opens] == depth, ~given.begins[heads], given.begins[heads]))
        edges = alive[branches]
        tokens.append(given.rows.flat[given.rows.starts[given.order[edges]] + depth].astype(pool.dtype))
        deeper = given.after[edges] > depth
        rest = ~(given.begins[edges] + (depth + 1) - given.cut[edges])
        targets.append(np.where(deeper, known - 1 + np.cumsum(deeper), rest))
        known += int(np.count_nonzero(deeper))
        alive = alive[(before > depth) | (given.after[alive] > depth)]
        depth += 1
    offsets = np.append(0, np.cumsum(np.concatenate(fan_outs)))
    all_targets = np.concatenate(targets)
    in_pool = all_targets < 0
    all_targets[in_pool] = known + ~all_targets[in_pool]
    return pack_arrays(offsets, tokens, [all_targets], np.concatenate(first), pool)


def _tensor(values: Ints, kind: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(kind)
