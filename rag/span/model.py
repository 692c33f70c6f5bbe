"""A pretrained encoder with a span head and a no-answer score: tokens of a question and a passage -> how well each span answers.

A span from token i to token j of a window w scores  s_w(i) + e_w(j) - z_w : its begin, its end, and the window's own no-answer score
(Devlin et al. 2019, arXiv:1810.04805, section 4.3, with z_w as a third output at [CLS]). So the sum of exp over a window's spans is the
odds that this window answers, and over any set of windows

    P(span) = exp(score) / (1 + sum over all spans of all windows of exp(score)),      P(no answer) = 1 / (the same)

is one distribution: shared normalisation over all passages of a question with a no-answer option (Clark & Gardner 2018,
arXiv:1710.10723, sections 3.2 and 3.4). For one window it is the usual softmax over spans and no answer; a passage that surely
does not answer adds nothing, so scores compare between passages, and between questions with few passages and with many.

Dropout is off (it costs two thirds of the speed on a CPU). Known gap: begin and end are scored apart, but for their common normaliser.

Shape letters: W windows, T tokens, L the most tokens of a span, D hidden size, G places of an answer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genir.embedding import load_encoder
from genir.errors import ConfigError
from rag.span.data import Window

NEVER = -1e4  # the score of what is no span; finite, so that a gradient stays a number
_STEP = 32  # lengths are multiples of it: every new shape costs a set-up in the CPU's kernels


class SpanModel(nn.Module):
    """The network and its tokenizer. `encoder` is any Hugging Face encoder; all scores are float32, whatever autocast does."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder.float()
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.head = nn.Linear(self.encoder.config.hidden_size, 3)  # begin, end, no answer
        self.positions = int(getattr(self.encoder.config, "max_position_embeddings", 0) or 1 << 30)
        self.segments = int(getattr(self.encoder.config, "type_vocab_size", 0) or 0)

    @classmethod
    def pretrained(cls, encoder: str, max_length: int) -> "SpanModel":
        """An encoder by name or folder with a fresh head, drawn from torch's generator.

        Raises ArtefactError where there is none, ConfigError where it reads fewer tokens than asked for, or its tokenizer is no fast one.
        """
        tokenizer, loaded = load_encoder(encoder, attn_implementation="sdpa")
        model = cls(tokenizer, loaded)
        if max_length > model.positions:
            raise ConfigError(f"max_length = {max_length}, but the encoder {encoder!r} reads {model.positions} at most")
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(f"the encoder {encoder!r} has no fast tokenizer, which alone knows the places of tokens")
        nn.init.normal_(model.head.weight, std=0.02)
        nn.init.zeros_(model.head.bias)
        return model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def pad(self, rows: Sequence[Sequence[int] | np.ndarray], least: int = 0) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, each (W, T), on the model's device; T is at least `least`."""
        longest = max(1, least, *(len(row) for row in rows))
        T = min(-(-longest // _STEP) * _STEP, self.positions)
        input_ids = np.full((len(rows), T), int(self.tokenizer.pad_token_id or 0), dtype=np.int64)
        mask = np.zeros((len(rows), T), dtype=np.int64)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return torch.from_numpy(input_ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(begins, ends), each (W, T), of windows (W, T); each window's no-answer score is taken off its begins already."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.segments > 1:
            separators = input_ids == self.tokenizer.sep_token_id
            inputs["token_type_ids"] = ((separators.cumsum(1) - separators.long()) > 0).long() * attention_mask
        hidden = self.encoder(**inputs).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            scores = self.head(hidden.float())
        begins: Tensor = scores[..., 0] - scores[:, :1, 2]
        return begins, scores[..., 1]


def span_scores(begins: Tensor, ends: Tensor, may_begin: Tensor, may_end: Tensor, most: int) -> Tensor:
    """Shape (W, T, L): the score of the span from token i to token i + l; NEVER where it is none. All inputs (W, T), L = `most`."""
    begins = begins.masked_fill(~may_begin, NEVER)
    ends = F.pad(ends.masked_fill(~may_end, NEVER), (0, most - 1), value=NEVER)
    return (begins.unsqueeze(-1) + ends.unfold(1, most, 1)).clamp(min=NEVER)


def boundaries(windows: Sequence[Window], T: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(may_begin, may_end), each (W, T) bool: the passage's tokens at which a word begins, and those at which one ends."""
    may_begin = np.zeros((len(windows), T), dtype=bool)
    may_end = np.zeros((len(windows), T), dtype=bool)
    for row, window in enumerate(windows):
        part = slice(window.first, window.first + len(window.begins))
        may_begin[row, part] = window.begins
        may_end[row, part] = window.ends
    return torch.from_numpy(may_begin).to(device), torch.from_numpy(may_end).to(device)


def log_odds(scores: Tensor) -> Tensor:
    """Shape (W,): the log of the odds that each window answers, from its spans' scores (W, T, L)."""
    return torch.logsumexp(scores.flatten(1), dim=1)


def places_log_odds(scores: Tensor, places: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """Shape (W,): the same over a few spans (first token, last token) of each window; NEVER for a window that has none."""
    W, _, L = scores.shape
    most = max(1, *(len(spans) for spans in places))
    index = torch.zeros(W, most, dtype=torch.long)
    there = torch.zeros(W, most, dtype=torch.bool)
    for row, spans in enumerate(places):
        for column, (begin, end) in enumerate(spans):
            index[row, column], there[row, column] = begin * L + end - begin, True
    gathered = scores.flatten(1).gather(1, index.to(scores.device))
    return torch.logsumexp(gathered.masked_fill(~there.to(scores.device), NEVER), dim=1).clamp(min=NEVER)
