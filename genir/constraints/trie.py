"""The prefix tree: identifiers as sorted arrays, so that one gather finds the legal continuations of every beam.

Identifiers may have any length, one may be a prefix of another, and several documents may have the same. An end token
is a token like any other. Documents are numbered by position, and those added later go on from there; numbers are never
used again. Immutable: `with_documents` and `without_documents` return a tree that shares the arrays and carries a patch.

    tree_rows       identifiers, checked and sorted       tree_walk       walks on the host, for updates
    tree_build      the arrays of sorted identifiers      tree_changes    what additions and deletions mean
    tree_arrays     walking in them (tree_kernel: as a    tree_sprouts    what grows below touched nodes
                    compiled loop, on the host)           tree_updates    both as a patch
    tree_documents  which documents stand at a leaf       tree_patch      walking where it changed something
    sealed_file     saving and loading

Known gaps: an update costs as much as all updates since the build; from then on a step looks its nodes up in the patch,
by tensor operations, which takes several times as long. For a tree on a GPU an update first copies the base to the host.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from genir.constraints.sealed_file import read_sealed, write_sealed
from genir.constraints.tree_arrays import TreeArrays
from genir.constraints.tree_build import build_arrays
from genir.constraints.tree_documents import Documents, Groups, distinct_rows
from genir.constraints.tree_patch import Children, Patch
from genir.constraints.tree_rows import (
    Identifiers,
    Ints,
    Rows,
    contains,
    distinct,
    pack,
    read_rows,
    sort_rows,
    whole_numbers,
)
from genir.constraints.tree_updates import NO_ROWS, make_patch
from genir.errors import DataError

_KIND, _VERSION = "prefix tree", 1


@dataclass(frozen=True, slots=True, eq=False)
class PrefixTree:
    """The identifiers that were given, and no others. Make one with `build`.

    A leaf is named by the number of the first document that it had; where identifiers are distinct, that is the
    identifier's position.
    """

    arrays: TreeArrays  # as it was built
    documents: Documents
    identifiers: int  # distinct ones, as it was built
    vocab_size: int | None
    patch: Patch | None = None

    @classmethod
    def build(cls, identifiers: Identifiers, vocab_size: int | None = None) -> "PrefixTree":
        """A tree on the CPU; `identifiers[i]` is document i's. A 2-D array or tensor of ints is the fast way.

        Raises DataError for no identifier at all, an empty one, a negative token, and a token that `vocab_size` (or 31
        bits) does not hold.
        """
        vocab_size = None if vocab_size is None else int(vocab_size)
        rows = read_rows(identifiers, vocab_size)
        order, shared = sort_rows(rows)
        leaves, distances, place, twins = distinct_rows(order, shared)
        arrays, ends = build_arrays(rows, leaves, distances, leaves)
        ends_of = np.empty(len(rows), np.int32 if ends[-1] < 2**31 else np.int64)
        ends_of[order] = ends[place]
        return cls(arrays, Documents(ends_of, twins), len(leaves), vocab_size)

    def start(self, size: int) -> torch.Tensor:
        """Shape (size,), int64: the node in front of every identifier, once for each beam."""
        alone = self.identifiers == 1 and (self.patch is None or not len(self.patch.touched))
        return torch.full((size,), self.arrays.explicit if alone else 0, dtype=torch.int64, device=self.device)

    def children(self, nodes: torch.Tensor) -> Children:
        """Legal continuations of nodes (N,): tokens (N, F), child nodes (N, F), mask (N, F); see `Constraint`."""
        return self.arrays.children(nodes) if self.patch is None else self.patch.children(self.arrays, nodes)

    def leaf(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, int64: the leaf at each, or -1; `documents_of` knows its documents."""
        return self.arrays.leaf(nodes) if self.patch is None else self.patch.leaf(self.arrays, nodes)

    def continues(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, bool: whether any identifier goes on behind each."""
        return self.arrays.continues(nodes) if self.patch is None else self.patch.continues(self.arrays, nodes)

    def settled(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, bool: whether exactly one identifier lies behind each, and none ends there."""
        return self.arrays.settled(nodes) if self.patch is None else self.patch.settled(self.arrays, nodes)

    def documents_of(self, leaf: int) -> tuple[int, ...]:
        """The documents of a leaf, ascending. Raises DataError for a number that is no document's."""
        if not 0 <= leaf < self._numbered:
            raise DataError(f"no leaf {leaf}: leaves are document numbers, 0 to {self._numbered - 1}")
        changed = None if self.patch is None else self.patch.changed.find(leaf)
        return self.documents.of_leaf(leaf) if changed is None else changed

    def with_documents(self, identifiers: Identifiers) -> "PrefixTree":
        """This tree and more documents, which get the next numbers. The arrays are shared.

        Raises DataError as `build` does, but for no documents, which change nothing.
        """
        if len(identifiers) == 0:
            return self
        new = read_rows(identifiers, self.vocab_size)
        added, numbers, deleted = self._updates()
        count = self._numbered + len(new)
        return self._patched(added.joined(new), np.append(numbers, np.arange(self._numbered, count)), deleted, count)

    def without_documents(self, numbers: Iterable[int]) -> "PrefixTree":
        """This tree without some documents; an identifier that loses its last one goes. The arrays are shared.

        Raises DataError for a number that is no document's, or a deleted one's.
        """
        gone = distinct(whole_numbers(numbers, -1, "the documents to delete hold"))
        if not len(gone):
            return self
        added, added_numbers, deleted = self._updates()
        unknown = gone[(gone < 0) | (gone >= self._numbered) | contains(deleted, gone)]
        if len(unknown):
            known = 0 <= unknown[0] < self._numbered
            raise DataError(
                f"document {unknown[0]} cannot be deleted: "
                + ("it was deleted before" if known else f"documents are numbered 0 to {self._numbered - 1}")
            )
        live = np.flatnonzero(~contains(gone, added_numbers))
        return self._patched(
            added.take(live), added_numbers[live], np.sort(np.concatenate([deleted, gone])), self._numbered
        )

    def to(self, device: torch.device | str) -> "PrefixTree":
        """The same tree on another device; itself where it is there already. Documents stay in host memory."""
        if torch.device(device) == self.device:
            return self
        patch = None if self.patch is None else self.patch.to(device)
        return replace(self, arrays=self.arrays.to(device), patch=patch)

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        tensors = {f"base.{name}": tensor for name, tensor in self.arrays.tensors().items()}
        tensors |= _named("documents", {"ends": self.documents.ends} | _group_arrays(self.documents.shared))
        facts = {"identifiers": self.identifiers, "vocab_size": self.vocab_size, "widest": self.arrays.widest}
        if self.patch is not None:
            added, numbers, deleted = self._updates()
            tensors |= _named(
                "patch", {"flat": added.flat, "lengths": added.lengths, "numbers": numbers, "deleted": deleted}
            )
            facts["numbered"] = self._numbered
        write_sealed(path, _KIND, _VERSION, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> "PrefixTree":
        """Read what `save` wrote, on the CPU, memory-mapped; a patch is made anew. Raises ArtefactError for anything else."""
        tensors, facts = read_sealed(path, _KIND, _VERSION)
        offsets, tokens, targets, first, pool = (
            tensors[f"base.{name}"] for name in ("offsets", "tokens", "targets", "first", "pool")
        )
        arrays = TreeArrays(offsets, tokens, targets, first, pool, facts["widest"])
        host = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith("base.")}
        shared = Groups(*(host[f"documents.{name}"] for name in ("keys", "offsets", "members")))
        tree = cls(arrays, Documents(host["documents.ends"], shared), facts["identifiers"], facts["vocab_size"])
        if "numbered" not in facts:
            return tree
        added = pack(host["patch.flat"], host["patch.lengths"])
        return tree._patched(added, host["patch.numbers"], host["patch.deleted"], facts["numbered"])

    @property
    def device(self) -> torch.device:
        """Where the arrays are, and where `nodes` must be."""
        return self.arrays.offsets.device

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, documents and patch included."""
        return self.arrays.nbytes + self.documents.nbytes + (0 if self.patch is None else self.patch.nbytes)

    @property
    def num_documents(self) -> int:
        """Documents that are not deleted."""
        return self._numbered - len(self._updates()[2])

    def __len__(self) -> int:
        return self.identifiers if self.patch is None else self.patch.identifiers

    @property
    def _numbered(self) -> int:
        return len(self.documents) if self.patch is None else self.patch.documents

    def _updates(self) -> tuple[Rows, Ints, Ints]:
        """Identifiers and numbers of the documents added since the build, and the numbers of those deleted."""
        if self.patch is None:
            return NO_ROWS, NO_ROWS.flat, NO_ROWS.flat
        return self.patch.added, self.patch.numbers, self.patch.deleted

    def _patched(self, added: Rows, numbers: Ints, deleted: Ints, count: int) -> "PrefixTree":
        host = self.arrays.to("cpu")
        patch = make_patch(host, self.documents, self.identifiers, added, numbers, deleted, count)
        return replace(self, patch=patch.to(self.device))


def _group_arrays(groups: Groups) -> dict[str, Ints]:
    return {"keys": groups.keys, "offsets": groups.offsets, "members": groups.members}


def _named(prefix: str, arrays: dict[str, Ints]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": torch.from_numpy(array) for name, array in arrays.items()}
