"""An IdentifierModel without weights that likes what a query says: a token is a word, and those of the text score high."""

from collections.abc import Sequence

import torch

from genir.protocols import NextToken, Scoring
from genir.records import DocIDTokens

LIKED = 8.0  # a logit; other words have 0


class WordIdentifierModel:
    """Token i is word i of `words`; what was written before does not matter."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.vocab_size = len(self.words)
        self.end_token: int | None = None
        self.scoring: Scoring = "vocabulary"

    def tokens(self, text: str) -> DocIDTokens:
        """A text of known words as tokens."""
        return tuple(self.words.index(word) for word in text.split())

    def begin(self, texts: Sequence[str]) -> NextToken:
        logits = self._logits(texts)
        rows = torch.arange(len(texts))

        def step(tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor | None) -> torch.Tensor:
            nonlocal rows
            rows = rows if parents is None else rows[parents]
            return logits[rows] if allowed is None else logits[rows].gather(1, allowed)

        return step

    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> torch.Tensor:
        scores = self._logits(texts).log_softmax(1)
        return torch.stack([scores[:, list(tokens)].sum(1) for tokens in identifiers], 1)

    def _logits(self, texts: Sequence[str]) -> torch.Tensor:
        said = [set(text.split()) for text in texts]
        return torch.tensor([[LIKED * (word in held) for word in self.words] for held in said])
