"""Generative retrieval: a model writes identifiers, a prefix tree allows only real ones, a table knows their documents.

Documents under one identifier share its score and stand in order of doc_id. Results depend on `num_beams`, so it is a
stored setting and never follows k: the ranking for k = 10 is the beginning of that for k = 100, and a search finds at
most `num_beams` identifiers. Device and precision are the model's own. Known gap: two identifiers with exactly equal
scores compete for the last beam by token path, not by doc_id.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from tqdm import tqdm

from genir.beam_search import beam_search
from genir.constraints.trie import PrefixTree
from genir.errors import ConfigError
from genir.protocols import DocIDMap, IdentifierModel
from genir.records import DocIDTokens, Query, Run, ScoredDoc
from retrievers.ranking import check_k


class IdentifierTable(DocIDMap, Protocol):
    """A DocIDMap that lists its identifiers."""

    def identifiers(self) -> Sequence[DocIDTokens]:
        """The distinct identifiers; a tree's leaf is a position here."""
        ...


@dataclass(frozen=True, slots=True)
class GenerativeSettings:
    """How to decode. `exhaustive` scores every identifier instead of searching: the reference, for small corpora.

    A score is the sum over an identifier's tokens, divided by length ** length_penalty (the end token counts as one).
    """

    num_beams: int = 50
    batch_size: int = 16
    length_penalty: float = 0.0
    exhaustive: bool = False

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.batch_size < 1:
            raise ConfigError(
                f"num_beams is {self.num_beams} and batch_size {self.batch_size}: expected at least 1 of each"
            )


class GenerativeRetriever:
    """A model and its identifiers as a retriever. The prefix tree is built once, by the first search that needs it."""

    def __init__(
        self,
        model: IdentifierModel,
        identifiers: IdentifierTable,
        num_beams: int = 50,
        batch_size: int = 16,
        length_penalty: float = 0.0,
        exhaustive: bool = False,
    ) -> None:
        """Raises ConfigError for num_beams or batch_size below 1."""
        self.model = model
        self.identifiers = identifiers
        self.settings = GenerativeSettings(num_beams, batch_size, length_penalty, exhaustive)
        self.name = "generative"

    @cached_property
    def constraint(self) -> PrefixTree:
        """The tree over all identifiers, with the model's end token behind each where it has one."""
        end = () if self.model.end_token is None else (self.model.end_token,)
        # The Protocol asks for no device: a model that names none lives on the CPU.
        device: torch.device | str = getattr(self.model, "device", "cpu")
        return PrefixTree.build([tokens + end for tokens in self._distinct]).to(device)

    @cached_property
    def _distinct(self) -> list[DocIDTokens]:
        return list(self.identifiers.identifiers())

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query; none for a blank one. Raises ConfigError for k < 1.

        Warns where k exceeds num_beams, since fewer than k documents may be found then.
        """
        check_k(k)
        settings = self.settings
        if not settings.exhaustive and settings.num_beams < min(k, len(self._distinct)):
            warnings.warn(
                f"k is {k}, but {settings.num_beams} beams find at most as many identifiers: raise num_beams",
                stacklevel=2,
            )
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        # Equal lengths together, so that a batch holds little padding; the longest first, so that memory fails early.
        asked = sorted((query for query in queries if query.text.strip()), key=lambda query: -len(query.text))
        find = self._score_all if settings.exhaustive else self._beams
        with tqdm(total=len(asked), desc=self.name, unit="query", delay=2, leave=False) as bar:
            for start in range(0, len(asked), settings.batch_size):
                batch = asked[start : start + settings.batch_size]
                for query, found in zip(batch, find([query.text for query in batch]), strict=True):
                    rankings[query.query_id] = self._documents(found, k)
                bar.update(len(batch))
        return Run(self.name, rankings)

    def _beams(self, texts: list[str]) -> list[list[tuple[int, float]]]:
        """Per text: (index of an identifier, score), best first."""
        found = beam_search(
            self.model.begin(texts),
            self.constraint,
            len(texts),
            self.settings.num_beams,
            scoring=self.model.scoring,
            length_penalty=self.settings.length_penalty,
        )
        return [[(hypothesis.leaf, hypothesis.score) for hypothesis in hypotheses] for hypotheses in found]

    def _score_all(self, texts: list[str]) -> list[list[tuple[int, float]]]:
        """The same for every identifier there is."""
        end = 0 if self.model.end_token is None else 1
        lengths = torch.tensor([len(tokens) + end for tokens in self._distinct])
        scores = self.model.score(texts, self._distinct).cpu() / lengths**self.settings.length_penalty
        return [list(enumerate(row)) for row in scores.tolist()]

    def _documents(self, found: Iterable[tuple[int, float]], k: int) -> tuple[ScoredDoc, ...]:
        scores = {
            doc_id: score for leaf, score in found for doc_id in self.identifiers.documents_of(self._distinct[leaf])
        }
        return Run.rank(scores, k)
