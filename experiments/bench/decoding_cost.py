"""What a search costs: time spent in its constraint, operations of its model, and the rate that the machine can do."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from genir.protocols import Constraint

_A = TypeVar("_A")
_R = TypeVar("_R")


class TimedConstraint:
    """A constraint that counts the seconds spent in it."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint, self.seconds = constraint, 0.0

    def _timed(self, method: Callable[[_A], _R], argument: _A) -> _R:
        started = time.perf_counter()
        result = method(argument)
        self.seconds += time.perf_counter() - started
        return result

    def start(self, size: int) -> Tensor:
        """See `Constraint`, here and below."""
        return self._timed(self.constraint.start, size)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Timed."""
        return self._timed(self.constraint.children, nodes)

    def leaf(self, nodes: Tensor) -> Tensor:
        """Timed."""
        return self._timed(self.constraint.leaf, nodes)

    def continues(self, nodes: Tensor) -> Tensor:
        """Timed."""
        return self._timed(self.constraint.continues, nodes)

    def settled(self, nodes: Tensor) -> Tensor:
        """Timed."""
        return self._timed(self.constraint.settled, nodes)


class Unconstrained:
    """Free choice among a step's tokens, for as many steps as there are: what a search costs without a corpus.

    A node is the number of tokens written; `choices` holds the tokens of each step.
    """

    def __init__(self, choices: Sequence[Tensor]) -> None:
        self.choices = choices
        free = [len(tokens) > 1 for tokens in choices]
        self.last_choice = max(step for step, is_free in enumerate([True, *free]) if is_free)

    def start(self, size: int) -> Tensor:
        """Nothing written."""
        return torch.zeros(size, dtype=torch.int64, device=self.choices[0].device)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step's tokens, for every beam."""
        step = int(nodes[0])
        tokens = self.choices[step].expand(len(nodes), -1)
        return tokens, torch.full_like(tokens, step + 1), torch.ones_like(tokens, dtype=torch.bool)

    def leaf(self, nodes: Tensor) -> Tensor:
        """Everything ends after the last step."""
        return torch.where(nodes == len(self.choices), 0, -1)

    def continues(self, nodes: Tensor) -> Tensor:
        """And not before."""
        return nodes < len(self.choices)

    def settled(self, nodes: Tensor) -> Tensor:
        """Whether no choice is left."""
        return nodes >= self.last_choice


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of `work` in matrix products and attention, as torch counts them, packed products included."""
    packed = {torch.ops.mkldnn._linear_pointwise: _packed_operations}
    with FlopCounterMode(display=False, custom_mapping=packed) as counter:
        work()
    return float(counter.get_total_flops())


def _packed_operations(x: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * math.prod(x) * out_shape[-1]


def matrix_product_rate(dtype: torch.dtype, device: torch.device, size: int = 2048, repeats: int = 7) -> float:
    """Operations per second of a large matrix product: the best of a few."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            left @ right
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
