"""The arrays of a prefix tree, and how beams walk them: gathers only, on any device.

A node is *explicit* while at least two identifiers share its prefix; those are numbered 0 .. M - 1 level by level, by
token path within a level. Where one identifier is alone, its remaining tokens stand in a pool, with END and its leaf
behind them, and node M + p means "the token at place p comes next". So a lone rest costs its tokens and no pointers.

    offsets (M + 1,)   the edges of explicit node n are offsets[n] .. offsets[n + 1], in ascending token order
    tokens  (edges,)   the token on each edge        } padded, so that `widest` entries can be read from the first
    targets (edges,)   the node that it leads to     } edge of any node, and one behind the last edge
    first   (M,)       the place in the pool at which the first identifier behind the node starts; ~place (below 0)
                       where this identifier ends at the node, which then stands there as END and leaf alone
    pool    (P,)       tokens, END, leaf; the leaf in two halves where entries have 16 bits

Each array has the smallest type that holds its values.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from genir.constraints.tree_kernel import END, kernels
from genir.constraints.tree_rows import Ints


@dataclass(frozen=True, slots=True, eq=False)
class TreeArrays:
    """See the module. Methods take nodes (N,) of any integer type and answer in int64 and bool, as a Constraint does."""

    offsets: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor
    first: torch.Tensor
    pool: torch.Tensor
    widest: int  # the largest fan-out

    @property
    def explicit(self) -> int:
        """M: the first node that stands in the pool."""
        return len(self.first)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "widest"}

    def to(self, device: torch.device | str) -> "TreeArrays":
        """The same arrays on a device."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def children(self, nodes: torch.Tensor, shift: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens (N, F), child nodes (N, F), mask (N, F). Children of pool nodes are numbered `shift` higher."""
        if not len(nodes) or int(nodes.min()) >= self.explicit:
            return self._next_of_tails(nodes, shift)
        if nodes.device.type == "cpu":
            found, following, mask = kernels().children(nodes.numpy(), self._host, self.explicit, shift)
            return torch.from_numpy(found), torch.from_numpy(following), torch.from_numpy(mask)
        return self._gather(nodes, shift)

    @property
    def _host(self) -> tuple[Ints, ...]:
        arrays = (self.offsets, self.tokens, self.targets, self.first, self.pool)
        return tuple(tensor.numpy() for tensor in arrays)

    def _gather(self, nodes: torch.Tensor, shift: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same by tensor operations, on any device."""
        tail = nodes >= self.explicit if int(nodes.max()) >= self.explicit else None
        places = nodes if tail is None else nodes.clamp(max=self.explicit - 1)
        start = self.offsets.index_select(0, places)
        fan_out = self.offsets.index_select(0, places + 1) - start
        if tail is not None:
            written = self.pool.index_select(0, (nodes - self.explicit).clamp_(min=0))
            fan_out = torch.where(tail, written != END, fan_out)
        widest = max(int(fan_out.max()), 1)
        mask = torch.arange(widest, dtype=fan_out.dtype, device=nodes.device) < fan_out[:, None]
        # Overlapping windows: whole rows are copied, and no index of shape (N, F) is made.
        tokens = self.tokens.unfold(0, widest, 1).index_select(0, start)
        targets = self.targets.unfold(0, widest, 1).index_select(0, start)
        if tail is None:
            return tokens.mul_(mask).long(), targets.mul_(mask).long(), mask
        following = targets.long()
        tokens[:, 0] = torch.where(tail, written, tokens[:, 0])
        following[:, 0] = torch.where(tail, nodes + (1 + shift), following[:, 0])
        return tokens.mul_(mask).long(), following.mul_(mask), mask

    def _next_of_tails(self, nodes: torch.Tensor, shift: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = self.pool.index_select(0, nodes - self.explicit).long()
        mask = tokens != END
        return tokens.mul_(mask)[:, None], (nodes.long() + (1 + shift)).mul_(mask)[:, None], mask[:, None]

    def leaf(self, nodes: torch.Tensor) -> torch.Tensor:
        """The leaf at each node, or -1."""
        flat = nodes.reshape(-1)
        if flat.device.type == "cpu":
            halves = self.pool.dtype == torch.int16
            found = kernels().leaf(flat.numpy(), self.first.numpy(), self.pool.numpy(), self.explicit, halves)
            return torch.from_numpy(found).view(nodes.shape)
        places = flat - self.explicit
        at_end = self._read_tails(places) == END
        if self.explicit:
            first = self.first.index_select(0, flat.clamp(max=self.explicit - 1)).long()
            places = torch.where(places < 0, ~first, places)
            at_end = torch.where(flat < self.explicit, first < 0, at_end)
        return torch.where(at_end, self.leaf_behind(places.clamp(0, len(self.pool) - 1)), -1).reshape(nodes.shape)

    def leaf_behind(self, places: torch.Tensor) -> torch.Tensor:
        """The leaf that stands behind END at these places (N,) of the pool; nonsense where there is no END."""
        last = len(self.pool) - 1
        low = self.pool.index_select(0, (places + 1).clamp(max=last)).long()
        if self.pool.dtype != torch.int16:
            return low
        return (low & 0xFFFF) | self.pool.index_select(0, (places + 2).clamp(max=last)).long() << 16

    def continues(self, nodes: torch.Tensor) -> torch.Tensor:
        """Whether any identifier goes on behind each node."""
        flat = nodes.reshape(-1)
        if flat.device.type == "cpu":
            found = kernels().continues(flat.numpy(), self.offsets.numpy(), self.pool.numpy(), self.explicit)
            return torch.from_numpy(found).view(nodes.shape)
        goes_on = self._read_tails(flat - self.explicit) != END
        if self.explicit:
            places = flat.clamp(max=self.explicit - 1)
            has_edges = self.offsets.index_select(0, places + 1) > self.offsets.index_select(0, places)
            goes_on = torch.where(flat < self.explicit, has_edges, goes_on)
        return goes_on.reshape(nodes.shape)

    def settled(self, nodes: torch.Tensor) -> torch.Tensor:
        """Whether a lone rest remains to be written."""
        flat = nodes.reshape(-1)
        if flat.device.type == "cpu":
            return torch.from_numpy(kernels().settled(flat.numpy(), self.pool.numpy(), self.explicit)).view(nodes.shape)
        places = flat - self.explicit
        return ((places >= 0) & (self._read_tails(places) != END)).reshape(nodes.shape)

    def _read_tails(self, places: torch.Tensor) -> torch.Tensor:
        return self.pool.index_select(0, places.clamp(min=0))


def smallest(largest: int) -> torch.dtype:
    """The smallest signed type from 32 bits on that holds 0 .. largest and their complements."""
    return torch.int32 if largest < 2**31 else torch.int64
