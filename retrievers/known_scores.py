"""Searching documents of whose scores a part is known beforehand: by their codes, by their terms, or by both.

A `code_decoder` scores a document d with codes c_1..c_L as

    s(q, d) = sum_i pool(q) . E[c_i]  +  sum_i correction_i(q, c_<i) . E[c_i]

The first sum does not depend on what was written before a code: it is known for all documents after one lookup a code, before the first
one is written. A beam is judged by the corrections that it has written plus the best such sum that it can still reach, as PAG judges it
by the best set of terms (Zeng et al. 2024, arXiv:2404.14600). Scores stay what they are; what changes is which documents the beams
reach: none is lost because its first codes say little of the question. An untrained model finds what scoring all documents does.

The price grows with the documents: for each question of a batch L additions and some twelve bytes a document. From tens of millions on,
leave `look_ahead` out.

Shape letters: B questions, N documents, L identifier length, V identifier vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from torch import Tensor

from genir.beam_search import DecodingSettings, Hypothesis, search
from genir.constraints import PrefixTree
from genir.constraints.tree_maxima import Plan, TreeMaxima
from genir.identifier_rows import pad_identifiers, sums_of_tokens
from genir.protocols import IdentifierModel, NextToken, SplitScores
from retrievers.document_tree import DocumentTree


class SplitModel(IdentifierModel, Protocol):
    """A model whose logits are a sum of what each token says by itself, and of what its prefix adds."""

    def begin_split(self, texts: Sequence[str]) -> SplitScores:
        """`begin`, with the two parts of the logits apart."""
        ...


def splits(model: IdentifierModel) -> TypeGuard[SplitModel]:
    """Whether a model's logits come apart."""
    return hasattr(model, "begin_split")


def adds_up(decoding: DecodingSettings) -> bool:
    """Whether a document's score is a sum of logits, so that a part of it may be known beforehand."""
    return (decoding.scoring, decoding.num_beam_groups, decoding.length_penalty) == ("logits", 1, 0)


class KnownScores:
    """The documents of a tree, and what a search needs to be guided by scores of theirs."""

    def __init__(self, index: DocumentTree) -> None:
        """Raises DataError for a tree that was changed since it was built."""
        self.index = index
        self.maxima = TreeMaxima.of(index.tree)
        identifiers = [tokens + index.end for tokens in index.tokens().values()]
        self.rows = pad_identifiers(identifiers, None).to(index.tree.device)  # (N, L)

    def of_codes(self, by_token: Tensor) -> Tensor:
        """Shape (B, N): what documents' identifiers score where tokens score (B, V) wherever they stand."""
        return sums_of_tokens(by_token, self.rows)

    def search(
        self, step: NextToken, known: Tensor, constraint: PrefixTree, decoding: DecodingSettings
    ) -> list[dict[str, float]]:
        """For each question {doc_id: score}, what is `known` (B, N) and what `step` adds; `constraint` walks as the tree does."""
        plan = self.maxima.plan(known)
        found = search(step, constraint, len(known), decoding, plan)
        return [self._documents(plan, row, hypotheses) for row, hypotheses in enumerate(found)]

    def _documents(self, plan: Plan, row: int, hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
        """{doc_id: score} with every document's own score in place of the best one under its identifier."""
        numbers = self.index.numbers
        own, by_rank = plan.documents[row].tolist(), plan.by_rank[row].tolist()
        ranks = self.maxima.rank_of_document
        scores = {}
        for hypothesis in hypotheses:
            for doc_id in self.index.documents_of(hypothesis.leaf):
                number = numbers[doc_id]
                scores[doc_id] = hypothesis.score - by_rank[int(ranks[number])] + own[number]
        return scores
