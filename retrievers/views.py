"""Generative retrieval over several identifiers a document: the model writes any of them, and what it gives them is put together.

After MINDER (Li et al. 2023, arXiv:2305.16675): one prefix tree holds all views of all documents. With s(v) the score of view v,
and f the lowest score among the views that the search found for the question, a document d with views V(d) scores

    sum:  sum over v in V(d) of max(0, s(v) - f)        max:  max over v in V(d) of s(v)

so that a view that was not found counts as the worst that was, which is 0 in a sum. With nothing pruned f is the lowest score of
all. Views that several documents share count for each of them. `answer` shows a document with its best view that was found.

With terms (`retrievers.planning`) every view has those of its document beside its own codes, and the best view counts: a sum would count
them once for every view.

Known gaps: under "sum" the place of the zero depends on how many beams there are, and on whether they look ahead;
documents cannot come and go.
"""

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
from retrievers.document_tree import DocumentTree
from retrievers.generative import GenerativeRetriever, GenerativeSettings
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
    """A model and the views of its documents as a retriever. It finds at most `num_beams` views, hence fewer documents."""

    settings: ViewsSettings

    def __init__(
        self, model: IdentifierModel, identifiers: ViewsTable, settings: ViewsSettings = ViewsSettings()
    ) -> None:
        super().__init__(model, identifiers, settings)
        self.table = identifiers

    @cached_property
    def index(self) -> DocumentTree:
        """The tree over all views; a name in it is "doc_id, space, number of the view"."""
        device = getattr(self.model, "device", "cpu")
        limit: int | None = getattr(self.model, "max_identifier", None)
        named = {
            f"{doc_id} {number}": view.tokens
            for doc_id, views in self.table.views.items()
            for number, view in enumerate(views)
        }
        return DocumentTree.build(named, self.model.end_token, self.model.vocab_size, device, limit)

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
        [found] = super()._score_all([text]) if self.settings.exhaustive else super()._beams([text])
        best: dict[str, tuple[float, DocIDTokens]] = {}
        for name, score in found.items():
            doc_id, _, number = name.rpartition(" ")
            view = (score, self.table.views[doc_id][int(number)].tokens)
            best[doc_id] = max(best.get(doc_id, view), view, key=lambda one: one[0])
        return [(one, best[one.doc_id][1]) for one in Run.rank(self.combine(found), k)]

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        return [self.combine(found) for found in super()._beams(texts)]

    def _score_all(self, texts: list[str]) -> list[dict[str, float]]:
        return [self.combine(found) for found in super()._score_all(texts)]

    def combine(self, found: Mapping[str, float]) -> dict[str, float]:
        """{doc_id: score} of the scores of views, by their names in the tree."""
        lowest = min(found.values(), default=0.0)
        scores: dict[str, float] = {}
        for name, score in found.items():
            doc_id = name.rpartition(" ")[0]
            if self.settings.views == "max":
                scores[doc_id] = max(score, scores.get(doc_id, score))
            else:
                scores[doc_id] = scores.get(doc_id, 0.0) + score - lowest
        return scores


class PlanningViewsRetriever(ViewsRetriever, PlanningRetriever):
    """A `ViewsRetriever` that plans ahead by terms, too: s(d) = max over v in V(d) of w * s(v), plus the score of d's terms."""

    def __init__(
        self, model: PlanningModel, identifiers: ViewsTable, head: TermHead, settings: ViewsSettings | None = None
    ) -> None:
        """Raises ArtefactError for terms of other documents, ConfigError for views whose scores are to be summed."""
        settings = settings or ViewsSettings(views="max")
        if settings.views != "max":
            raise ConfigError(
                f'views are combined by "{settings.views}": terms go with the best view of a document; search with `--views max` or '
                "without terms, and build identifiers with combine=max"
            )
        PlanningRetriever.__init__(self, model, identifiers, head, settings)
        self.table = identifiers

    @cached_property
    def _documents(self) -> torch.Tensor:
        """Shape (names,): the number of the document that each name in the tree is a view of."""
        number_of = {doc_id: number for number, doc_id in enumerate(self.table.tokens)}
        numbers = [number_of[name.rpartition(" ")[0]] for name in self.index.names]
        return torch.tensor(numbers, device=self.index.tree.device)

    def _terms_of_names(self, texts: Sequence[str], states: torch.Tensor) -> torch.Tensor:
        return self.term_scores(texts, states)[:, self._documents]
