"""Generative retrieval that plans ahead by terms, too: the model scores documents first, then writes identifiers with that in view.

PAG (Zeng et al. 2024, arXiv:2404.14600): one reading of the question gives both the terms' scores of all documents, in one sparse
product, and the beam search's step function; a beam is judged by what it has written plus the best score that it can still reach, of
terms and of codes by themselves (see `retrievers.known_scores`; with `look_ahead` off, of terms alone). With weight w a document's score is

    s(q, d) = w * (sum of the logits of its identifier) + (score of its terms)

exactly; what planning changes is which documents the beams reach. Documents under one identifier have their own terms' scores.

Known gap: a document is found by its identifier alone, so that of two under one identifier both are found or neither, and the
weaker one may stand in place of another document that was pruned. Adding and removing documents needs the terms to be made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch

from genir.beam_search import DecodingSettings
from genir.errors import ArtefactError, ConfigError
from genir.models.term_head import StateModel, TermHead
from genir.protocols import NextToken, SplitModel
from genir.records import DocIDTokens, Query, Run, ScoredDoc
from retrievers.generative import GenerativeRetriever, GenerativeSettings, IdentifierTable
from retrievers.known_scores import adds_up
from retrievers.ranking import check_k


class PlanningModel(SplitModel, StateModel, Protocol):
    """A model that writes identifiers, its logits in two parts, and shows its encoder's states."""


class _Weighted:
    """A step function whose logits count `weight` times."""

    def __init__(self, step: NextToken, weight: float) -> None:
        self.step, self.weight = step, weight

    def __call__(
        self, tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        return self.step(tokens, parents, allowed).mul_(self.weight)


class PlanningRetriever(GenerativeRetriever):
    """A `GenerativeRetriever` with a head for terms, made for the same documents; `head.sequence_weight` is w."""

    model: PlanningModel

    def __init__(
        self,
        model: PlanningModel,
        identifiers: IdentifierTable,
        head: TermHead,
        settings: GenerativeSettings | None = None,
    ) -> None:
        """Raises ArtefactError where the head's documents are not those of the identifiers."""
        super().__init__(model, identifiers, settings or GenerativeSettings())
        if tuple(identifiers.tokens) != head.sets.doc_ids:
            raise ArtefactError(
                f"terms of {len(head.sets)} documents, identifiers of {len(identifiers.tokens)}, and not the same ones: train the "
                "terms again"
            )
        self.head = head

    @property
    def decoding(self) -> DecodingSettings:
        """See GenerativeRetriever. Raises ConfigError for settings that do not go with planning."""
        decoding = super().decoding
        if not adds_up(decoding):
            raise ConfigError(
                f"planning ahead adds to sums of logits; got scoring {decoding.scoring!r}, {decoding.num_beam_groups} groups and "
                f"length penalty {decoding.length_penalty:g}: leave them out, or search without terms"
            )
        return decoding

    def prepare(self) -> None:
        """See GenerativeRetriever."""
        _ = self.known_scores

    @property
    def nbytes(self) -> int:
        """See GenerativeRetriever; that of terms as well."""
        maxima = 0 if self.looks_ahead else self.known_scores.maxima.nbytes
        return super().nbytes + maxima + self.head.nbytes

    def with_documents(self, tokens: Mapping[str, DocIDTokens]) -> GenerativeRetriever:
        """Not for a retriever with terms: raises ConfigError."""
        raise ConfigError("a model with terms cannot take in documents yet: search without terms, or train them again")

    def without_documents(self, doc_ids: Iterable[str]) -> GenerativeRetriever:
        """Not for a retriever with terms: raises ConfigError."""
        raise ConfigError(
            "a model with terms cannot let go of documents yet: search without terms, or train them again"
        )

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        weight, documents, model = self.head.sequence_weight, self.known_scores, self._split_model
        if model is not None:
            split = model.begin_split(texts)
            step = split.correction
            codes = documents.codes(split.by_token)
            known = self._reachable(self._terms_of_names(texts, split.states) + weight * codes, codes)
        else:
            step, states = self.model.begin_with_states(texts)
            known = self._terms_of_names(texts, states)
        return documents.search(_Weighted(step, weight), known, self.constraint, self.decoding)

    def _score_all(self, texts: list[str]) -> list[dict[str, float]]:
        return self._with_terms(texts, super()._score_all(texts))

    def _with_terms(self, texts: list[str], found: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """s(q, d) of documents `found` for texts, by the scores of their identifiers."""
        _, states = self.model.begin_with_states(texts)
        terms = self._terms_of_names(texts, states).tolist()
        numbers, weight = self.index.numbers, self.head.sequence_weight
        return [
            {doc_id: weight * score + row[numbers[doc_id]] for doc_id, score in scores.items()}
            for scores, row in zip(found, terms, strict=True)
        ]

    def _terms_of_names(self, texts: Sequence[str], states: torch.Tensor) -> torch.Tensor:
        """`term_scores`, in the order of the tree's names."""
        return self.term_scores(texts, states)

    @torch.inference_mode()
    def term_scores(self, texts: Sequence[str], states: torch.Tensor) -> torch.Tensor:
        """Shape (B, N): what the terms of texts score, with the encoder's states (B, T, D)."""
        scores: torch.Tensor = self.head(self.head.read(texts, self.model.token_spans(texts), states))
        return scores


class UnguidedRetriever(PlanningRetriever):
    """The same scores without planning by terms: they are added to what codes alone found."""

    @classmethod
    def of(cls, planning: PlanningRetriever) -> "UnguidedRetriever":
        """Of a retriever that plans."""
        return cls(planning.model, planning.identifiers, planning.head, planning.settings)

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        return self._with_terms(texts, GenerativeRetriever._beams(self, texts))


class TermsRetriever:
    """The terms of a `PlanningRetriever` alone: all documents scored in one sparse product, no identifier written."""

    def __init__(self, planning: PlanningRetriever) -> None:
        self.planning = planning
        self.name = "terms"

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query, none that shares no term with it. Raises ConfigError for k < 1."""
        check_k(k)
        planning = self.planning
        ids = planning.head.sets.doc_ids
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        size = planning.settings.batch_size
        for start in range(0, len(queries), size):
            batch = queries[start : start + size]
            texts = [query.text for query in batch]
            _, states = planning.model.begin_with_states(texts)
            best = planning.term_scores(texts, states).topk(min(k, len(ids)), dim=1)
            for query, places, values in zip(batch, best.indices.tolist(), best.values.tolist(), strict=True):
                found = {ids[place]: value for place, value in zip(places, values, strict=True) if value > 0}
                rankings[query.query_id] = Run.rank(found, k)
        return Run(self.name, rankings)
