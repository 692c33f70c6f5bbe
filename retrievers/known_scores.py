"""Searching documents of whose scores a part is known beforehand: by their codes, by their terms, or by both.

A `code_decoder` scores a document d with codes c_1..c_L as

    s(q, d) = sum_i pool(q) . E[c_i]  +  sum_i correction_i(q, c_<i) . E[c_i]

The first sum does not depend on what was written before a code: it is known for all documents after one lookup a code, before the first
one is written. A beam is judged by the corrections that it has written plus the best such sum that it can still reach, as PAG judges it
by the best set of terms (Zeng et al. 2024, arXiv:2404.14600). Scores stay what they are; what changes is which documents the beams
reach: none is lost because its first codes say little of the question. An untrained model finds what scoring all documents does.

The price grows with the documents, as that of scoring all of them by a quantised index does: for every question L additions and some passes
over the tree; in memory some 14 L bytes a document, and twelve for each question of a batch. From millions of documents on, leave
`look_ahead` out.

Shape letters: B questions, N documents, L identifier length, V identifier vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

import torch
from torch import Tensor

from genir.beam_search import DecodingSettings, Hypothesis, search
from genir.constraints import PrefixTree
from genir.constraints.tree_maxima import Plan, TreeMaxima
from genir.identifier_rows import TokenSums, pad_identifiers
from genir.protocols import IdentifierModel, NextToken, SplitModel
from retrievers.document_tree import DocumentTree


def splits(model: IdentifierModel) -> TypeGuard[SplitModel]:
    """Whether a model's logits come apart."""
    return hasattr(model, "begin_split")


def adds_up(decoding: DecodingSettings) -> bool:
    """Whether a document's score is a sum of logits, so that a part of it may be known beforehand."""
    return (decoding.scoring, decoding.num_beam_groups, decoding.length_penalty) == ("logits", 1, 0)


@dataclass(frozen=True, eq=False)
class KnownScores:
    """The documents of a tree, and what a search needs to be guided by scores of theirs."""

    index: DocumentTree
    maxima: TreeMaxima

    @classmethod
    def of(cls, index: DocumentTree) -> "KnownScores":
        """Raises DataError for a tree that was changed since it was built."""
        return cls(index, TreeMaxima.of(index.tree))

    @cached_property
    def codes(self) -> TokenSums:
        """From what a question says of tokens (B, V), wherever they stand, to what documents' identifiers score (B, N)."""
        identifiers = [tokens + self.index.end for tokens in self.index.tokens().values()]
        return TokenSums.of(pad_identifiers(identifiers, None).to(self.index.tree.device))

    @property
    def nbytes(self) -> int:
        """Memory beside the tree's."""
        return self.maxima.nbytes + self.codes.nbytes

    def search(
        self, step: NextToken, known: Tensor, constraint: PrefixTree, decoding: DecodingSettings
    ) -> list[dict[str, float]]:
        """For each question {doc_id: score}, what is `known` (B, N) and what `step` adds; `constraint` walks as the tree does."""
        plan = self.maxima.plan(known)
        found = search(step, constraint, len(known), decoding, plan)
        return [self._documents(plan, row, hypotheses) for row, hypotheses in enumerate(found)]

    def _documents(self, plan: Plan, row: int, hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
        """{doc_id: score} with every document's own score in place of the best one under its identifier."""
        index = self.index
        scores = {
            doc_id: hypothesis.score for hypothesis in hypotheses for doc_id in index.documents_of(hypothesis.leaf)
        }
        numbers = torch.tensor([index.numbers[doc_id] for doc_id in scores], device=plan.documents.device)
        best = plan.by_rank[row, self.maxima.rank_of_document[numbers]]
        below = (plan.documents[row, numbers] - best).tolist()
        return {doc_id: score + less for (doc_id, score), less in zip(scores.items(), below, strict=True)}
