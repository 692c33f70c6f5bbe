"""Identifiers one behind the other in a flat array, checked, and brought into the order of their tokens.

Invariants: every row holds at least one token and every token is 0 .. LARGEST_TOKEN. Sorting is stable: equal rows keep
their order. Known gap: a table of more than 2^31 - 1 rows is refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import index
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from genir.errors import DataError

Ints: TypeAlias = NDArray[Any]
# A Sequence of int sequences, or a 2-D array or tensor of ints (a row an identifier).
Identifiers: TypeAlias = Sequence[Sequence[int]] | Ints | torch.Tensor

LARGEST_TOKEN = 2**31 - 1
TWIN = 2**31 - 1  # in place of the number of shared tokens: the row is the same as the one before
_KEY_BITS = 63


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Row r is flat[starts[r] : starts[r] + lengths[r]]."""

    flat: Ints
    starts: Ints  # (rows,) int64
    lengths: Ints  # (rows,) int64
    shortest: int

    def __len__(self) -> int:
        return len(self.lengths)

    def column(self, rows: Ints, depth: int) -> Ints:
        """The tokens of `rows` at `depth`, plus one; 0 behind a row's end. int64."""
        if depth < self.shortest:
            return self.flat.take(self.starts[rows] + depth).astype(np.int64) + 1
        found = np.zeros(len(rows), np.int64)
        inside = self.lengths[rows] > depth
        found[inside] = self.flat[self.starts[rows[inside]] + depth].astype(np.int64) + 1
        return found

    def take(self, rows: Ints) -> "Rows":
        """Some rows, packed anew."""
        lengths = self.lengths[rows]
        return pack(self.flat[spans(self.starts[rows], lengths)], lengths)

    def joined(self, other: "Rows") -> "Rows":
        """These rows, then the other's."""
        return pack(np.concatenate([self.flat, other.flat]), np.concatenate([self.lengths, other.lengths]))


def pack(flat: Ints, lengths: Ints) -> Rows:
    """Rows that stand one behind the other."""
    return Rows(flat, np.cumsum(lengths) - lengths, lengths, int(lengths.min(initial=LARGEST_TOKEN)))


def spans(starts: Ints, lengths: Ints) -> Ints:
    """The places starts[i], starts[i] + 1, .. (lengths[i] of them), for one i after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def distinct(values: Ints) -> Ints:
    """The values in ascending order, each once (np.unique hashes first, which costs more for a few thousand)."""
    ascending = np.sort(values)
    fresh = np.ones(len(ascending), bool)
    fresh[1:] = ascending[1:] != ascending[:-1]
    once: Ints = ascending[fresh]
    return once


def contains(ascending: Ints, values: Ints) -> Ints:
    """Whether each value, 0 or more, is in a sorted array: (values,) bool."""
    found: Ints = np.append(ascending, -1)[np.searchsorted(ascending, values)] == values
    return found & (values >= 0)


def read_rows(identifiers: Identifiers, vocab_size: int | None) -> Rows:
    """The identifiers as rows; a 2-D array is not copied.

    Raises DataError for no identifier at all, an empty one, a negative token, and one that is too large.
    """
    if isinstance(identifiers, torch.Tensor):
        if identifiers.is_floating_point():
            raise DataError(f"identifiers come as a tensor of {identifiers.dtype}, expected integers")
        identifiers = identifiers.cpu().numpy()
    rows = _from_array(identifiers) if isinstance(identifiers, np.ndarray) else _from_sequences(identifiers)
    if not 0 < len(rows) < 2**31:
        raise DataError(
            "no identifiers: a prefix tree needs at least one"
            if len(rows) == 0
            else f"{len(rows)} identifiers: a prefix tree holds at most {2**31 - 1}"
        )
    if not rows.lengths.all():
        raise DataError(
            f"identifier {int(np.argmin(rows.lengths))} is empty; every identifier needs at least one token"
        )
    if rows.flat.min() < 0:
        place = int(np.argmax(rows.flat < 0))
        raise DataError(
            f"identifier {_owner(rows, place)} holds the negative token {rows.flat[place]}; tokens start at 0"
        )
    largest = LARGEST_TOKEN if vocab_size is None else min(vocab_size - 1, LARGEST_TOKEN)
    if rows.flat.max() > largest:
        place = int(np.argmax(rows.flat > largest))
        raise DataError(
            f"identifier {_owner(rows, place)} holds token {rows.flat[place]}, expected 0 to {largest}; "
            "give the identifiers of this vocabulary"
        )
    return rows


def sort_rows(rows: Rows) -> tuple[Ints, Ints]:
    """Row numbers in ascending order of tokens, and how many tokens each shares with the one before, (rows,) both.

    The first shares -1; a row that equals the one before it has TWIN. A row stands in front of those that it begins.
    As many columns as fit 63 bits are packed into one key and sorted at once (a radix sort); rows that are equal so far
    go into the next round, those that are not are done.
    """
    order = np.arange(len(rows))
    shared = np.full(len(rows), -1, np.int32)
    if not len(rows):
        return order, shared
    bits = (int(rows.flat.max()) + 1).bit_length()
    longest, depth = int(rows.lengths.max()), 0
    tied: Any = slice(None)  # the places whose rows are not told apart yet
    group = np.zeros(1, np.int64)  # of each, ascending
    while True:
        width = min((_KEY_BITS - int(group[-1]).bit_length()) // bits, longest - depth)
        key = np.broadcast_to(group, order[tied].shape).copy()
        for column in range(depth, depth + width):
            key <<= bits
            key |= rows.column(order[tied], column)
        order[tied] = _sort(key, order[tied])
        differ = key[1:] ^ key[:-1]
        common = np.full(len(differ), depth, np.int32)
        for column in range(width):
            common += differ < (1 << bits * column)
        same = differ == 0
        depth += width
        # Of equal rows all have ended where the last column says so of one; elsewhere one may begin another.
        ended = same & (((key[1:] & ((1 << bits) - 1)) == 0) | (depth >= longest))
        common[ended] = TWIN
        places = np.arange(len(order)) if isinstance(tied, slice) else tied
        within = differ < (1 << bits * width) if bits * width < _KEY_BITS else np.ones(len(differ), bool)
        shared[places[1:][within]] = common[within]
        alike = same & ~ended
        open_ = np.append(alike, False) | np.append(False, alike)
        if not open_.any():
            return order, shared
        tied = places[open_]
        group = np.cumsum(~np.append(False, alike)[open_]) - 1


def _sort(key: Ints, values: Ints) -> Ints:
    """Sort `key` in place; the values in its order."""
    ascending, by = torch.from_numpy(key).sort(stable=True)
    key[:] = ascending.numpy()
    sorted_values: Ints = values[by.numpy()]
    return sorted_values


def _from_array(array: Ints) -> Rows:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"identifiers come as an array of {array.dtype} and shape {array.shape}, expected integers and two "
            "dimensions; give a row for each identifier, or a list of token lists"
        )
    count, length = array.shape
    return Rows(array.reshape(-1), np.arange(count) * length, np.broadcast_to(np.int64(length), (count,)), length)


def _from_sequences(identifiers: Sequence[Sequence[int]]) -> Rows:
    lengths = np.fromiter(map(len, identifiers), np.int64, count=len(identifiers))
    tokens = whole_numbers(chain.from_iterable(identifiers), int(lengths.sum()), "an identifier holds")
    return pack(tokens, lengths)


def whole_numbers(values: Iterable[int], count: int, what: str) -> Ints:
    """An int64 array; -1 as count: as many as there are. Raises DataError for what is no whole number, or beyond 64 bits."""
    try:
        return np.fromiter(map(index, values), np.int64, count=count)
    except TypeError as error:
        raise DataError(f"{what} something that is no whole number ({error})") from None
    except OverflowError:
        raise DataError(f"{what} a number beyond 64 bits, expected 0 to {LARGEST_TOKEN}") from None


def _owner(rows: Rows, place: int) -> int:
    return int(np.searchsorted(rows.starts, place, side="right")) - 1
