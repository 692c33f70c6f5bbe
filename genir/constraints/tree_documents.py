"""Which documents stand at a leaf. Host memory only: documents are asked for after the search, not within it.

A leaf's number is that of its first document, so a leaf with one document needs no entry here.
"""

from dataclasses import dataclass

import numpy as np

from genir.constraints.tree_rows import TWIN, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Documents by leaf, for some leaves: those of keys[i] are members[offsets[i] : offsets[i + 1]], ascending."""

    keys: Ints  # ascending
    offsets: Ints
    members: Ints

    @classmethod
    def of_pairs(cls, keys: Ints, leaves: Ints, documents: Ints) -> "Groups":
        """From (leaf, document) pairs in any order; `keys` (ascending, each once) name every leaf of theirs, and perhaps empty ones."""
        by_leaf = np.lexsort((documents, leaves))
        offsets = np.searchsorted(leaves[by_leaf], np.append(keys, np.iinfo(np.int64).max))
        return cls(*(values.astype(np.int32) for values in (keys, offsets, documents[by_leaf])))

    def find(self, leaf: int) -> tuple[int, ...] | None:
        """The documents of a leaf, or None where it has no entry."""
        place = int(np.searchsorted(self.keys, leaf))
        if place == len(self.keys) or self.keys[place] != leaf:
            return None
        return tuple(self.members[self.offsets[place] : self.offsets[place + 1]].tolist())

    def pairs(self, leaves: Ints) -> tuple[Ints, Ints]:
        """(leaf, document) of all entries of `leaves`, ascending; a leaf without an entry stands for itself."""
        places = np.searchsorted(self.keys, leaves)
        known = np.append(self.keys, -1)[places] == leaves
        offsets = np.append(self.offsets, 0)
        sizes = np.where(known, offsets[places + 1] - offsets[places], 1)
        owners = np.repeat(np.arange(len(leaves)), sizes)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        documents = leaves[owners].copy()
        listed = known[owners]
        documents[listed] = self.members[(offsets[places][owners] + within)[listed]]
        return leaves[owners], documents

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return int(self.keys.nbytes + self.offsets.nbytes + self.members.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """The documents 0 .. len - 1 of a tree as it was built."""

    ends: Ints  # (documents,) the place of END of each one's identifier in the pool
    shared: Groups  # the leaves with several documents

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return int(self.ends.nbytes + self.shared.nbytes)

    def of_leaf(self, leaf: int) -> tuple[int, ...]:
        """The documents of a leaf, ascending."""
        return self.shared.find(leaf) or (leaf,)


def distinct_rows(order: Ints, shared: Ints) -> tuple[Ints, Ints, Ints, Groups]:
    """Sorted rows without twins: order (U,), shared (U,), the place of every row among them (rows,), the twins."""
    fresh = shared != TWIN
    if fresh.all():
        return order, shared, np.arange(len(order)), no_groups()
    place = np.cumsum(fresh) - 1
    leaves = order[fresh]
    several = np.bincount(place) > 1
    twins = several[place]
    groups = Groups.of_pairs(np.sort(leaves[several]), leaves[place[twins]], order[twins])
    return leaves, shared[fresh], place, groups


def no_groups() -> Groups:
    """No leaf has an entry."""
    return Groups(np.zeros(0, np.int32), np.zeros(1, np.int32), np.zeros(0, np.int32))
