"""What beams ask of `TreeArrays`, on the host: compiled loops, by numba.

A step of some hundred beams is too small for tensor operations: thirty of them cost several times what the memory does.
The first call compiles (a second or two; later processes read the result from numba's cache on disk). On other devices
the tensor operations answer the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from genir.constraints.tree_rows import Ints

END = -1  # behind the last token of a lone rest
_WIDE = 64


@dataclass(frozen=True, slots=True)
class Kernels:
    """Compiled loops, most over nodes (N,); `arrays` are offsets, tokens, targets, first and pool."""

    touch: Callable[..., tuple[int, int]]
    fill: Callable[..., None]
    leaf: Callable[..., Ints]
    continues: Callable[..., Ints]
    settled: Callable[..., Ints]
    copy_pieces: Callable[..., None]
    lower_bound: Callable[..., Ints]

    def children(self, nodes: Ints, arrays: tuple[Ints, ...], explicit: int, shift: int) -> tuple[Ints, Ints, Ints]:
        """Tokens (N, F), child nodes (N, F), mask (N, F); children of pool nodes are numbered `shift` higher."""
        offsets, tokens, targets, _, pool = arrays
        shape = (len(nodes), self.touch(nodes, offsets, tokens, targets, explicit)[0])
        found, following, mask = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.bool_)
        self.fill(nodes, offsets, tokens, targets, pool, explicit, shift, found, following, mask)
        return found, following, mask


@cache
def kernels() -> Kernels:
    """The loops; numba takes half a second to import, so it is imported at the first step."""
    from numba import njit

    compile_: Any = njit(cache=True, nogil=True)
    return Kernels(*map(compile_, (_touch, _fill, _leaf, _continues, _settled, _copy_pieces, _lower_bound)))


def _touch(nodes: Ints, offsets: Ints, tokens: Ints, targets: Ints, explicit: int) -> tuple[int, int]:
    """The widest fan-out; and a sum that makes sure that the first edge of every row was fetched.

    Rows lie anywhere in memory. Here nothing waits for anything, so many fetches are under way at once; `_fill` would wait for
    one row after another.
    """
    widest, fetched = 1, 0
    for node in nodes:
        place = min(node, explicit - 1)
        start, end = offsets[place], offsets[place + 1]
        widest = max(widest, (end - start) * (node < explicit))
        fetched += tokens[start] + targets[start] + targets[end]
    return widest, fetched


def _fill(
    nodes: Ints,
    offsets: Ints,
    tokens: Ints,
    targets: Ints,
    pool: Ints,
    explicit: int,
    shift: int,
    found: Ints,
    following: Ints,
    mask: Ints,
) -> None:
    for row in range(len(nodes)):
        node = nodes[row]
        count = 0
        if node < explicit:
            start = offsets[node]
            count = offsets[node + 1] - start
            if count < _WIDE:
                for place in range(count):
                    found[row, place] = tokens[start + place]
                    following[row, place] = targets[start + place]
                    mask[row, place] = True
            else:  # slices compile to vector instructions, for a price
                found[row, :count] = tokens[start : start + count]
                following[row, :count] = targets[start : start + count]
                mask[row, :count] = True
        elif pool[node - explicit] >= 0:
            count = 1
            found[row, 0] = pool[node - explicit]
            following[row, 0] = node + 1 + shift
            mask[row, 0] = True
        for place in range(count, found.shape[1]):
            found[row, place] = 0
            following[row, place] = 0
            mask[row, place] = False


def _leaf(nodes: Ints, first: Ints, pool: Ints, explicit: int, halves: bool) -> Ints:
    """The leaf at each node, or -1; `halves`: leaves stand in two entries of 16 bits."""
    leaves = np.full(len(nodes), -1, np.int64)
    for row in range(len(nodes)):
        place = nodes[row] - explicit
        if place < 0:
            place = ~np.int64(first[nodes[row]])
        elif pool[place] != END:
            place = -1
        if place >= 0:
            low = np.int64(pool[place + 1])
            leaves[row] = low if not halves else (low & 0xFFFF) | (np.int64(pool[place + 2]) << 16)
    return leaves


def _continues(nodes: Ints, offsets: Ints, pool: Ints, explicit: int) -> Ints:
    """Whether any identifier goes on behind each node."""
    goes_on = np.empty(len(nodes), np.bool_)
    for row in range(len(nodes)):
        node = nodes[row]
        if node < explicit:
            goes_on[row] = offsets[node + 1] > offsets[node]
        else:
            goes_on[row] = pool[node - explicit] != END
    return goes_on


def _settled(nodes: Ints, pool: Ints, explicit: int) -> Ints:
    """Whether a lone rest remains to be written."""
    lone = np.zeros(len(nodes), np.bool_)
    for row in range(len(nodes)):
        if nodes[row] >= explicit:
            lone[row] = pool[nodes[row] - explicit] != END
    return lone


def _copy_pieces(values: Ints, starts: Ints, sizes: Ints, out: Ints) -> None:
    """Fill `out` with the pieces of `values` that start at `starts`, one behind the other."""
    end = 0
    for piece in range(len(starts)):
        begin, end = end, end + sizes[piece]
        out[begin:end] = values[starts[piece] : starts[piece] + sizes[piece]]


def _lower_bound(nodes: Ints, tokens: Ints, offsets: Ints, edge_tokens: Ints) -> Ints:
    """For each node its first edge whose token is not below the given one; the end of its edges if there is none."""
    bounds = np.empty(len(nodes), np.int64)
    for row in range(len(nodes)):
        low, high = np.int64(offsets[nodes[row]]), np.int64(offsets[nodes[row] + 1])
        while low < high:
            middle = (low + high) >> 1
            if edge_tokens[middle] < tokens[row]:
                low = middle + 1
            else:
                high = middle
        bounds[row] = low
    return bounds
