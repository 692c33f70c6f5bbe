"""Which blocks a sequence holds: shared beginnings, room for its next tokens, copies on write, and giving back. Integers only.

A sequence that holds nothing yet begins with the blocks that another one has filled with the same tokens; whoever writes into a block
that others hold, too, takes a copy first. Full blocks get a key, so that later sequences find them.

Invariant: every block in a sequence's table is held once for it in the pool.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from rag.llama.block_pool import BlockPool, chain_keys
from rag.llama.request import Request, Sequence


class BlockManager:
    """Block tables over one pool. `sharing`: blocks are found by what others wrote into them; beams share theirs in any case."""

    def __init__(self, pool: BlockPool, sharing: bool) -> None:
        self.pool, self.sharing = pool, sharing

    def needed_alone(self, prompt_length: int, max_new_tokens: int, width: int) -> int:
        """Most blocks of a request that runs alone: beams share the full blocks of the prompt."""
        shared = prompt_length // self.pool.block_size
        return shared + width * (self.pool.needed(prompt_length + max_new_tokens) - shared)

    def missing(self, request: Request) -> int:
        """Blocks that its prompts still need, what may be shared not counted."""
        return sum(self.pool.needed(len(one.tokens) + 1) - len(one.blocks) for one in request.sequences)

    def begin(self, request: Request, sequence: Sequence) -> int:
        """Let a sequence that holds nothing begin with full blocks that others filled; gives the tokens that this saves.

        Its last token is always computed. A beam that is computed again begins with those of the beam that it has most in common with,
        whether sharing is on or not: `needed_alone` counts on it that no two beams hold copies of the prompt. Only then it looks for
        others' blocks.
        """
        if sequence.blocks:
            return 0
        size, closest, most = self.pool.block_size, sequence, 0
        for other in request.sequences:
            usable = min(_common(sequence.tokens, other.tokens), other.computed) // size
            if usable > most:
                closest, most = other, usable
        found, keys = closest.blocks[:most], closest.keys[:most]
        if self.sharing:
            keys = chain_keys(sequence.tokens, size)[: (len(sequence.tokens) - 1) // size]
            found = found + self.pool.find(keys)[most:]
            keys = keys[: len(found)]
        sequence.blocks = [self.pool.share(block) for block in found]
        sequence.keys = keys
        sequence.computed = len(found) * size
        return sequence.computed

    def fits(self, sequences: list[Sequence], count: int) -> bool:
        """Whether there are blocks for the next `count` tokens of each, copies of shared ones included."""
        writers = Counter(
            sequence.blocks[first]
            for sequence in sequences
            if (first := sequence.computed // self.pool.block_size) < len(sequence.blocks)
        )
        # Of writers that nobody else shares a block with, the last one keeps it.
        copies = sum(n - (self.pool.holders(block) == n) for block, n in writers.items())
        return self.pool.free >= copies + sum(self._more(sequence, count) for sequence in sequences)

    def extend(self, sequences: list[Sequence], count: int) -> list[tuple[int, int]]:
        """Blocks of their own for the next `count` tokens of each, where they fit; gives the copies (from, to) to make first."""
        pool, copies = self.pool, []
        for sequence in sequences:
            first, more = sequence.computed // pool.block_size, self._more(sequence, count)
            if first < len(sequence.blocks) and pool.holders(sequence.blocks[first]) > 1:
                old, sequence.blocks[first] = sequence.blocks[first], pool.take()
                copies.append((old, sequence.blocks[first]))
                pool.release([old])
            sequence.blocks += [pool.take() for _ in range(more)]
        return copies

    def fill(self, sequence: Sequence, stop: int) -> None:
        """Make the blocks findable that are full once the first `stop` tokens are computed."""
        known, full = len(sequence.keys), stop // self.pool.block_size
        if not self.sharing or full <= known:
            return
        sequence.keys = chain_keys(sequence.tokens[: full * self.pool.block_size], self.pool.block_size, sequence.keys)
        for block, key in zip(sequence.blocks[known:full], sequence.keys[known:], strict=True):
            self.pool.register(block, key)

    def fork(self, parent: Sequence, token: int) -> Sequence:
        """A sequence that goes on from `parent` with `token`, and shares its blocks."""
        blocks = [self.pool.share(block) for block in parent.blocks]
        return Sequence([*parent.tokens, token], parent.computed, blocks, list(parent.keys))

    def release(self, sequences: Iterable[Sequence]) -> None:
        """Give all blocks of these sequences back."""
        for sequence in sequences:
            self.pool.release(sequence.blocks)
            sequence.blocks, sequence.keys, sequence.computed = [], [], 0

    def waste(self, requests: Iterable[Request], under_way: dict[int, int]) -> float:
        """Share of the slots in held blocks that hold nothing. `under_way`: tokens that are being computed, by id of the sequence."""
        sequences = chain.from_iterable(request.sequences for request in requests)
        unused = sum(
            len(one.blocks) * self.pool.block_size - one.computed - under_way.get(id(one), 0) for one in sequences
        )
        return unused / (self.pool.held * self.pool.block_size)

    def _more(self, sequence: Sequence, count: int) -> int:
        return self.pool.needed(sequence.computed + count) - len(sequence.blocks)


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common beginning of two sequences of the same length."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
