"""Frozen sets of identifiers that a search may write. They know tokens (ints), never text."""

from genir.constraints.fm_index import FMIndex
from genir.constraints.trie import PrefixTree

__all__ = ["FMIndex", "PrefixTree"]
