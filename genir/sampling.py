"""A part for the whole."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most so many items, evenly from the first to the last; all of them for 0."""
    n = len(items)
    if not most or n <= most:
        return tuple(items)
    return tuple(items[place * n // most] for place in range(most))
