"""Frozen sets of identifiers that a search may write. They know tokens (ints), never text."""

from genir.constraints.trie import PrefixTree

__all__ = ["PrefixTree"]
