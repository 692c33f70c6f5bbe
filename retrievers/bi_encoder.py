"""A text encoder that is being trained: one network for queries and passages, mean pooling, unit vectors.

What is saved is a plain Hugging Face folder, which `genir.embedding.TextEncoder` reads like any other encoder: the pooling here is
the pooling there. Dropout is off (it costs two thirds of the speed on a CPU) and weights are float32 whatever they were stored in.

Known gap: no prefixes ("query: ", "passage: ") as some encoders were trained with; fine-tuning does without them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genir.devices import Precision, attention_kernel
from genir.embedding import TextEncoder, load_encoder, mean_pool
from genir.errors import ConfigError

_TOGETHER = 64  # rows that are padded to one length
_STEP = 16  # lengths are multiples of it: every new shape costs a set-up in the CPU's kernels


class BiEncoder(nn.Module):
    """An encoder by Hugging Face name or folder, as `genir.training.train` wants a model: it tokenises and pads passages."""

    pretrained = ("encoder.",)

    def __init__(self, encoder: str, passage_tokens: int, query_tokens: int) -> None:
        """Load the encoder. Raises ArtefactError where there is none, ConfigError where it reads fewer tokens than asked for."""
        super().__init__()
        self.passage_tokens, self.query_tokens = passage_tokens, query_tokens
        self.tokenizer, loaded = load_encoder(encoder, attn_implementation="sdpa")
        self.encoder = loaded.float()
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        longest = max(passage_tokens, query_tokens)
        self.positions = getattr(self.encoder.config, "max_position_embeddings", None) or 2 * longest
        if longest > self.positions:
            raise ConfigError(
                f"passage_tokens or query_tokens = {longest}, but the encoder {encoder!r} reads {self.positions} at most"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of passages, cut at `passage_tokens`."""
        return self._tokenize(texts, self.passage_tokens)

    def tokenize_queries(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of queries, cut at `query_tokens`."""
        return self._tokenize(texts, self.query_tokens)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, each (B, T), on the model's device."""
        longest = max(1, *(len(row) for row in rows))
        T = min(-(-longest // _STEP) * _STEP, self.positions)
        input_ids = torch.full((len(rows), T), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros(len(rows), T, dtype=torch.long)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return input_ids.to(self.device), mask.to(self.device)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit vectors (B, D), float32, of texts (B, T)."""
        precision: Precision = "bfloat16" if torch.is_autocast_enabled(self.device.type) else "float32"
        with attention_kernel(self.device, precision, input_ids.shape[1]):  # short texts beside longer ones
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return mean_pool(hidden, attention_mask)

    def embed_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Unit vectors (N, D) of N tokenised texts, in their order; those of about one length go through the network together."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        parts = [order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER)]
        vectors = torch.cat([self.embed(*self.pad([rows[i] for i in part])) for part in parts])
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return vectors[back.to(vectors.device)]

    @torch.no_grad()
    def interpolate(self, start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> None:
        """Set every weight to that share of the way between two states of this model (Wortsman et al. 2022, arXiv:2109.01903)."""
        for name, weight in self.state_dict().items():
            weight.copy_(torch.lerp(start[name], end[name], share) if weight.is_floating_point() else end[name])

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder: config.json, model.safetensors and the tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _tokenize(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        rows = self.tokenizer(list(texts), truncation=True, max_length=limit, verbose=False)["input_ids"]
        return [list(row) for row in rows]


class LiveEncoder(TextEncoder):
    """The encoder of a BiEncoder as it is at the moment, for measuring while it learns; nothing is cached."""

    def __init__(self, model: BiEncoder, **settings: Any) -> None:
        super().__init__("live", max_length=model.passage_tokens, device=str(model.device), **settings)
        self.model = model

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, network) of the model."""
        return self.model.tokenizer, self.model.encoder
