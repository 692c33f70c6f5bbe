"""A cross-encoder: a Hugging Face sequence classifier that reads question and document together.

Too slow to search with, and the best teacher there is: a `retrievers.rerank.PairScorer` over what another retriever finds. The score
is the logit of a classifier with one label, and the last label's log-odds against the first for one with several.

Known gap: a document is cut at `max_length` tokens together with its question.
"""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device
from genir.models.pair_classifier import load_pair_classifier
from retrievers.rerank import Pair


class CrossEncoder:
    """See the module; the network, by hub name or folder, is loaded at the first pair."""

    name = "cross-encoder"

    def __init__(
        self,
        source: str,
        max_length: int = 256,
        batch_size: int = 32,
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        self.source = source
        self.max_length, self.batch_size = max_length, batch_size
        self.precision: Precision = precision
        self.device = device
        self._loaded: tuple[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        """See PairScorer."""
        return sum(parameter.nbytes for parameter in self.load()[1].parameters())

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, network), loaded once. Raises ArtefactError where there is no sequence classifier."""
        if self._loaded is None:
            self._loaded = load_pair_classifier(self.source, "cross-encoder", self.device)
        return self._loaded

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See PairScorer."""
        tokenizer, network = self.load()
        device = pick_device(self.device)
        texts = [document.title_and_text for _, document in pairs]
        scores = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: len(texts[i]))  # little padding
        for start in tqdm(range(0, len(order), self.batch_size), desc=self.name, delay=2, leave=False):
            part = order[start : start + self.batch_size]
            batch = tokenizer(
                [pairs[i][0] for i in part],
                [texts[i] for i in part],
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
