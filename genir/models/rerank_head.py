"""A small head that ranks a beam's documents anew by features that a model has of each.

    s(q, d) = base(q, d) + delta(x),   delta(x) = w . x + v . gelu(W x + b),   x = (features - mean) / deviation,   delta = 0 at the start

The base is the score that the search gave, so that an untrained head changes no ranking, and weight decay draws towards that.

Invariant: features are known by name; a head that was made for other ones is refused. Shape letters: M documents, F features.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genir.errors import ArtefactError
from genir.manifest import write_atomically, write_json

_WEIGHTS, _SHAPE = "rerank_head.safetensors", "rerank_head.json"


class RerankHead(nn.Module):
    """See the module. `features` are the names of x, `hidden` the width of its second part (0: none)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Sequence[str], hidden: int = 16) -> None:
        super().__init__()
        self.features, self.hidden = tuple(features), hidden
        F = len(self.features)
        self.linear = nn.Linear(F, 1, bias=False)
        self.inner, self.outer = nn.Linear(F, hidden), nn.Linear(hidden, 1, bias=False)
        for start in (self.linear, self.outer):
            nn.init.zeros_(start.weight)
        self.register_buffer("mean", torch.zeros(F))
        self.register_buffer("deviation", torch.ones(F))

    @property
    def nbytes(self) -> int:
        """Memory of the weights."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    def standardise(self, rows: Tensor) -> None:
        """Take mean and deviation from rows (M, F); a feature that never varies says nothing."""
        self.mean = rows.mean(0)
        spread = rows.std(0, unbiased=False)
        self.deviation = torch.where(spread > 1e-6, spread, torch.inf)

    def forward(self, base: Tensor, features: Tensor) -> Tensor:
        """Scores of documents with base scores (..., M) and features (..., M, F)."""
        x = (features - self.mean) / self.deviation
        delta = self.linear(x) + self.outer(nn.functional.gelu(self.inner(x)))
        scores: Tensor = base + delta[..., 0]
        return scores

    def save(self, folder: Path) -> None:
        """Write shape and weights."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _SHAPE, {"features": self.features, "hidden": self.hidden})
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / _WEIGHTS, lambda temporary: save_file(weights, temporary))

    @classmethod
    def load(cls, folder: Path) -> "RerankHead":
        """What `save` wrote. Raises ArtefactError for anything missing or broken."""
        try:
            shape = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
            head = cls(shape["features"], int(shape["hidden"]))
            head.load_state_dict(load_file(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(
                f"{folder}: no readable rerank head ({reason}); train it with `genir train-rerank`"
            ) from None
        return head.eval()
