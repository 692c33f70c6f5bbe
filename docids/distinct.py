"""Making residual codes distinct at the least cost to what they reconstruct."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from genir.errors import ConfigError


def check_room(documents: int, levels: int, codes: int) -> int:
    """codes ** levels. Raises ConfigError where that is less than `documents`, or where either is below one."""
    if levels < 1 or codes < 1:
        raise ConfigError(f"identifiers need at least one level and one code, got {levels} levels of {codes}")
    room: int = codes**levels
    if room < documents:
        raise ConfigError(
            f"{levels} levels of {codes} codes make {room} identifiers, too few for {documents} distinct ones; "
            "raise levels or codes"
        )
    return room


def make_distinct(vectors: np.ndarray, codes: np.ndarray, codebooks: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes (N, L) with no row twice, and how many rows were changed.

    Of the rows of `vectors` (N, D) that share their codes, the one that its codes reconstruct best keeps them. Every
    other takes the nearest free code at the last level; where all C are taken, at the last two levels, and so on
    upwards. Codes that k-means left empty (zero vectors in `codebooks` (L, C, D)) are free ones. Raises ConfigError
    where C ** L < N.
    """
    levels, size, _ = codebooks.shape
    check_room(len(vectors), levels, size)
    reconstruction = sum(codebooks[level][codes[:, level]] for level in range(levels))
    by_error = np.argsort(((vectors - reconstruction) ** 2).sum(axis=1), kind="stable").tolist()
    rows = [tuple(row) for row in codes.tolist()]
    taken: dict[tuple[int, ...], int] = {}
    for row in by_error:
        taken.setdefault(rows[row], row)
    below = Counter(prefix for identifier in taken for prefix in _prefixes(identifier))
    moved = [row for row in by_error if taken[rows[row]] != row]
    distinct = codes.copy()
    for row in moved:
        place = _nearest_free(vectors[row], rows[row], codebooks, below)
        below.update(_prefixes(place))
        distinct[row] = place
    return distinct, len(moved)


def _prefixes(identifier: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    return (identifier[:length] for length in range(len(identifier) + 1))


def _nearest_free(
    vector: np.ndarray, wanted: tuple[int, ...], codebooks: np.ndarray, below: Counter[tuple[int, ...]]
) -> tuple[int, ...]:
    """The free identifier nearest to `vector`, taken greedily, that keeps as much of `wanted` as there is room for.

    `below` counts the identifiers taken under every prefix: one of length l is full at C ** (L - l).
    """
    levels, size, _ = codebooks.shape
    kept = levels - 1
    while below[wanted[:kept]] == size ** (levels - kept):
        kept -= 1
    chosen = wanted[:kept]
    rest = vector - sum((codebooks[level, code] for level, code in enumerate(chosen)), np.zeros_like(vector))
    for level in range(kept, levels):
        nearest = np.argsort(((rest - codebooks[level]) ** 2).sum(axis=1), kind="stable").tolist()
        code = next(c for c in nearest if below[(*chosen, c)] < size ** (levels - level - 1))
        chosen = (*chosen, code)
        rest = rest - codebooks[level, code]
    return chosen
