"""Reranking by a cross-encoder: a Hugging Face sequence classifier that reads query and document together.

Too slow to search with, and the best teacher there is: it gives new scores to the documents that another retriever finds. The score is
the logit of a classifier with one label, and the last label's log-odds against the first for one with several.

Invariant: only documents that the first retriever found among its `depth` best are returned. Known gap: a document is cut at
`max_length` tokens together with its query.
"""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device
from genir.errors import ArtefactError
from genir.protocols import Retriever
from genir.records import Document, Query, Run, ScoredDoc
from retrievers.ranking import check_k


class CrossEncoderReranker:
    """A retriever (`genir.protocols.Retriever`) over another one; the network is loaded at the first search."""

    def __init__(
        self,
        first: Retriever,
        corpus: Sequence[Document],
        source: str,
        depth: int = 50,
        max_length: int = 256,
        batch_size: int = 32,
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        self.first, self.source, self.depth = first, source, depth
        self.max_length, self.batch_size = max_length, batch_size
        self.precision: Precision = precision
        self.device = device
        self.name = f"{first.name}+cross-encoder"
        self._texts = {document.doc_id: document.title_and_text for document in corpus}
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, network), loaded once. Raises ArtefactError where there is no sequence classifier."""
        if self._loaded is None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            try:
                tokenizer = AutoTokenizer.from_pretrained(self.source)
                network = AutoModelForSequenceClassification.from_pretrained(self.source)
            except (OSError, ValueError, SafetensorError) as error:
                reason = str(error).splitlines()[0]
                raise ArtefactError(
                    f"cross-encoder {self.source!r}: cannot be loaded: {reason}; give a folder or a hub name"
                ) from None
            self._loaded = tokenizer, network.to(pick_device(self.device)).eval()
        return self._loaded

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The first retriever's best `depth`, scored anew; at most k of them. Raises ConfigError for k < 1."""
        check_k(k)
        found = self.first.search(queries, self.depth).rankings
        pairs = [(query, one.doc_id) for query in queries for one in found[query.query_id]]
        scores = self._score([(query.text, self._texts[doc_id]) for query, doc_id in pairs])
        rescored: dict[str, dict[str, float]] = {query.query_id: {} for query in queries}
        for (query, doc_id), score in zip(pairs, scores, strict=True):
            rescored[query.query_id][doc_id] = score
        rankings: dict[str, tuple[ScoredDoc, ...]] = {name: Run.rank(one, k) for name, one in rescored.items()}
        return Run(self.name, rankings)

    @torch.inference_mode()
    def _score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        tokenizer, network = self.load()
        device = pick_device(self.device)
        scores = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][1]))  # little padding
        for start in tqdm(range(0, len(order), self.batch_size), desc=self.name, delay=2, leave=False):
            part = order[start : start + self.batch_size]
            batch = tokenizer(
                [pairs[i][0] for i in part],
                [pairs[i][1] for i in part],
                padding=True,
                truncation="longest_first",
                max_length=self.max_length,
                return_tensors="pt",
            ).to(device)
            with autocast(device, self.precision):
                logits = network(**batch).logits.float()
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, -1] - logits[:, 0]
            for i, value in zip(part, values.tolist(), strict=True):
                scores[i] = value
        return scores
