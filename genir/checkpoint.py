"""A training run's state as one file: weights, the states of optimiser and objective, and where training is.

Invariant: the file is renamed into place, so that a process killed while it writes leaves the checkpoint before. Known gap:
nothing is flushed to the disk by force, so that what a crash of the whole machine leaves is the file system's affair.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genir.errors import ArtefactError
from genir.manifest import write_atomically
from genir.objectives import StatefulObjective


@dataclass
class Progress:
    """Where training is; saved with every checkpoint.

    Known gap: `seconds` are those of steps and of what is measured between them. What was prepared before the first, and the first
    measurement, count for the process that did it.
    """

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    since_best: int = 0
    seconds: float = 0.0
    earlier_seconds: float = 0.0  # of these, what processes took that ended before this one went on
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the steps since the last evaluation


@dataclass(frozen=True)
class Checkpoint:
    """The file of one run. `plan` says what must not change between a checkpoint and its resumption."""

    path: Path
    model: Any
    optimizer: torch.optim.Optimizer
    objective: object  # its state is kept where it has any
    plan: str

    def save(self, progress: Progress) -> None:
        """Write everything."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        if isinstance(self.objective, StatefulObjective):
            tensors |= {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        metadata = {"progress": json.dumps(asdict(progress)), "plan": self.plan}
        save_weights(self.path, tensors, metadata)

    def restore(self) -> Progress | None:
        """Put weights and states back and return the progress, or None without a file.

        Raises ArtefactError where the file is broken, of another plan, or of another model.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ArtefactError(f"{self.path}: broken checkpoint ({error}); delete it and train again") from None
        if metadata.get("plan") != self.plan:
            raise ArtefactError(
                f"{self.path}: made with other examples or settings; go on with those, or delete it and train again"
            )
        weights = _beneath("model.", tensors)
        if weights.keys() != _unshared(self.model.state_dict()).keys():
            raise ArtefactError(f"{self.path}: holds the weights of another model; delete it and train again")
        self.model.load_state_dict(weights, strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _beneath("optimizer.", tensors).items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if isinstance(self.objective, StatefulObjective):
            self.objective.load_state_dict(_beneath("objective.", tensors))
        return Progress(**json.loads(metadata["progress"]))


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically; tied ones once."""
    whole = _unshared({name: tensor.contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda temporary: save_file(whole, temporary, dict(metadata or {})))


def load_weights(path: Path, model: Any) -> None:
    """Load into `model` what `save_weights` wrote of its state."""
    with safe_open(path, framework="pt") as stored:
        model.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()}, strict=False)  # noqa: SIM118


def _beneath(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One name for each storage: safetensors refuses tied weights, and `strict=False` finds the other name again."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in tensors.items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            kept[name] = tensor
            seen.add(tensor.data_ptr())
    return kept
