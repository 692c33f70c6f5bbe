"""`TreeArrays.children` on the host as one compiled loop, by numba, where that is installed.

A step of some hundred beams is too small for tensor operations: thirty of them cost several times what the memory does.
The first call compiles (a second; later processes read the result from numba's cache on disk). Without numba, and on
other devices, the tensor operations answer the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from genir.constraints.tree_rows import Ints

_WIDE = 64


@cache
def compiled() -> Callable[..., tuple[Ints, Ints, Ints]] | None:
    """(nodes, offsets, tokens, targets, pool, explicit, shift) -> tokens, children, mask; None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None
    compile_: Any = njit(cache=True, nogil=True)
    touch, fill = compile_(_touch), compile_(_fill)

    def children(
        nodes: Ints, offsets: Ints, tokens: Ints, targets: Ints, pool: Ints, explicit: int, shift: int
    ) -> tuple[Ints, Ints, Ints]:
        shape = (len(nodes), touch(nodes, offsets, tokens, targets, explicit)[0])
        found, following, mask = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.bool_)
        fill(nodes, offsets, tokens, targets, pool, explicit, shift, found, following, mask)
        return found, following, mask

    return children


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
