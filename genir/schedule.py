"""Which examples each training step draws from: everything together, or documents first and questions afterwards.

Indexing and retrieval are one task here (DSI, Tay et al. 2022, arXiv:2202.06991, found that to be better than one after the other);
"index-first" is there for the comparison. Both run the same number of steps, and each example is seen the same number of times, to
within one batch: a phase's share of the steps is its share of the examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from genir.errors import ConfigError

Schedule = Literal["together", "index-first"]
QUERY = "query"  # the kind of the examples that are retrieval; every other kind is indexing


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `first + steps`, which draw from the examples `rows`, epoch after epoch of `epoch_steps`."""

    number: int
    rows: tuple[int, ...]
    first: int
    steps: int
    epoch_steps: int

    @property
    def end(self) -> int:
        """The step behind the last one."""
        return self.first + self.steps


def plan(kinds: Sequence[str], schedule: Schedule, epochs: int, batch_size: int) -> tuple[Phase, ...]:
    """The phases of a training on examples of these kinds.

    Raises ConfigError where "index-first" has nothing for one of its phases.
    """
    total = epochs * math.ceil(len(kinds) / batch_size)
    everything = tuple(range(len(kinds)))
    if schedule == "together":
        return (_phase(0, everything, 0, total, batch_size),)
    queries = tuple(row for row in everything if kinds[row] == QUERY)
    indexing = tuple(row for row in everything if kinds[row] != QUERY)
    if not queries or not indexing:
        missing = "training queries" if not queries else "passages, titles or pseudo-queries"
        raise ConfigError(f'schedule "index-first" needs examples of both kinds, but there are no {missing}')
    first = round(total * len(indexing) / len(kinds))
    return _phase(0, indexing, 0, first, batch_size), _phase(1, queries, first, total - first, batch_size)


def _phase(number: int, rows: tuple[int, ...], first: int, steps: int, batch_size: int) -> Phase:
    return Phase(number, rows, first, steps, math.ceil(len(rows) / batch_size))
