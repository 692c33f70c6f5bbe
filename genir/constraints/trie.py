"""A prefix tree over identifiers as three flat arrays, so that one gather finds the legal continuations of every beam.

Nodes are numbered level by level, within a level by token path; node 0 stands in front of every identifier. The
children of a node are therefore neighbours, in ascending token order, and the edge at position e of `tokens` leads to
node e + 1: the array of children need not be stored.

    offsets (nodes + 1,)   the edges of node n are offsets[n] .. offsets[n + 1]
    tokens  (nodes - 1,)   the token on each edge
    leaves  (nodes,)       the index of the identifier that ends at the node, or -1

Identifiers may have any length and one may be a prefix of another; each is given once. An end token is a token like any
other. Immutable: there is no insertion; build another tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genir.errors import ArtefactError, DataError
from genir.manifest import write_atomically

_FIELDS = {"offsets", "tokens", "leaves"}


@dataclass(frozen=True, slots=True, eq=False)
class PrefixTree:
    """The identifiers that were given, and no others. Make one with `build`; a leaf's index is its position there."""

    offsets: torch.Tensor
    tokens: torch.Tensor
    leaves: torch.Tensor

    @classmethod
    def build(cls, identifiers: Sequence[Sequence[int]]) -> "PrefixTree":
        """A tree on the CPU. O(total length x log(identifiers)), one numpy sort a level.

        Raises DataError for no identifier at all, an empty one, a negative token, and one given twice.
        """
        lengths = np.fromiter(map(len, identifiers), np.int64, count=len(identifiers))
        flat = np.fromiter(chain.from_iterable(identifiers), np.int64, count=int(lengths.sum()))
        starts = np.cumsum(lengths) - lengths
        _check(lengths, flat, starts)

        levels_tokens: list[np.ndarray] = []  # per level: the token on the edge into each node
        levels_fan_out: list[np.ndarray] = []  # per level: the number of children of each node of the level above
        levels_leaves = [np.full(1, -1, np.int64)]
        alive = np.arange(len(lengths))  # identifiers that reach this level
        above = np.zeros(len(lengths), np.int64)  # the node of each, counted within the level above
        for level in range(int(lengths.max())):
            parents, tokens, nodes = _next_level(above, flat[starts[alive] + level])
            levels_fan_out.append(np.bincount(parents, minlength=len(levels_leaves[-1])))
            levels_tokens.append(tokens)
            ends = lengths[alive] == level + 1
            levels_leaves.append(_leaves(alive[ends], nodes[ends], len(tokens), identifiers))
            alive, above = alive[~ends], nodes[~ends]
        levels_fan_out.append(np.zeros(len(levels_leaves[-1]), np.int64))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(levels_fan_out))])
        return cls(_tensor(offsets), _tensor(np.concatenate(levels_tokens)), _tensor(np.concatenate(levels_leaves)))

    def start(self, size: int) -> torch.Tensor:
        """Shape (size,), int64: the root, once for each beam."""
        return torch.zeros(size, dtype=torch.int64, device=self.device)

    def children(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Legal continuations of nodes (N,): tokens (N, F), child nodes (N, F), mask (N, F); see `Constraint`."""
        first = self.offsets[nodes].to(torch.int64)
        fan_out = self.offsets[nodes + 1].to(torch.int64) - first
        widest = max(int(fan_out.max()), 1) if len(nodes) else 1
        places = torch.arange(widest, device=nodes.device)
        mask = places < fan_out[:, None]
        edges = torch.where(mask, first[:, None] + places, 0)
        tokens = self.tokens[edges].to(torch.int64)
        return tokens.masked_fill_(~mask, 0), (edges + 1).masked_fill_(~mask, 0), mask

    def leaf(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, int64: the index of the identifier that ends at each, or -1."""
        return self.leaves[nodes].to(torch.int64)

    def continues(self, nodes: torch.Tensor) -> torch.Tensor:
        """Same shape as `nodes`, bool: whether any identifier goes on behind each."""
        return self.offsets[nodes + 1] > self.offsets[nodes]

    def to(self, device: torch.device | str) -> "PrefixTree":
        """The same tree on another device; itself where it is there already."""
        if torch.device(device) == self.device:
            return self
        return PrefixTree(self.offsets.to(device), self.tokens.to(device), self.leaves.to(device))

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        arrays = {name: getattr(self, name).cpu().contiguous() for name in sorted(_FIELDS)}
        write_atomically(path, lambda temporary: save_file(arrays, temporary))

    @classmethod
    def load(cls, path: Path) -> "PrefixTree":
        """Read what `save` wrote, on the CPU, memory-mapped. Raises ArtefactError for anything else."""
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ArtefactError(f"{path}: not a readable prefix tree ({error}); build it again") from None
        if set(arrays) != _FIELDS:
            raise ArtefactError(f"{path}: holds {sorted(arrays)}, expected {sorted(_FIELDS)}; build the tree again")
        return cls(**arrays)

    @property
    def device(self) -> torch.device:
        """Where the arrays are, and where `nodes` must be."""
        return self.offsets.device

    @property
    def num_nodes(self) -> int:
        """Nodes, the root included."""
        return len(self.leaves)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.offsets.nbytes + self.tokens.nbytes + self.leaves.nbytes

    def __len__(self) -> int:
        return int((self.leaves >= 0).sum())


def _check(lengths: np.ndarray, flat: np.ndarray, starts: np.ndarray) -> None:
    if len(lengths) == 0:
        raise DataError("no identifiers: a prefix tree needs at least one")
    if not lengths.all():
        raise DataError(f"identifier {int(np.argmin(lengths))} is empty; every identifier needs at least one token")
    if flat.min() < 0:
        place = int(np.argmax(flat < 0))
        owner = int(np.searchsorted(starts, place, side="right")) - 1
        raise DataError(f"identifier {owner} holds the negative token {int(flat[place])}; tokens start at 0")


def _next_level(above: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct (parent, token) pairs in ascending order, and for every identifier the pair that is its own."""
    order = np.lexsort((tokens, above))
    parents, sorted_tokens = above[order], tokens[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (parents[1:] != parents[:-1]) | (sorted_tokens[1:] != sorted_tokens[:-1])
    nodes = np.empty(len(order), np.int64)
    nodes[order] = np.cumsum(is_new) - 1
    return parents[is_new], sorted_tokens[is_new], nodes


def _leaves(owners: np.ndarray, nodes: np.ndarray, size: int, identifiers: Sequence[Sequence[int]]) -> np.ndarray:
    leaves = np.full(size, -1, np.int64)
    leaves[nodes[::-1]] = owners[::-1]  # the first of two stays
    twice = leaves[nodes] != owners
    if twice.any():
        second = int(owners[np.argmax(twice)])
        first = int(leaves[nodes[np.argmax(twice)]])
        raise DataError(
            f"identifiers {first} and {second} are both {tuple(identifiers[second])}; "
            "give each identifier once and let the identifier table map it to its documents"
        )
    return leaves


def _tensor(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """Half the memory where 32 bits are enough."""
    small = values.max(initial=0) <= np.iinfo(np.int32).max
    return torch.from_numpy(values.astype(np.int32 if small else np.int64))
