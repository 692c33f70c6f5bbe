"""The lower part of a text encoder, frozen, its output kept for texts that come again in every epoch.

What does not learn says the same of a text every time: it is computed once, and a training step begins where learning
begins. The backward pass ends there, too.

Invariants: which texts are kept, and in which company each was computed, depends on the texts and the memory alone,
never on the order of training, so that a run that was cut and resumed goes on with the same figures, bit for bit. Known
gap: encoders of BERT's build only (`embeddings`, `encoder.layer`: BERT, RoBERTa, MPNet, ELECTRA and their kin).

Shape letters: B texts, T text tokens, D hidden size.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from genir.errors import ConfigError

Pad = Callable[[Sequence[Sequence[int]]], tuple[Tensor, Tensor]]


class FrozenLayers:
    """An encoder whose embeddings and lowest `layers` layers do not learn; called like the encoder itself."""

    def __init__(self, encoder: Any, layers: int) -> None:
        self.encoder, self.layers = encoder, layers
        self._lower: Any = None
        self._upper: Any = None
        self._starts: dict[bytes, int] = {}  # a text's tokens -> its first row in `_kept`
        self._kept = torch.empty(0)

    def freeze(self) -> "FrozenLayers":
        """Split the encoder. Raises ConfigError where it has no such layers."""
        stack = getattr(getattr(self.encoder, "encoder", None), "layer", None)
        if not isinstance(stack, nn.ModuleList) or not hasattr(self.encoder, "embeddings"):
            raise ConfigError(
                f"frozen_layers = {self.layers}: an encoder of the kind {type(self.encoder).__name__} cannot be split into layers; "
                "leave frozen_layers out"
            )
        if not 0 <= self.layers < len(stack):
            raise ConfigError(
                f"frozen_layers = {self.layers}, but the encoder has {len(stack)}: expected 0 (its embeddings alone) to "
                f"{len(stack) - 1}, or -1 for none"
            )
        for part in (self.encoder.embeddings, *stack[: self.layers]):
            part.requires_grad_(False)
        self._lower, self._upper = (self._sharing_weights() for _ in range(2))
        self._lower.encoder.layer = self._lower.encoder.layer[: self.layers]
        self._upper.encoder.layer = self._upper.encoder.layer[self.layers :]
        self._upper.embeddings = _Given()
        self._lower.eval()
        return self

    def thaw(self) -> None:
        """Let everything learn again, and forget what was kept."""
        self.encoder.requires_grad_(True)
        self._starts, self._kept = {}, torch.empty(0)

    @property
    def kept_bytes(self) -> int:
        """Memory that the outputs kept take."""
        return self._kept.numel() * self._kept.element_size()

    @torch.no_grad()
    def keep(self, rows: Sequence[Sequence[int]], pad: Pad, max_bytes: float, batch_size: int = 64) -> None:
        """Compute what the frozen part says of token rows, short ones first, and keep as much as `max_bytes` hold.

        Under bfloat16 autocast it is kept in bfloat16.
        """
        device = next(self.encoder.parameters()).device
        dtype = torch.bfloat16 if torch.is_autocast_enabled(device.type) else torch.float32
        width = int(self.encoder.config.hidden_size)
        distinct = sorted({(len(row), _key(row)) for row in rows})
        ends = np.cumsum([length for length, _ in distinct], dtype=np.int64)
        distinct = distinct[: int(np.searchsorted(ends, max_bytes // (width * dtype.itemsize), side="right"))]
        self._starts = {}
        self._kept = torch.empty(int(ends[len(distinct) - 1]) if distinct else 0, width, dtype=dtype, device=device)
        for start in tqdm(range(0, len(distinct), batch_size), desc="frozen layers", unit="batch", leave=False):
            part = distinct[start : start + batch_size]
            input_ids, mask = pad([np.frombuffer(key, dtype=np.int32).tolist() for _, key in part])
            states = self._below(input_ids, mask)[mask.bool()]
            first = int(ends[start]) - part[0][0]
            self._kept[first : first + len(states)] = states.to(dtype)
            offsets = np.cumsum([0, *(length for length, _ in part[:-1])])
            self._starts |= {key: first + int(offset) for (_, key), offset in zip(part, offsets, strict=True)}

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Hugging Face's output for (B, T), texts filled up on the right."""
        return self._upper(inputs_embeds=self._states(input_ids, attention_mask), attention_mask=attention_mask)

    @torch.no_grad()
    def _states(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Shape (B, T, D), float32: what the frozen part says; behind a text's end, anything."""
        T = input_ids.shape[1]
        if not self._starts:
            return self._below(input_ids, mask)
        tokens, lengths = input_ids.cpu().numpy().astype(np.int32), mask.sum(1).tolist()
        starts = torch.tensor(
            [self._starts.get(row[:length].tobytes(), -1) for row, length in zip(tokens, lengths, strict=True)]
        )
        places = (starts[:, None] + torch.arange(T)).clamp(0, len(self._kept) - 1).to(self._kept.device)
        states = self._kept[places].float()
        unknown = (starts < 0).nonzero()[:, 0].to(input_ids.device)
        if len(unknown):
            states[unknown] = self._below(input_ids[unknown], mask[unknown])
        return states

    def _below(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self._lower(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return states.float()

    def _sharing_weights(self) -> Any:
        """The encoder again, its modules its own, its weights the same; without a pooler, which nobody asks."""
        part = copy.deepcopy(self.encoder, {id(parameter): parameter for parameter in self.encoder.parameters()})
        if getattr(part, "pooler", None) is not None:
            part.pooler = None
        return part


class _Given(nn.Module):
    """In place of the embeddings: the states come from below."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Tensor:
        return inputs_embeds


def _key(row: Sequence[int]) -> bytes:
    return np.asarray(row, dtype=np.int32).tobytes()
