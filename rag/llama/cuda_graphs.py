"""Decode steps of fixed shape, captured once as CUDA graphs and replayed: a GPU then waits for no Python between kernels.

A graph serves a number of sequences and a width of contexts, both rounded up; rows and blocks that are too many point to the cache's
scratch block. All integers of a step travel in one copy.

Known gap: prefill is not captured; a graph's memory stays until the stage ends.
"""

from dataclasses import dataclass

import torch

from rag.llama.batch import MicroBatch
from rag.llama.kv_cache import DecodeGroup, KVCache, Placement, mask_behind
from rag.llama.model import Stage

_WIDTH = 512  # tokens by which the width of contexts is rounded up
_WARM_UPS = 3  # runs before a capture, so that libraries have chosen their kernels


@dataclass(slots=True)
class _Step:
    """One shape: its inputs, always at the same place in memory, its output, and its graph (None: run, not replayed)."""

    rows: int
    width: int  # blocks a sequence
    numbers: torch.Tensor  # (rows * (3 + width),): tokens, positions, slots, blocks
    hidden: torch.Tensor | None  # (rows, E), of the stage before
    made: torch.Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None


class GraphedDecode:
    """`run` is a decode micro-batch through a stage. With `capture` False it computes in the same fixed shapes without a graph."""

    def __init__(self, stage: Stage, cache: KVCache, capture: bool = True) -> None:
        self.stage, self.cache, self.capture = stage, cache, capture
        self._steps: dict[tuple[int, int], _Step] = {}

    def run(self, batch: MicroBatch, hidden: torch.Tensor | None) -> torch.Tensor:
        """Hidden states (T, E) behind the stage's layers, from those of the stage before, or from tokens in the first stage."""
        step = self._step_for(batch)
        self._fill(step, batch, hidden)
        if self.capture and step.graph is None:
            self._capture(step)
        if step.graph is None:
            step.made = self._compute(step)
        else:
            step.graph.replay()
        assert step.made is not None
        return step.made[: len(batch.tokens)].clone()

    def _step_for(self, batch: MicroBatch) -> _Step:
        size, count = self.cache.block_size, len(batch.tokens)
        rows = 1 << (count - 1).bit_length() if count <= 8 else -(-count // 8) * 8
        width = -(-(max(batch.starts) + 1) // _WIDTH) * -(-_WIDTH // size)
        if (rows, width) not in self._steps:
            device, config = self.cache.numbers.device, self.stage.config
            numbers = torch.zeros(rows * (3 + width), dtype=torch.int64, device=device)
            first = self.stage.embedding is not None
            shape = rows, config.hidden_size
            hidden = None if first else torch.zeros(shape, dtype=self.cache.numbers.dtype, device=device)
            self._steps[rows, width] = _Step(rows, width, numbers, hidden)
        return self._steps[rows, width]

    def _fill(self, step: _Step, batch: MicroBatch, hidden: torch.Tensor | None) -> None:
        size, scratch = self.cache.block_size, self.cache.blocks
        empty = step.rows - len(batch.tokens)
        slots = [table[at // size] * size + at % size for at, table in zip(batch.starts, batch.tables, strict=True)]
        blocks = [(table + [scratch] * step.width)[: step.width] for table in batch.tables]
        numbers = [
            *(batch.tokens + [0] * empty),
            *(batch.starts + [0] * empty),
            *(slots + [scratch * size] * empty),
            *(block for row in blocks for block in row),
            *([scratch] * (empty * step.width)),
        ]
        step.numbers.copy_(torch.tensor(numbers))
        if step.hidden is not None:
            assert hidden is not None
            step.hidden[: len(hidden)] = hidden

    def _compute(self, step: _Step) -> torch.Tensor:
        rows = step.rows
        tokens, positions, slots = step.numbers[: 3 * rows].view(3, rows).unbind(0)
        mask = mask_behind(positions, step.width * self.cache.block_size, self.cache.numbers.dtype)
        group = DecodeGroup(slice(0, rows), step.numbers[3 * rows :], mask)
        x = self.stage.embed(tokens) if step.hidden is None else step.hidden
        return self.stage.decode(x, Placement(positions, slots, (group,)), self.cache)

    def _capture(self, step: _Step) -> None:
        """Run a few times beside the main stream, then record. The cache is written each time, with the same numbers."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._compute(step)
        torch.cuda.current_stream().wait_stream(aside)
        step.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(step.graph):
            step.made = self._compute(step)
