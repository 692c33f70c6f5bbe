"""What differs between a tree as it was built and the same tree after additions and deletions.

Explicit nodes whose children changed are *touched*: the patch holds complete lists of children for them, and all nodes
that are new, as one more set of arrays (the overlay). In it the touched nodes come first, in the order of their numbers in the base;
overlay node t + i (t touched ones) is known outside as node B + i, B = explicit + pool of the base. Targets in the
overlay are outside numbers. Nodes that were not touched are walked in the base, as ever.

Invariants: a touched node with no live document behind it is offered by nobody. Where anything is touched, the root is.
"""

from dataclasses import dataclass, replace

import torch

from genir.constraints.tree_arrays import TreeArrays
from genir.constraints.tree_documents import Groups
from genir.constraints.tree_rows import Ints, Rows

Children = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A function of the base and of the documents added and deleted since, whatever their order."""

    added: Rows  # the identifiers of the live documents among the added ones
    numbers: Ints  # (len(added),) their documents, ascending
    deleted: Ints  # all deleted documents, ascending
    documents: int  # ever numbered
    identifiers: int  # live ones, each counted once
    changed: Groups  # the documents of every leaf that is not as in the base
    touched: torch.Tensor  # (t,) int64, ascending
    lone: torch.Tensor  # (t,) bool: one identifier lies behind it, and none ends there
    overlay: TreeArrays

    def to(self, device: torch.device | str) -> "Patch":
        """What the search needs, on a device."""
        return replace(
            self,
            touched=self.touched.to(device),
            lone=self.lone.to(device),
            overlay=self.overlay.to(device),
        )

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        host = (self.added.flat, self.added.starts, self.added.lengths, self.numbers, self.deleted)
        return (
            sum(int(array.nbytes) for array in host)
            + self.changed.nbytes
            + self.touched.nbytes
            + self.lone.nbytes
            + self.overlay.nbytes
        )

    def children(self, base: TreeArrays, nodes: torch.Tensor) -> Children:
        """As `Constraint.children`."""
        if not len(self.touched):
            return base.children(nodes)
        local, over, _ = self._locate(base, nodes)
        shift = _first_new(base) - len(self.touched)
        rows = over.nonzero().flatten()
        if len(rows) == len(nodes):
            return self.overlay.children(local, shift)
        if not len(rows):
            return base.children(nodes)
        parts = (
            (rows, self.overlay.children(local[rows], shift)),
            ((others := (~over).nonzero().flatten()), base.children(nodes[others])),
        )
        widest = max(part[0].shape[1] for _, part in parts)
        tokens, following = (nodes.new_zeros((len(nodes), widest), dtype=torch.int64) for _ in range(2))
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        for places, part in parts:
            for whole, values in zip((tokens, following, mask), part, strict=True):
                whole[places, : values.shape[1]] = values
        return tokens, following, mask

    def leaf(self, base: TreeArrays, nodes: torch.Tensor) -> torch.Tensor:
        """As `Constraint.leaf`."""
        if not len(self.touched):
            return base.leaf(nodes)
        local, over, _ = self._locate(base, nodes)
        return torch.where(over, self.overlay.leaf(local), base.leaf(nodes.masked_fill(over, 0)))

    def continues(self, base: TreeArrays, nodes: torch.Tensor) -> torch.Tensor:
        """As `Constraint.continues`."""
        if not len(self.touched):
            return base.continues(nodes)
        local, over, _ = self._locate(base, nodes)
        return torch.where(over, self.overlay.continues(local), base.continues(nodes.masked_fill(over, 0)))

    def settled(self, base: TreeArrays, nodes: torch.Tensor) -> torch.Tensor:
        """As `Constraint.settled`."""
        if not len(self.touched):
            return base.settled(nodes)
        local, over, touched = self._locate(base, nodes)
        new = self.overlay.settled(local) | (touched & self.lone[local.clamp(max=len(self.lone) - 1)])
        return torch.where(over, new, base.settled(nodes.masked_fill(over, 0)))

    def _locate(self, base: TreeArrays, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Overlay nodes (0 where there is none), whether the overlay has them, whether they are touched ones."""
        place = torch.searchsorted(self.touched, nodes.long().contiguous()).clamp_(max=len(self.touched) - 1)
        touched = self.touched[place] == nodes
        new = nodes.long() - (_first_new(base) - len(self.touched))
        over = touched | (nodes >= _first_new(base))
        return torch.where(touched, place, new).masked_fill_(~over, 0), over, touched


def _first_new(base: TreeArrays) -> int:
    """B: the first node number that the base does not use."""
    return base.explicit + len(base.pool)
