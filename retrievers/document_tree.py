"""A prefix tree whose documents have names: what a search may write, and which doc_ids each identifier stands for.

Immutable, like the tree: adding and removing documents gives another one that shares its storage and holds what changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from genir.constraints import PrefixTree
from genir.errors import DataError
from genir.records import DocIDTokens


@dataclass(frozen=True)
class DocumentTree:
    """Documents as built, by number in `names`; those added later stand in `added`, whose numbers go on from there."""

    tree: PrefixTree
    names: tuple[str, ...]
    numbers: Mapping[str, int]
    identifiers: Mapping[str, DocIDTokens]
    added: tuple[tuple[str, DocIDTokens], ...]
    removed: frozenset[int]
    longest: int  # tokens of the longest identifier that there ever was, the end token included
    end: DocIDTokens  # written behind every identifier
    limit: int | None  # tokens that the model can write

    @classmethod
    def build(
        cls,
        identifiers: Mapping[str, DocIDTokens],
        end_token: int | None,
        vocab_size: int,
        device: torch.device | str,
        limit: int | None = None,
    ) -> "DocumentTree":
        """A tree over documents {doc_id: docid_tokens}. Raises DataError for tokens that the model does not have."""
        end = () if end_token is None else (end_token,)
        longest = _longest(identifiers, end, limit)
        tree = PrefixTree.build([tokens + end for tokens in identifiers.values()], vocab_size).to(device)
        names = tuple(identifiers)
        numbers = {doc_id: number for number, doc_id in enumerate(names)}
        return cls(tree, names, numbers, identifiers, (), frozenset(), longest, end, limit)

    def documents_of(self, leaf: int) -> tuple[str, ...]:
        """The doc_ids under the identifier that ends at a leaf."""
        built = len(self.names)
        numbers = self.tree.documents_of(leaf)
        return tuple(self.names[n] if n < built else self.added[n - built][0] for n in numbers)

    def tokens(self) -> dict[str, DocIDTokens]:
        """The documents that are there: {doc_id: docid_tokens}."""
        kept = {
            doc_id: tokens for doc_id, tokens in self.identifiers.items() if self.numbers[doc_id] not in self.removed
        }
        later = enumerate(self.added, len(self.names))
        return kept | {doc_id: tokens for number, (doc_id, tokens) in later if number not in self.removed}

    def with_documents(self, identifiers: Mapping[str, DocIDTokens]) -> "DocumentTree":
        """The same with more documents. Raises DataError for one that is there already, or that the model cannot write."""
        later = self._later()
        for doc_id in identifiers:
            if self._number(doc_id, later) is not None:
                raise DataError(
                    f"document {doc_id!r} is in the index already: remove it first to change its identifier"
                )
        longest = max(self.longest, _longest(identifiers, self.end, self.limit))
        tree = self.tree.with_documents([tokens + self.end for tokens in identifiers.values()])
        return replace(self, tree=tree, added=(*self.added, *identifiers.items()), longest=longest)

    def without_documents(self, doc_ids: Iterable[str]) -> "DocumentTree":
        """The same without some documents. Raises DataError for one that is not there."""
        later = self._later()
        gone = set()
        for doc_id in doc_ids:
            number = self._number(doc_id, later)
            if number is None:
                raise DataError(f"document {doc_id!r} is not in the index: it cannot be removed")
            gone.add(number)
        return replace(self, tree=self.tree.without_documents(gone), removed=self.removed | gone)

    def _later(self) -> dict[str, int]:
        """Numbers of the added documents; of two with one name the later."""
        return {doc_id: number for number, (doc_id, _) in enumerate(self.added, len(self.names))}

    def _number(self, doc_id: str, later: Mapping[str, int]) -> int | None:
        """The number of a document that is there."""
        number = later.get(doc_id, self.numbers.get(doc_id))
        return None if number in self.removed else number


def _longest(identifiers: Mapping[str, DocIDTokens], end: DocIDTokens, limit: int | None) -> int:
    longest = max((len(tokens) for tokens in identifiers.values()), default=0) + len(end)
    if limit is not None and longest > limit:
        raise DataError(f"an identifier has {longest} tokens, but the model was made for {limit} at most")
    return longest
