"""Generative retrieval over several identifiers a document: the model writes any of them, and what it gives them is put together.

After MINDER (Li et al. 2023, arXiv:2305.16675): one prefix tree holds all views of all documents. With s(v) the score of view v,
and f the lowest score among the views that the search found for the question, a document d with views V(d) scores

    sum:  sum over v in V(d) of max(0, s(v) - f)        max:  max over v in V(d) of s(v)

so that a view that was not found counts as the worst that was, which is 0 in a sum. With nothing pruned f is the lowest score of
all. Views that several documents share count for each of them. `answer` shows a document with its best view that was found.

Where beams look ahead (`retrievers.known_scores`), the best view is the one whose codes score highest by themselves, and the decoder's
correction counts for that one alone: so a beam is a document, as it is without views, and not one of many views of the same. That is
also what training teaches (`genir.best_view`).

With terms (`retrievers.planning`) every view has those of its document beside its own codes, and the best view counts: a sum would count
them once for every view.

Known gaps: under "sum", and where beams do not look ahead, several beams may hold views of one document, so that fewer documents than
beams are found; under "sum" the place of the zero depends on how many beams there are; documents cannot come and go.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import get_args

import torch

from docids.views import Combined, ViewsTable
from genir.errors import ConfigError, unknown_name
from genir.models.term_head import TermHead
from genir.protocols import IdentifierModel
from genir.records import DocIDTokens, Run, ScoredDoc
from retrievers.best_passage import part_name, whole_of
from retrievers.document_tree import DocumentTree
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.known_scores import adds_up, splits
from retrievers.planning import PlanningModel, PlanningRetriever


@dataclass(frozen=True)
class ViewsSettings(GenerativeSettings):
    """How to decode, and `views`: how scores of a document's views make its own."""

    views: Combined = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in get_args(Combined):
            raise unknown_name("way to combine views", self.views, get_args(Combined))

    @classmethod
    def of(cls, settings: GenerativeSettings, views: Combined) -> "ViewsSettings":
        """`settings` as they are, with `views` unless they say so themselves."""
        return settings if isinstance(settings, cls) else cls(**asdict(settings), views=views)


class ViewsRetriever(GenerativeRetriever):
    """A model and the views of its documents as a retriever."""

    settings: ViewsSettings
    identifiers: ViewsTable

    def __init__(
        self, model: IdentifierModel, identifiers: ViewsTable, settings: ViewsSettings = ViewsSettings()
    ) -> None:
        super().__init__(model, identifiers, settings)

    @cached_property
    def index(self) -> DocumentTree:
        """The tree over all views, each under its `part_name`."""
        device = getattr(self.model, "device", "cpu")
        limit: int | None = getattr(self.model, "max_identifier", None)
        named = {
            part_name(doc_id, number): view.tokens
            for doc_id, views in self.identifiers.views.items()
            for number, view in enumerate(views)
        }
        return DocumentTree.build(named, self.model.end_token, self.model.vocab_size, device, limit)

    @cached_property
    def _views(self) -> torch.Tensor:
        """Shape (documents, most views): the places of each document's views among the tree's names, its first one again behind them."""
        counts = self._counts[:, None]
        number = torch.arange(int(counts.max()), device=counts.device)
        return counts.cumsum(0) - counts + number.where(number < counts, 0)

    @property
    def _counts(self) -> torch.Tensor:
        """Shape (documents,): how many views each has."""
        counts = [len(views) for views in self.identifiers.views.values()]
        return torch.tensor(counts, device=self.index.tree.device)

    @property
    def picks(self) -> bool:
        """Whether codes alone say which view of a document counts."""
        settings = self.settings
        return settings.views == "max" and settings.look_ahead and splits(self.model) and adds_up(self.decoding)

    def prepare(self) -> None:
        """See GenerativeRetriever."""
        super().prepare()
        _ = self._views

    def with_documents(self, tokens: Mapping[str, DocIDTokens]) -> GenerativeRetriever:
        """Not for views: raises ConfigError."""
        raise ConfigError("a search of views cannot take in documents yet: build the identifiers again")

    def without_documents(self, doc_ids: Iterable[str]) -> GenerativeRetriever:
        """Not for views: raises ConfigError."""
        raise ConfigError("a search of views cannot let go of documents yet: build the identifiers again")

    def answer(self, text: str, k: int) -> list[tuple[ScoredDoc, DocIDTokens]]:
        """See GenerativeRetriever: of the views of a document that were found, the one with the highest score."""
        self._check_depth(k)
        if not text.strip():
            return []
        [found] = self._scored_views([text]) if self.settings.exhaustive else super()._beams([text])
        best: dict[str, tuple[float, DocIDTokens]] = {}
        for name, score in found.items():
            if score > -math.inf:
                doc_id, number = whole_of(name)
                view = (score, self.identifiers.views[doc_id][number].tokens)
                best[doc_id] = max(best.get(doc_id, view), view, key=lambda one: one[0])
        return [(one, best[one.doc_id][1]) for one in Run.rank(self.combine(found), k)]

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        return [self.combine(found) for found in super()._beams(texts)]

    def _score_all(self, texts: list[str]) -> list[dict[str, float]]:
        return [self.combine(found) for found in self._scored_views(texts)]

    def _scored_views(self, texts: list[str]) -> list[dict[str, float]]:
        """Per text {name: score} of all views that count."""
        scored = super()._score_all(texts)
        model = self.model
        if not (self.picks and splits(model)):
            return scored
        codes = self.known_scores.codes(model.begin_split(texts).by_token)
        counts = (self._reachable(codes, codes) > -math.inf).tolist()
        numbers = self.index.numbers
        return [
            {name: score for name, score in found.items() if row[numbers[name]]}
            for found, row in zip(scored, counts, strict=True)
        ]

    def _reachable(self, known: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        if not self.picks:
            return known
        best = codes[:, self._views].argmax(dim=2)  # (B, documents)
        chosen = self._views.expand(len(codes), -1, -1).gather(2, best[..., None])[..., 0]
        kept = torch.zeros_like(known, dtype=torch.bool).scatter_(1, chosen, True)
        return known.masked_fill(~kept, -math.inf)

    def combine(self, found: Mapping[str, float]) -> dict[str, float]:
        """{doc_id: score} of the scores of views, by their names in the tree; -inf is none."""
        lowest = min(found.values(), default=0.0)
        scores: dict[str, float] = {}
        for name, score in found.items():
            doc_id, _ = whole_of(name)
            if self.settings.views == "sum":
                scores[doc_id] = scores.get(doc_id, 0.0) + score - lowest
            elif score > -math.inf:
                scores[doc_id] = max(score, scores.get(doc_id, score))
        return scores


class PlanningViewsRetriever(ViewsRetriever, PlanningRetriever):
    """A `ViewsRetriever` that plans ahead by terms, too: s(d) = w * s(v) of d's best view v, plus the score of d's terms."""

    model: PlanningModel

    def __init__(
        self, model: PlanningModel, identifiers: ViewsTable, head: TermHead, settings: ViewsSettings | None = None
    ) -> None:
        """Raises ArtefactError for terms of other documents, ConfigError for views whose scores are to be summed."""
        settings = settings or ViewsSettings(views="max")
        if settings.views != "max":
            raise ConfigError(
                f"views are combined by {settings.views!r}, but terms go with the best view of a document: leave `--views` out, or search "
                "with `--no-terms`"
            )
        PlanningRetriever.__init__(self, model, identifiers, head, settings)

    @cached_property
    def _documents(self) -> torch.Tensor:
        """Shape (names,): the number of the document that each name in the tree is a view of."""
        return torch.repeat_interleave(self._counts)

    def prepare(self) -> None:
        """See GenerativeRetriever."""
        super().prepare()
        _ = self._documents

    def _terms_of_names(self, texts: Sequence[str], states: torch.Tensor) -> torch.Tensor:
        return self.term_scores(texts, states)[:, self._documents]
