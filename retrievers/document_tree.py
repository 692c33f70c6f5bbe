"""A prefix tree whose documents have names: what a search may write, and which doc_ids each identifier stands for.

Immutable, like the tree: adding and removing documents gives another one that shares its storage.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from genir.constraints import PrefixTree
from genir.errors import DataError
from genir.records import DocIDTokens


@dataclass(frozen=True)
class DocumentTree:
    """`doc_ids` names the tree's document numbers, removed ones included; `tokens` and `numbers` hold those still there."""

    tree: PrefixTree
    doc_ids: tuple[str, ...]
    tokens: Mapping[str, DocIDTokens]
    numbers: Mapping[str, int]
    end: DocIDTokens  # written behind every identifier

    @classmethod
    def build(
        cls, tokens: Mapping[str, DocIDTokens], end_token: int | None, vocab_size: int, device: torch.device | str
    ) -> "DocumentTree":
        """A tree over documents {doc_id: docid_tokens}. Raises DataError for tokens outside the model's vocabulary."""
        end = () if end_token is None else (end_token,)
        tree = PrefixTree.build([identifier + end for identifier in tokens.values()], vocab_size)
        doc_ids = tuple(tokens)
        numbers = {doc_id: number for number, doc_id in enumerate(doc_ids)}
        return cls(tree.to(device), doc_ids, tokens, numbers, end)

    def documents_of(self, leaf: int) -> tuple[str, ...]:
        """The doc_ids under the identifier that ends at a leaf."""
        return tuple(self.doc_ids[number] for number in self.tree.documents_of(leaf))

    def with_documents(self, tokens: Mapping[str, DocIDTokens]) -> "DocumentTree":
        """The same with more documents. Raises DataError for one that is there already."""
        known = self.numbers.keys() & tokens.keys()
        if known:
            raise DataError(
                f"document {min(known)!r} is in the index already: remove it first to change its identifier"
            )
        tree = self.tree.with_documents([identifier + self.end for identifier in tokens.values()])
        numbers = {doc_id: number for number, doc_id in enumerate(tokens, len(self.doc_ids))}
        return replace(
            self,
            tree=tree,
            doc_ids=(*self.doc_ids, *tokens),
            tokens={**self.tokens, **tokens},
            numbers={**self.numbers, **numbers},
        )

    def without_documents(self, doc_ids: Iterable[str]) -> "DocumentTree":
        """The same without some documents. Raises DataError for one that is not there."""
        removed = set(doc_ids)
        unknown = removed - self.numbers.keys()
        if unknown:
            raise DataError(f"document {min(unknown)!r} is not in the index: it cannot be removed")
        tree = self.tree.without_documents([self.numbers[doc_id] for doc_id in removed])
        tokens = {doc_id: tokens for doc_id, tokens in self.tokens.items() if doc_id not in removed}
        return replace(self, tree=tree, tokens=tokens, numbers={doc_id: self.numbers[doc_id] for doc_id in tokens})
