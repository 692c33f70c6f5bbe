"""SEAL: a model writes n-grams of the corpus, and documents are scored by those that they hold.

Bevilacqua et al. 2022, "Autoregressive Search Engines" (arXiv 2204.10628). The beam search runs under an FM-index, and
every n-gram that ranked among the beams at some length counts, not only the longest; the formulas are in
`retrievers.ngram_scoring`. The model is any IdentifierModel whose tokens are the index's tokens; its end token is never
written, for an n-gram may end anywhere. P(n|q) is always taken over the model's whole vocabulary.

Invariants: document numbers of the index are places in `doc_ids`; deleted documents never come out; a smaller k is the
beginning of a larger one. Known gap: a document that holds none of the n-grams has no score, so fewer than k may come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from genir.beam_search import DecodingSettings, Hypothesis, search
from genir.constraints.fm_index import FMIndex
from genir.errors import ConfigError, DataError
from genir.protocols import IdentifierModel
from genir.records import DocIDTokens, Query, Run, ScoredDoc
from retrievers.ngram_scoring import Floats, intersective_scores, unconditional, weight
from retrievers.ranking import check_k


@dataclass(frozen=True, slots=True)
class NgramSettings:
    """How to decode and to score; the defaults are the paper's.

    max_length       tokens of the longest n-gram
    alpha            power of an n-gram's weight: above 1, few certain n-grams count for more than many vague ones
    beta             0 to 1: how much of an n-gram's weight goes with tokens that better n-grams have brought already
    max_occurrences  n-grams that are more frequent in the corpus are not scored, to save time (0: all are)
    """

    num_beams: int = 15
    max_length: int = 10
    alpha: float = 2.0
    beta: float = 0.8
    max_occurrences: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        if min(self.num_beams, self.max_length, self.batch_size) < 1 or self.max_occurrences < 0:
            raise ConfigError(
                f"num_beams is {self.num_beams}, max_length {self.max_length}, batch_size {self.batch_size} and "
                f"max_occurrences {self.max_occurrences}: expected at least 1 of the first three, and 0 of the last"
            )
        if self.alpha < 0 or not 0 <= self.beta <= 1:
            raise ConfigError(
                f"alpha is {self.alpha} and beta {self.beta}: expected alpha from 0, and beta from 0 to 1"
            )


class NgramRetriever:
    """A model and the n-grams of a corpus as a retriever: `doc_ids` are the documents of the index, by number."""

    def __init__(
        self,
        model: IdentifierModel,
        index: FMIndex,
        doc_ids: Sequence[str],
        settings: NgramSettings = NgramSettings(),
    ) -> None:
        """Raises DataError unless there is a doc_id for every document number of the index, deleted ones included."""
        if len(doc_ids) != index.next_document:
            raise DataError(
                f"{len(doc_ids)} doc_ids for an index of {index.next_document} documents: give one for each number"
            )
        self.model = model
        self.index = index
        self.doc_ids = doc_ids
        self.settings = settings
        self.name = "ngram"

    @property
    def decoding(self) -> DecodingSettings:
        """The settings of the beam search: a pool that takes every n-gram which ranks among the beams at some length."""
        settings = self.settings
        everything = settings.num_beams * settings.max_length
        return DecodingSettings(settings.num_beams, "vocabulary", max_length=settings.max_length, num_return=everything)

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """At most k documents a query; none for a blank one. Raises ConfigError for k < 1.

        Raises DataError where the index holds a token that the model does not have.
        """
        check_k(k)
        rankings: dict[str, tuple[ScoredDoc, ...]] = {query.query_id: () for query in queries}
        # Equal lengths together, so that a batch holds little padding; the longest first, so that memory fails early.
        asked = sorted((query for query in queries if query.text.strip()), key=lambda query: -len(query.text))
        with tqdm(total=len(asked), desc=self.name, unit="query", delay=2, leave=False) as bar:
            for start in range(0, len(asked), self.settings.batch_size):
                batch = asked[start : start + self.settings.batch_size]
                for query, ngrams in zip(batch, self.write([query.text for query in batch]), strict=True):
                    rankings[query.query_id] = Run.rank(self.score(ngrams), k)
                bar.update(len(batch))
        return Run(self.name, rankings)

    def write(self, texts: Sequence[str]) -> list[list[Hypothesis]]:
        """The n-grams that the model writes for each text, the likeliest first."""
        device: torch.device | str = getattr(self.model, "device", "cpu")
        return search(self.model.begin(texts), self.index.to(device), len(texts), self.decoding)

    def score(self, found: Sequence[Hypothesis]) -> dict[str, float]:
        """{doc_id: W(d, q)} of the documents that hold one of the n-grams found for a query."""
        nodes, w = self._weights(found)
        kept = w.nonzero()[0]
        places, documents, ends = (tensor.numpy() for tensor in self.index.occurrences(nodes[kept]))
        numbers, scores = intersective_scores(
            [found[place].tokens for place in kept.tolist()],
            w[kept],
            (places, documents, ends),
            self.settings.alpha,
            self.settings.beta,
        )
        return {self.doc_ids[number]: score for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)}

    def evidence(self, found: Sequence[Hypothesis]) -> dict[str, list[DocIDTokens]]:
        """{doc_id: the n-grams of weight above 0 that it holds, the weightiest first}: what a ranking rests on."""
        nodes, w = self._weights(found)
        best = np.argsort(-w, kind="stable")[: np.count_nonzero(w)]
        held: dict[str, list[DocIDTokens]] = {}
        for place, number in zip(*(tensor.tolist() for tensor in self.index.documents(nodes[best])), strict=True):
            held.setdefault(self.doc_ids[number], []).append(found[best[place]].tokens)
        return held

    def _weights(self, found: Sequence[Hypothesis]) -> tuple[torch.Tensor, Floats]:
        """Nodes (M,) and weights w(n, q) (M,) of n-grams; 0 for those that are too frequent to be scored."""
        nodes = torch.tensor([hypothesis.leaf for hypothesis in found], dtype=torch.int64)
        counts = self.index.counts(nodes).numpy()
        log_conditional = np.array([hypothesis.score for hypothesis in found])
        w = weight(log_conditional, unconditional(counts, self.index.num_tokens))
        if self.settings.max_occurrences:
            w[counts > self.settings.max_occurrences] = 0.0
        return nodes, w
