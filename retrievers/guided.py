"""Generative retrieval that looks ahead by its codes: what the question says of each code is summed for all documents first.

A `code_decoder` scores a document d with codes c_1..c_L as

    s(q, d) = sum_i pool(q) . E[c_i]  +  sum_i correction_i(q, c_<i) . E[c_i]

The first sum does not depend on the order in which codes are written: it is known for all documents after one lookup a code, before
anything is written. A beam is judged by the corrections that it has written plus the best such sum that it can still reach, as PAG
judges it by the best set of terms (Zeng et al. 2024, arXiv:2404.14600). Scores stay what they are; what changes is which documents the
beams reach: none is lost because its first codes say little of the question. An untrained model finds what scoring all documents does.

The price grows with the documents: L additions each, a batch of questions at once.

Known gap: where documents come or go the tree is built again, unlike that of a plain `GenerativeRetriever`.
"""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, TypeGuard

import torch

from genir.beam_search import DecodingSettings, Hypothesis, search
from genir.constraints.tree_maxima import Plan, TreeMaxima
from genir.errors import ConfigError
from genir.identifier_rows import pad_identifiers, sums_of_tokens
from genir.protocols import IdentifierModel, NextToken, SplitScores
from retrievers.document_tree import DocumentTree
from retrievers.generative import GenerativeRetriever, GenerativeSettings


class SplitModel(IdentifierModel, Protocol):
    """A model whose logits are a sum of what each token says by itself, and of what its prefix adds."""

    def begin_split(self, texts: Sequence[str]) -> SplitScores:
        """`begin`, with the two parts of the logits apart."""
        ...


def looks_ahead(model: Any) -> TypeGuard[SplitModel]:
    """Whether a model's logits come apart."""
    return hasattr(model, "begin_split")


def adds_up(model: IdentifierModel, settings: GenerativeSettings) -> bool:
    """Whether a document's score is a sum of logits, so that a part of it may be known beforehand."""
    scoring = model.scoring if settings.scoring == "model" else settings.scoring
    return (scoring, settings.num_beam_groups, settings.length_penalty) == ("logits", 1, 0)


class GuidedRetriever(GenerativeRetriever):
    """A `GenerativeRetriever` that knows a part of every document's score beforehand: here, what its codes score by themselves."""

    model: SplitModel

    @property
    def decoding(self) -> DecodingSettings:
        """See GenerativeRetriever. Raises ConfigError for settings that do not go with planning."""
        decoding = super().decoding
        if not adds_up(self.model, self.settings):
            raise ConfigError(
                f"planning ahead adds to sums of logits; got scoring {decoding.scoring!r}, {decoding.num_beam_groups} groups and "
                f"length penalty {decoding.length_penalty:g}: leave them out, or search without terms"
            )
        return decoding

    def prepare(self) -> None:
        """Make now what the first search would make: copies that walk along another tree share it."""
        _ = self.maxima, self.identifier_rows

    @cached_property
    def maxima(self) -> TreeMaxima:
        """What planning needs of the tree."""
        return TreeMaxima.of(self.constraint)

    @cached_property
    def identifier_rows(self) -> torch.Tensor:
        """Shape (N, L): every document's identifier, by its number."""
        identifiers = list(self.index.tokens().values())
        return pad_identifiers(identifiers, self.model.end_token).to(self.constraint.device)

    def _over(self, index: DocumentTree) -> GenerativeRetriever:
        other = copy.copy(self)
        for made in ("maxima", "identifier_rows"):
            other.__dict__.pop(made, None)
        left = index.tokens()
        if left:  # a tree holds at least one
            device = index.tree.device
            index = DocumentTree.build(left, self.model.end_token, self.model.vocab_size, device, index.limit)
        other.__dict__["index"] = index
        return other

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        if not len(self.constraint):
            return [{} for _ in texts]
        step, known = self._foreknown(texts)
        plan = self.maxima.plan(known)
        found = search(step, self.constraint, len(texts), self.decoding, plan)
        return [self._documents(plan, row, hypotheses) for row, hypotheses in enumerate(found)]

    def _foreknown(self, texts: Sequence[str]) -> tuple[NextToken, torch.Tensor]:
        """A step function, and what documents score beside it (B, N)."""
        split = self.model.begin_split(texts)
        return split.correction, sums_of_tokens(split.by_token, self.identifier_rows)

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
