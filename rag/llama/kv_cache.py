"""The paged KV cache of one stage: one tensor, laid out in blocks, and where a micro-batch's tokens lie in it.

Keys and values of a layer stand together as 2 * KV heads, head by head, so that one write and one gather serve both and a gathered
head is contiguous, which is what the matrix products of attention want. `Placement` is computed once a micro-batch and used by every
layer.

Invariants: the tensor is allocated once and never grows. Slots behind a sequence's last token hold old numbers, always masked.

Shape letters: T tokens, S sequences, KV key/value heads, D size of a head, N blocks gathered, C positions of a context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rag.llama.batch import MicroBatch
from rag.llama.config import LlamaConfig

_GATHERED = 1 << 21  # bytes gathered at once on a CPU: what stays in its cache between the gather and the product


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Neighbouring sequences of a decode micro-batch whose contexts are gathered together, padded to the longest."""

    rows: slice
    blocks: torch.Tensor  # (S * N,), sequence by sequence
    mask: torch.Tensor  # (S, 1, C), 0 or -inf


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The new tokens of one sequence, and its whole context."""

    rows: slice
    blocks: torch.Tensor  # (N,)
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PagedContexts:
    """The contexts of a decode micro-batch where they lie, for attention that gathers nothing."""

    tables: np.ndarray[Any, np.dtype[np.int64]]  # (S, N), the shorter ones filled up
    starts: np.ndarray[Any, np.dtype[np.int64]]  # (S,), positions of the new tokens


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the tokens of a micro-batch stand in their texts and in the cache; a decode micro-batch has groups, or contexts."""

    positions: torch.Tensor  # (T,)
    slots: torch.Tensor  # (T,); empty beside contexts, which tell it
    groups: tuple[DecodeGroup, ...] = ()  # of a decode micro-batch
    contexts: PagedContexts | None = None
    chunks: tuple[PrefillChunk, ...] = ()  # of a prefill micro-batch


def mask_behind(positions: torch.Tensor, length: int, dtype: torch.dtype) -> torch.Tensor:
    """Mask (S, 1, length), 0 up to each of the positions (S,) and -inf behind."""
    unseen = torch.arange(length, device=positions.device) > positions[:, None]
    return torch.zeros(unseen.shape, dtype=dtype, device=positions.device).masked_fill_(unseen, float("-inf"))[:, None]


class KVCache:
    """Keys and values of `layers` layers: (layers, 2 * KV, (blocks + 1) * block_size, D).

    Block number `blocks` is scratch: where steps of a fixed shape write what nobody reads.
    """

    def __init__(
        self, config: LlamaConfig, layers: int, blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.heads, self.head_dim, self.block_size, self.blocks = (
            config.num_key_value_heads,
            config.head_dim,
            block_size,
            blocks,
        )
        shape = (layers, 2 * self.heads, (blocks + 1) * block_size, self.head_dim)
        self.numbers = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, layer: int, heads: torch.Tensor, slots: torch.Tensor) -> None:
        """Store keys and values (T, 2 * KV, D) at slots (T,)."""
        self.numbers[layer].index_copy_(1, slots, heads.transpose(0, 1))

    def read(self, layer: int, blocks: torch.Tensor, sequences: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (KV, S, C, D) in the blocks (S * N,) of S sequences."""
        paged = self.numbers[layer].view(2 * self.heads, self.blocks + 1, -1)
        found = paged.index_select(1, blocks).view(2 * self.heads, sequences, -1, self.head_dim)
        return found[: self.heads], found[self.heads :]

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks (from, to) in every layer."""
        if pairs:
            source, target = torch.tensor(pairs, device=self.numbers.device).unbind(1)
            paged = self.numbers.view(*self.numbers.shape[:2], self.blocks + 1, -1)
            paged[:, :, target] = paged[:, :, source]

    def place(self, batch: MicroBatch, paged: bool = False) -> Placement:
        """Positions, slots and contexts of a micro-batch; `paged`: contexts of a decode micro-batch are not to be gathered.

        Sequences of like length should be neighbours.
        """
        size, device = self.block_size, self.numbers.device
        if batch.decode and paged:
            starts, longest = np.array(batch.starts), max(batch.starts) // size + 1
            tables = np.array([(table + [0] * longest)[:longest] for table in batch.tables])
            positions = torch.from_numpy(starts)
            return Placement(positions, positions.new_empty(0), contexts=PagedContexts(tables, starts))
        places = [
            p for start, count in zip(batch.starts, batch.counts, strict=True) for p in range(start, start + count)
        ]
        tables_of = [table for table, count in zip(batch.tables, batch.counts, strict=True) for _ in range(count)]
        slots = [table[p // size] * size + p % size for p, table in zip(places, tables_of, strict=True)]
        positions = torch.tensor(places, device=device)
        groups = self._groups(batch, positions) if batch.decode else ()
        chunks = () if batch.decode else self._chunks(batch)
        return Placement(positions, torch.tensor(slots, device=device), groups, chunks=chunks)

    def _groups(self, batch: MicroBatch, positions: torch.Tensor) -> tuple[DecodeGroup, ...]:
        """Few enough sequences a group that what is gathered stays in the processor's cache; one group on a GPU."""
        size, device = self.block_size, self.numbers.device
        block_bytes = 2 * self.heads * size * self.head_dim * self.numbers.element_size()
        groups, start = [], 0
        needs = [first // size + 1 for first in batch.starts]
        while start < len(needs):
            stop, widest = start + 1, needs[start]
            while stop < len(needs):
                wider = max(widest, needs[stop])
                if device.type == "cpu" and (stop + 1 - start) * wider * block_bytes > _GATHERED:
                    break
                stop, widest = stop + 1, wider
            rows = slice(start, stop)
            blocks = [
                (table[:need] + [0] * widest)[:widest]
                for table, need in zip(batch.tables[rows], needs[rows], strict=True)
            ]
            mask = mask_behind(positions[rows], widest * size, self.numbers.dtype)
            groups.append(DecodeGroup(rows, torch.tensor(blocks, device=device).view(-1), mask))
            start = stop
        return tuple(groups)

    def _chunks(self, batch: MicroBatch) -> tuple[PrefillChunk, ...]:
        chunks, row = [], 0
        for start, count, table in zip(batch.starts, batch.counts, batch.tables, strict=True):
            need = -(-(start + count) // self.block_size)
            blocks = torch.tensor(table[:need], device=self.numbers.device)
            chunks.append(PrefillChunk(slice(row, row + count), blocks, start, start + count))
            row += count
        return tuple(chunks)
