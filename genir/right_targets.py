"""Which targets are right for a text beside its own: the one place where training learns what is no negative.

A text may be judged for several documents, stand as a passage or title in several, or name a document by several
identifiers. Each of these is an example with a target of its own, and the targets of one text's examples are all right for it.

Invariant: only texts with several right targets cost anything, memory once a text; there is no table of examples by targets.

Shape letters: B rows of a batch, K pairs of a row with another right target of its text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Labelled(Protocol):
    """A text with the number of what is right for it."""

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def target(self) -> int:
        """The number."""
        ...


@dataclass(frozen=True)
class RightTargets:
    """`own[i]`: example i's target. `right[i]`: all right ones of its text, ascending; none where its own is the only one.

    Examples of one text hold the very same tuple. A target of -1 is chosen at every step, among the right ones (`genir.best_view`).
    """

    own: tuple[int, ...]
    right: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, examples: Sequence[Labelled]) -> "RightTargets":
        """Whatever the examples of one text have for targets is right for all of them."""
        found: dict[str, set[int]] = {}
        for example in examples:
            found.setdefault(example.text, set()).add(example.target)
        several = {text: tuple(sorted(targets)) for text, targets in found.items() if len(targets) > 1}
        return cls(tuple(one.target for one in examples), tuple(several.get(one.text, ()) for one in examples))

    def __bool__(self) -> bool:
        return any(self.right)

    def every(self, step: int) -> "RightTargets":
        """Those of every `step`-th example."""
        return RightTargets(self.own[::step], self.right[::step])

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Of examples `rows` (B,): places in the batch (K,) and other right targets (K,); None where no text has any."""
        found = [
            (place, target)
            for place, row in enumerate(rows.tolist())
            for target in self.right[row]
            if target != self.own[row]
        ]
        if not found:
            return None
        places, targets = torch.tensor(found, device=rows.device).unbind(1)
        return places, targets
