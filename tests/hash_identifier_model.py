"""An IdentifierModel without weights: the logits are random numbers drawn from (text, prefix)."""

import hashlib
from collections.abc import Sequence

import torch

from genir.protocols import NextToken, Scoring
from genir.records import DocIDTokens


class HashIdentifierModel:
    """Deterministic, and every token of the text and of the prefix matters; remembers the batches that it was asked."""

    def __init__(self, vocab_size: int = 10, end_token: int | None = None, scoring: Scoring = "vocabulary") -> None:
        self.vocab_size = vocab_size
        self.end_token = end_token
        self.scoring = scoring
        self.batches: list[list[str]] = []

    def begin(self, texts: Sequence[str]) -> NextToken:
        self.batches.append(list(texts))
        return _Step(self, list(texts))

    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> torch.Tensor:
        self.batches.append(list(texts))
        end = () if self.end_token is None else (self.end_token,)
        return torch.tensor([[self._whole(text, tokens + end) for tokens in identifiers] for text in texts])

    def logits(self, text: str, prefix: DocIDTokens) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(f"{text}\0{prefix}".encode()).digest()[:7])
        return torch.randn(self.vocab_size, generator=torch.Generator().manual_seed(seed))

    def _whole(self, text: str, tokens: DocIDTokens) -> float:
        total = 0.0
        for length, token in enumerate(tokens):
            logits = self.logits(text, tokens[:length])
            total += float(logits[token] - (logits.logsumexp(0) if self.scoring == "vocabulary" else 0.0))
        return total


class _Step:
    def __init__(self, model: HashIdentifierModel, texts: list[str]) -> None:
        self.model = model
        self.rows: list[tuple[str, DocIDTokens]] = [(text, ()) for text in texts]

    def __call__(
        self, tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> torch.Tensor:
        if parents is not None:
            old = self.rows
            self.rows = [
                (old[parent][0], (*old[parent][1], token))
                for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True)
            ]
        logits = torch.stack([self.model.logits(text, prefix) for text, prefix in self.rows])
        return logits if allowed is None else logits.gather(1, allowed)
