"""Which block of the KV cache belongs to whom: integers only, no tensor.

A block holds the keys and values of `block_size` tokens in every layer of every stage, under one number. Sequences hold blocks by
reference count, so that beams and equal prompt beginnings share them. A full block is known by the chain of hashes of all tokens up to
its end; when nobody holds it any more it stays findable until its place is needed (oldest first).

Invariants: every block is either free (count 0) or held; `free + held == blocks`; a block is written by one holder only
(`holders` says when a copy is needed first).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

Key = bytes


def chain_keys(tokens: Sequence[int], block_size: int, known: Sequence[Key] = ()) -> list[Key]:
    """A key for every full block of `tokens`; equal keys mean equal tokens up to the block's end. `known` are the first ones."""
    keys = list(known)
    for start in range(len(keys) * block_size, len(tokens) - block_size + 1, block_size):
        parent = keys[-1] if keys else b""
        part = ",".join(map(str, tokens[start : start + block_size])).encode()
        keys.append(blake2b(parent + part, digest_size=16).digest())
    return keys


class BlockPool:
    """Free list, reference counts and prefix table over `blocks` blocks."""

    def __init__(self, blocks: int, block_size: int) -> None:
        self.blocks, self.block_size = blocks, block_size
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self._count = [0] * blocks
        self._key: list[Key | None] = [None] * blocks
        self._by_key: dict[Key, int] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody holds, the findable ones included."""
        return len(self._free)

    @property
    def held(self) -> int:
        """Blocks that somebody holds, each counted once."""
        return self.blocks - len(self._free)

    def needed(self, tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_size)

    def take(self) -> int:
        """A free block, held once and without a key. Raises IndexError where there is none."""
        if not self._free:
            raise IndexError("no free block")
        block, _ = self._free.popitem(last=False)
        self._forget(block)
        self._count[block] = 1
        return block

    def share(self, block: int) -> int:
        """Hold a block once more (a free one that is still findable, too)."""
        self._free.pop(block, None)
        self._count[block] += 1
        return block

    def release(self, blocks: Iterable[int]) -> None:
        """Give blocks back; those that nobody holds now become free, the first of them to be reused last."""
        for block in reversed(list(blocks)):
            assert self._count[block] > 0, f"block {block} released more often than held"
            self._count[block] -= 1
            if not self._count[block]:
                self._free[block] = None
                if self._key[block] is None:  # nothing to find there: reuse it first
                    self._free.move_to_end(block, last=False)

    def holders(self, block: int) -> int:
        """How often it is held; whoever writes into a block held more than once copies it first."""
        return self._count[block]

    def register(self, block: int, key: Key) -> None:
        """Make a full block findable, unless an equal one is."""
        if key not in self._by_key and self._key[block] is None:
            self._by_key[key], self._key[block] = block, key

    def find(self, keys: Sequence[Key]) -> list[int]:
        """The blocks of the longest known beginning of `keys`; not held yet."""
        found = []
        for key in keys:
            if key not in self._by_key:
                break
            found.append(self._by_key[key])
        return found

    def _forget(self, block: int) -> None:
        key = self._key[block]
        if key is not None:
            del self._by_key[key]
            self._key[block] = None
