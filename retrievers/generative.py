"""Generative retrieval: a model writes identifiers, a prefix tree allows only real ones and knows their documents.

Documents under one identifier share its score and stand in order of doc_id. Results depend on how one searches, so all of
it is a stored setting and never follows k: the ranking for k = 10 is the beginning of that for k = 100, and a search
finds at most `num_beams` identifiers. Device and precision are the model's own. Beams of a model whose logits come
apart look ahead (see `retrievers.known_scores`). Documents can be added and removed without building the tree again;
where beams look ahead, the next search builds it. Known gap: two identifiers with exactly equal scores compete for the
last beam by token path, not by doc_id.
"""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from tqdm import tqdm

from docids.spelling import spell
from docids.table import DocIDTable
from genir.beam_search import DecodingSettings, search
from genir.constraints import PrefixTree
from genir.errors import ConfigError, unknown_name
from genir.protocols import IdentifierModel, SplitModel
from genir.records import DocIDTokens, Query, Run, ScoredDoc
from retrievers.document_tree import DocumentTree
from retrievers.known_scores import KnownScores, adds_up, splits
from retrievers.ranking import check_k

Scored = Literal["model", "vocabulary", "allowed", "logits"]


class IdentifierTable(Protocol):
    """Documents and their identifiers."""

    @property
    def tokens(self) -> Mapping[str, DocIDTokens]:
        """{doc_id: docid_tokens}; several documents may share an identifier."""
        ...


@dataclass(frozen=True)
class GenerativeSettings:
    """How to decode. `exhaustive` scores every identifier instead of searching: the reference, for small corpora.

    A score is the sum over an identifier's tokens, divided by length ** length_penalty (the end token counts as one).
    `scoring` says what a token scores: as the model was trained ("model"), its log-probability in the whole vocabulary or
    among the allowed tokens (Hugging Face's renormalize_logits), or its logit. `threshold` stops a query as soon as its
    best so many identifiers are certain (0: by Hugging Face's rule). Groups: see `genir.beam_search`. `terms` False leaves
    the terms of a model that has any out of its search (see `retrievers.planning`). With `look_ahead` the beams of a
    `code_decoder` know what all documents' codes score by themselves, where scores are sums of logits.
    """

    num_beams: int = 50
    batch_size: int = 16
    length_penalty: float = 0.0
    exhaustive: bool = False
    scoring: Scored = "model"
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    threshold: int = 0
    terms: bool = True
    look_ahead: bool = True

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.batch_size < 1:
            raise ConfigError(
                f"num_beams is {self.num_beams} and batch_size {self.batch_size}: expected at least 1 of each"
            )
        if self.scoring not in get_args(Scored):
            raise unknown_name("scoring", self.scoring, get_args(Scored))
        if self.exhaustive and self.scoring != "model":
            raise ConfigError(f"exhaustive search scores as the model was trained: leave scoring {self.scoring!r} out")


class GenerativeRetriever:
    """A model and its identifiers as a retriever. The prefix tree is built once, by the first search that needs it."""

    def __init__(
        self, model: IdentifierModel, identifiers: IdentifierTable, settings: GenerativeSettings = GenerativeSettings()
    ) -> None:
        self.model = model
        self.identifiers = identifiers
        self.settings = settings
        self.name = "generative"

    @cached_property
    def index(self) -> DocumentTree:
        """The tree over all documents, with the model's end token behind each identifier where it has one."""
        return self._tree_of(self.identifiers.tokens)

    def _tree_of(self, tokens: Mapping[str, DocIDTokens]) -> DocumentTree:
        # The Protocol asks for no device: a model that names none lives on the CPU.
        device: torch.device | str = getattr(self.model, "device", "cpu")
        limit: int | None = getattr(self.model, "max_identifier", None)
        return DocumentTree.build(tokens, self.model.end_token, self.model.vocab_size, device, limit)

    @cached_property
    def known_scores(self) -> KnownScores:
        """What looking ahead needs of the tree; documents that came or went are built into it first."""
        if self.constraint.patch is not None:
            self.__dict__["index"] = self._tree_of(self.index.tokens())
        return KnownScores.of(self.index)

    def prepare(self) -> None:
        """Make now what the first search would make, so that copies share it."""
        _ = self.known_scores if self.looks_ahead else self.index

    @property
    def looks_ahead(self) -> bool:
        """Whether beams know a part of all documents' scores beforehand: where logits come apart, and there are documents."""
        return self._split_model is not None

    @property
    def nbytes(self) -> int:
        """Memory of what a search walks along."""
        return self.constraint.nbytes + (self.known_scores.nbytes if self.looks_ahead else 0)

    @property
    def constraint(self) -> PrefixTree:
        """What the search may write."""
        return self.index.tree

    @property
    def decoding(self) -> DecodingSettings:
        """The settings of the beam search itself. Raises ConfigError where they do not go together."""
        settings = self.settings
        return DecodingSettings(
            num_beams=settings.num_beams,
            scoring=self.model.scoring if settings.scoring == "model" else settings.scoring,
            length_penalty=settings.length_penalty,
            max_length=self.index.longest,
            num_beam_groups=settings.num_beam_groups,
            diversity_penalty=settings.diversity_penalty,
            threshold=settings.threshold or None,
        )

    def with_documents(self, tokens: Mapping[str, DocIDTokens]) -> "GenerativeRetriever":
        """A retriever that finds these documents, too, by the identifiers given; the tree is not built again for it.

        Raises DataError for a doc_id that is there already, and for tokens that the model does not have.
        """
        return self._over(self.index.with_documents(tokens))

    def without_documents(self, doc_ids: Iterable[str]) -> "GenerativeRetriever":
        """A retriever that can no longer find these documents. Raises DataError for one that is not there."""
        return self._over(self.index.without_documents(doc_ids))

    def _over(self, index: DocumentTree) -> "GenerativeRetriever":
        other = copy.copy(self)
        other.__dict__.pop("known_scores", None)
        other.__dict__["index"] = index
        return other

    @property
    def _split_model(self) -> SplitModel | None:
        """The model, where its beams look ahead."""
        wanted = self.settings.look_ahead and not self.settings.exhaustive and len(self.constraint)
        return self.model if wanted and splits(self.model) and adds_up(self.decoding) else None

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query; none for a blank one. Raises ConfigError for k < 1.

        Warns where k exceeds num_beams, since fewer than k documents may be found then.
        """
        self._check_depth(k)
        settings = self.settings
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        # Equal lengths together, so that a batch holds little padding; the longest first, so that memory fails early.
        asked = sorted((query for query in queries if query.text.strip()), key=lambda query: -len(query.text))
        find = self._score_all if settings.exhaustive else self._beams
        with tqdm(total=len(asked), desc=self.name, unit="query", delay=2, leave=False) as bar:
            for start in range(0, len(asked), settings.batch_size):
                batch = asked[start : start + settings.batch_size]
                for query, scores in zip(batch, find([query.text for query in batch]), strict=True):
                    rankings[query.query_id] = Run.rank(scores, k)
                bar.update(len(batch))
        return Run(self.name, rankings)

    def answer(self, text: str, k: int) -> list[tuple[ScoredDoc, DocIDTokens]]:
        """At most k documents for one text, none for a blank one, each with the identifier that it was found by.

        Raises ConfigError for k < 1.
        """
        ranking = self.search([Query("text", text)], k).rankings["text"]
        held = self.index.tokens()
        return [(one, held[one.doc_id]) for one in ranking]

    def written(self, doc_ids: Sequence[str]) -> dict[str, tuple[DocIDTokens, str]]:
        """The identifiers of documents, in tokens and in words; of views none, since doc_ids alone do not say which was written.

        `answer` does.
        """
        if not isinstance(self.identifiers, DocIDTable):
            return {}
        held = self.identifiers.tokens
        return {doc_id: (held[doc_id], spell(self.identifiers, held[doc_id])) for doc_id in doc_ids if doc_id in held}

    def _check_depth(self, k: int) -> None:
        """For `search` and `answer`, whose caller is warned."""
        check_k(k)
        settings = self.settings
        if not settings.exhaustive and settings.num_beams < min(k, len(self.constraint)):
            warnings.warn(
                f"k is {k}, but {settings.num_beams} beams find at most as many identifiers: raise num_beams",
                stacklevel=3,
            )

    def _beams(self, texts: list[str]) -> list[dict[str, float]]:
        """Per text: {doc_id: score} of the documents found."""
        model = self._split_model
        if model is not None:
            known, split = self.known_scores, model.begin_split(texts)
            codes = known.codes(split.by_token)
            return known.search(split.correction, self._reachable(codes, codes), self.constraint, self.decoding)
        found = search(self.model.begin(texts), self.constraint, len(texts), self.decoding)
        return [
            {doc_id: hypothesis.score for hypothesis in row for doc_id in self.index.documents_of(hypothesis.leaf)}
            for row in found
        ]

    def _reachable(self, known: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """What is `known` (B, N) of the tree's names beforehand, -inf for those that by their `codes` (B, N) shall not be found."""
        return known

    def _score_all(self, texts: list[str]) -> list[dict[str, float]]:
        """The same for every document there is."""
        documents: dict[DocIDTokens, list[str]] = {}
        for doc_id, tokens in self.index.tokens().items():
            documents.setdefault(tokens, []).append(doc_id)
        end = len(self.index.end)
        lengths = torch.tensor([len(tokens) + end for tokens in documents])
        scores = self.model.score(texts, list(documents)).cpu() / lengths**self.settings.length_penalty
        return [
            {doc_id: score for doc_ids, score in zip(documents.values(), row, strict=True) for doc_id in doc_ids}
            for row in scores.tolist()
        ]
