"""How often each identifier is right for the texts of a kind: what a training's softmax learns beside what it should.

Questions are judged for some of the documents. Where all others are wrong for every question, a model learns that they are unlikely
whatever is asked. Logit adjustment (Menon et al. 2021, arXiv:2007.07314) adds the logarithm of each class's share to its score in the
training loss alone, so that the scores need not hold it.

Shape letters: E examples, K kinds of them, N identifiers, U distinct prefixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_UNSEEN = 0.1  # examples that every identifier counts beside its own: no logarithm of nothing


class Kinded(Protocol):
    """A text of some kind, with the number of what is right for it."""

    @property
    def target(self) -> int:
        """The number."""
        ...

    @property
    def kind(self) -> str:
        """The kind."""
        ...


@dataclass(frozen=True)
class TargetFrequencies:
    """`kinds` (E,): the number of each example's kind. `shares` (K, N): that of each identifier among them; rows sum to 1."""

    kinds: Tensor
    shares: Tensor

    @classmethod
    def of(cls, examples: Sequence[Kinded], identifiers: int) -> "TargetFrequencies":
        """Counted over all examples, whatever their weight."""
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(one.kind for one in examples))}
        kinds = torch.tensor([numbers[one.kind] for one in examples])
        counts = torch.full((len(numbers), identifiers), _UNSEEN)
        targets = torch.tensor([one.target for one in examples])
        counts.index_put_((kinds, targets), torch.ones(len(examples)), accumulate=True)
        return cls(kinds, counts / counts.sum(1, keepdim=True))

    def logarithms(self, own: Tensor, prefixes: int) -> Tensor:
        """Shape (K, U): of the shares of prefixes, `own` (N,) being each identifier's."""
        shares = torch.zeros(len(self.shares), prefixes).index_add_(1, own.cpu(), self.shares)
        return shares.log()
