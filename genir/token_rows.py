"""Tokenised texts, packed: as lists of Python ints the same tokens take some ten times the memory."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch


class TokenRows(Sequence[list[int]]):
    """Rows of token ids, read as lists, kept as one array of tokens and one of lengths."""

    def __init__(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        self.tokens, self.lengths = tokens, lengths
        self._ends = np.cumsum(lengths)

    @classmethod
    def pack(cls, rows: Sequence[Sequence[int]]) -> "TokenRows":
        """The same rows, packed."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        tokens = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(lengths.sum()))
        return cls(tokens, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> list[int]:  # type: ignore[override]  # no slices: nobody wants one
        end = self._ends[index]
        tokens: list[int] = self.tokens[end - self.lengths[index] : end].tolist()
        return tokens

    def sha256(self) -> str:
        """Hex digest of lengths and tokens."""
        return hashlib.sha256(self.lengths.tobytes() + self.tokens.tobytes()).hexdigest()


def bucketed_batches(lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch's batches of row indices, `size` to a batch: rows of like length together, in an order that is mixed.

    Rows are sorted by length within random pools of 32 batches only, so that what stands in a batch differs between
    epochs. The same arguments give the same batches.
    """
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).numpy()
    batches = list(_near(order, lengths, size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _near(order: np.ndarray, lengths: np.ndarray, size: int) -> Iterator[list[int]]:
    pool = 32 * size
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        for first in range(0, len(rows), size):
            yield rows[first : first + size].tolist()
