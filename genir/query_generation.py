"""Queries that a model writes for a document: the Protocol, any Hugging Face doc2query model, and the consistency filter.

doc2query: Nogueira et al. 2019, arXiv:1904.08375. A model reads a document and writes questions that it could answer; sampled, so
that they differ. Our own small model is `genir.query_writer`. The filter keeps what a retriever can trace back to its document
(round-trip consistency: Alberti et al. 2019, arXiv:1906.05416; as a ranking: Promptagator, Dai et al. 2022, arXiv:2209.11755).

Invariants: the same documents, weights and settings give the same queries on the same machine; no two queries of a document are
alike; a document whose samples are all empty or alike gets fewer than were asked for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device
from genir.errors import ConfigError
from genir.models.pretrained import loading
from genir.protocols import Retriever
from genir.pseudo_queries import PseudoQuery
from genir.records import Document, Query
from genir.words import terms


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many queries a document gets at most, and how they are drawn: among the `top_k` likeliest tokens."""

    per_document: int = 8
    top_k: int = 10
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_document < 1 or self.top_k < 1 or self.temperature <= 0:
            raise ConfigError(f"impossible {self}; expected per_document >= 1, top_k >= 1, and a temperature above 0")


class QueryGenerator(Protocol):
    """Anything that writes queries for documents."""

    def generate(self, documents: Sequence[Document], sampling: Sampling) -> list[PseudoQuery]:
        """Queries of kind "generated", those of one document together, in the order of the documents."""
        ...


class HuggingFaceQueryGenerator:
    """An encoder-decoder that was trained to write queries (T5 style), by hub name or folder; loaded at the first use."""

    def __init__(
        self,
        source: str,
        max_document_tokens: int = 384,
        max_query_tokens: int = 64,
        batch_size: int = 16,
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        self.source = source
        self.max_document_tokens = max_document_tokens
        self.max_query_tokens = max_query_tokens
        self.batch_size = batch_size
        self.precision: Precision = precision
        self.device = device
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, network), loaded once. Raises ArtefactError where there is no encoder-decoder."""
        if self._loaded is None:
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            with loading(f"query generator {self.source!r}", "no encoder-decoder"):
                tokenizer = AutoTokenizer.from_pretrained(self.source)
                network = AutoModelForSeq2SeqLM.from_pretrained(self.source)
            self._loaded = tokenizer, network.to(pick_device(self.device)).eval()
        return self._loaded

    @torch.inference_mode()
    def generate(self, documents: Sequence[Document], sampling: Sampling) -> list[PseudoQuery]:
        """See QueryGenerator; a document is cut at `max_document_tokens`."""
        tokenizer, network = self.load()
        device = pick_device(self.device)
        made: list[PseudoQuery] = []
        with torch.random.fork_rng(), tqdm(total=len(documents), desc="queries", delay=2, leave=False) as bar:
            torch.manual_seed(sampling.seed)
            for start in range(0, len(documents), self.batch_size):
                batch = documents[start : start + self.batch_size]
                read = tokenizer(
                    [document.title_and_text for document in batch],
                    padding=True,
                    truncation=True,
                    max_length=self.max_document_tokens,
                    return_tensors="pt",
                )
                with autocast(device, self.precision):
                    written = network.generate(
                        input_ids=read["input_ids"].to(device),
                        attention_mask=read["attention_mask"].to(device),
                        do_sample=True,
                        top_k=sampling.top_k,
                        temperature=sampling.temperature,
                        num_return_sequences=sampling.per_document,
                        max_new_tokens=self.max_query_tokens,
                    )
                texts = tokenizer.batch_decode(written, skip_special_tokens=True)
                for i, document in enumerate(batch):
                    made += distinct(document, texts[i * sampling.per_document : (i + 1) * sampling.per_document])
                bar.update(len(batch))
        return made


def distinct(document: Document, texts: Iterable[str]) -> list[PseudoQuery]:
    """The texts as queries of a document, without those that say nothing or, but for punctuation, the same again."""
    kept: dict[str, PseudoQuery] = {}
    for text in texts:
        key = " ".join(terms(text))
        if key:
            kept.setdefault(key, PseudoQuery(document.doc_id, " ".join(text.split()), "generated"))
    return list(kept.values())


@dataclass(frozen=True)
class Filtered:
    """What a consistency filter kept, and how many of each kind it dropped."""

    kept: list[PseudoQuery]
    dropped: dict[str, int]
    documents_without: int  # documents that had queries and have none left


def keep_consistent(made: Sequence[PseudoQuery], retriever: Retriever, within: int) -> Filtered:
    """Keep a query only if `retriever` ranks its own document among the first `within`."""
    run = retriever.search([Query(f"p{i}", one.text) for i, one in enumerate(made)], within)
    kept: list[PseudoQuery] = []
    dropped: Counter[str] = Counter()
    for i, one in enumerate(made):
        if any(scored.doc_id == one.doc_id for scored in run.rankings.get(f"p{i}", ())[:within]):
            kept.append(one)
        else:
            dropped[one.kind] += 1
    without = {one.doc_id for one in made} - {one.doc_id for one in kept}
    return Filtered(kept, dict(dropped), len(without))
