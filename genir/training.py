"""Indexing and retrieval as one task: texts (passages, pseudo-queries, questions) -> the identifier of their document.

Invariants: the untrained start is evaluated too and competes with every later checkpoint, so training never ends below its own
start; the order of the examples depends on the seed and the epoch alone, so that a run that was cut and resumed ends, on the CPU,
with the same weights, bit for bit; a checkpoint is one file, renamed into place.
"""

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device, seed_everything
from genir.errors import ArtefactError, ConfigError, GenirError
from genir.manifest import write_atomically
from genir.objectives import Objective

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Steps are optimiser steps; `evaluate_every` 0 means once an epoch."""

    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 5e-5  # pretrained weights
    fresh_learning_rate: float = 2e-4  # weights that start from codebooks or at random
    weight_decay: float = 0.01
    warmup: float = 0.05  # share of all steps
    max_grad_norm: float = 1.0
    evaluate_every: int = 0
    patience: int = 0  # evaluations without a new best before stopping; 0 never stops early
    max_minutes: float = 0.0  # stop at the first step after so long, best checkpoint kept; 0 for no limit
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size - 1, self.evaluate_every, self.patience, self.max_minutes)
        rates = (self.learning_rate, self.fresh_learning_rate, self.weight_decay, self.max_grad_norm)
        if min(*counts, *rates) < 0 or not 0 <= self.warmup <= 1:
            raise ConfigError(
                f"impossible training: {self}; expected batch_size >= 1, warmup in 0..1, and nothing below 0"
            )


@dataclass(frozen=True, slots=True)
class Example:
    """A text, the index of its right identifier, what kind of text it is, and its weight in the loss."""

    text: str
    target: int
    kind: str = "query"
    weight: float = 1.0


@dataclass
class Progress:
    """Where training is; saved with every checkpoint."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    since_best: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class TrainingInterruptedError(GenirError):
    """Training was cut by Ctrl-C; a checkpoint is there."""


def train(
    model: Any,
    objective: Objective,
    examples: Sequence[Example],
    evaluate: Callable[[], float],
    config: TrainingConfig,
    folder: Path,
    resume: bool = False,
    made_of: str = "",
) -> Progress:
    """Train `model` (a torch.nn.Module) in place and leave it with its best weights.

    Of the model the loop wants `tokenize(texts)`, `pad(rows) -> (input_ids, attention_mask)`, and `pretrained`: the beginnings of the
    names of the weights that were trained before, which learn at a rate of their own.

    `evaluate` returns the figure to be raised, on data that `examples` do not hold. With `resume`, goes on from the checkpoint in
    `folder`, if there is one and it was made with the same examples, settings and `made_of` (any fingerprint of the model and
    its objective). The last checkpoint stays, so that a model that cannot be saved is not lost: see `discard_checkpoint`.
    Raises ConfigError where there is nothing to train on, GenirError where the loss is not finite.
    """
    if not examples:
        raise ConfigError("nothing to train on: no training queries, and no pseudo-queries or passages were asked for")
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed)
    loop = _Loop(model, objective, examples, config, folder, made_of)
    if resume:
        loop.restore()
    with _interrupt_between_steps() as interrupted:
        finished = loop.run(evaluate, interrupted)
    if not finished:
        loop.checkpoint()
        raise TrainingInterruptedError(
            f"interrupted at step {loop.progress.step}; go on with --resume (checkpoint in {folder})"
        )
    loop.take_best()
    return loop.progress


def discard_checkpoint(folder: Path) -> None:
    """Remove what `train` left for a resumption; for the caller to do once the model is saved."""
    for name in (CHECKPOINT, BEST):
        (folder / name).unlink(missing_ok=True)


class _Loop:
    """The state of one training run."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        examples: Sequence[Example],
        config: TrainingConfig,
        folder: Path,
        made_of: str,
    ) -> None:
        self.model, self.objective, self.config, self.folder, self.made_of = model, objective, config, folder, made_of
        self.device = pick_device(str(next(model.parameters()).device))
        self.rows = model.tokenize([example.text for example in examples])
        self.targets = torch.tensor([example.target for example in examples])
        self.weights = torch.tensor([example.weight for example in examples])
        self.steps_per_epoch = math.ceil(len(examples) / config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.optimizer = _optimizer(model, config)
        self.progress = Progress()

    def run(self, evaluate: Callable[[], float], interrupted: Callable[[], bool]) -> bool:
        """Train to the end, or to the first step after an interrupt; returns whether the end was reached."""
        progress = self.progress
        every = self.config.evaluate_every or self.steps_per_epoch
        self.model.train()
        if progress.step == 0 and not progress.history:
            self._evaluate(evaluate, 0.0)
        begun = time.monotonic() - progress.seconds
        losses: list[float] = []
        with tqdm(total=self.steps, initial=progress.step, desc="train", unit="step") as bar:
            for rows in self._batches():
                if self._is_over():  # true, too, of a restored run that had ended before its model was saved
                    break
                if interrupted():
                    return False
                losses.append(self._step(rows))
                progress.step += 1
                progress.seconds = time.monotonic() - begun
                bar.update()
                if progress.step % every == 0 or progress.step == self.steps or self._is_late():
                    self._evaluate(evaluate, sum(losses) / len(losses))
                    bar.set_postfix(
                        loss=f"{losses[-1]:.3f}", dev=f"{progress.history[-1]['dev']:.4f}", best=f"{progress.best:.4f}"
                    )
                    losses.clear()
                    self.checkpoint()
        return True

    def _is_late(self) -> bool:
        return 0 < 60 * self.config.max_minutes < self.progress.seconds

    def _is_over(self) -> bool:
        return self._is_late() or 0 < self.config.patience <= self.progress.since_best

    def _batches(self) -> Iterator[list[int]]:
        """Batches of example indices, bucketed by length, from the current step to the last."""
        size, done = self.config.batch_size, self.progress.step
        for epoch in range(done // self.steps_per_epoch, self.config.epochs):
            generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
            order = torch.randperm(len(self.rows), generator=generator).tolist()
            batches: list[list[int]] = []
            pool = 32 * size  # sorted by length within a pool only, so that batches stay mixed
            for start in range(0, len(order), pool):
                near = sorted(order[start : start + pool], key=lambda i: len(self.rows[i]))
                batches += [near[i : i + size] for i in range(0, len(near), size)]
            shuffled = torch.randperm(len(batches), generator=generator).tolist()
            skip = done - epoch * self.steps_per_epoch if epoch == done // self.steps_per_epoch else 0
            yield from (batches[i] for i in shuffled[skip:])

    def _step(self, rows: list[int]) -> float:
        """One optimiser step on the examples `rows`; returns the loss."""
        config, index = self.config, torch.tensor(rows)
        # Dropout's random numbers depend on the step alone, so that a resumed run draws the same ones.
        torch.manual_seed(config.seed * 1_000_003 + self.progress.step)
        factor = learning_rate_factor(self.progress.step, self.steps, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        input_ids, mask = self.model.pad([self.rows[i] for i in rows])
        with autocast(self.device, config.precision):
            loss = self.objective.loss(
                input_ids, mask, self.targets[index].to(self.device), self.weights[index].to(self.device)
            )
        value = float(loss.detach())
        if not math.isfinite(value):
            raise GenirError(
                f"the loss is {value} at step {self.progress.step}; lower the learning rate, or use float32"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        return value

    def _evaluate(self, evaluate: Callable[[], float], loss: float) -> None:
        progress = self.progress
        value = evaluate()
        progress.history.append(
            {"step": progress.step, "seconds": round(progress.seconds, 1), "loss": round(loss, 4), "dev": value}
        )
        progress.since_best += 1
        if value > progress.best:
            progress.best, progress.best_step, progress.since_best = value, progress.step, 0
            weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
            write_atomically(self.folder / BEST, lambda temporary: save_file(_unshared(weights), temporary))

    def take_best(self) -> None:
        """Load the best weights into the model."""
        with safe_open(self.folder / BEST, framework="pt") as stored:
            self.model.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()}, strict=False)  # noqa: SIM118

    def checkpoint(self) -> None:
        """Write weights, optimiser state and progress as one file."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        metadata = {"progress": json.dumps(asdict(self.progress)), "plan": self._plan()}
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path = self.folder / CHECKPOINT
        write_atomically(path, lambda temporary: save_file(_unshared(contiguous), temporary, metadata))

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ArtefactError where it is broken or of another plan."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ArtefactError(f"{path}: broken checkpoint ({error}); delete it and train again") from None
        if metadata.get("plan") != self._plan():
            raise ArtefactError(
                f"{path}: made with other examples or settings; go on with those, or delete it and train again"
            )
        weights = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
        if weights.keys() != _unshared(self.model.state_dict()).keys():
            raise ArtefactError(f"{path}: holds the weights of another model; delete it and train again")
        self.model.load_state_dict(weights, strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.progress = Progress(**json.loads(metadata["progress"]))

    def _plan(self) -> str:
        """What must not change between a checkpoint and its resumption; the time limit may."""
        config = {name: value for name, value in asdict(self.config).items() if name not in ("max_minutes", "patience")}
        examples = hashlib.sha256(json.dumps([self.rows, self.targets.tolist(), self.weights.tolist()]).encode())
        return json.dumps([config, examples.hexdigest(), self.made_of])


@contextmanager
def _interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that is read between two steps, where weights and optimiser agree; a second one raises."""
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of the steps, then linear decay to zero."""
    rising = max(1, round(warmup * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising), 1.0)


def _optimizer(model: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; the model's `pretrained` weights and its fresh ones have their own rates; vectors and embeddings do not decay."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pretrained = name.startswith(model.pretrained)
            decays = parameter.ndim > 1 and "codes" not in name and "embedding" not in name
            groups.setdefault((pretrained, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": config.learning_rate if pretrained else config.fresh_learning_rate,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (pretrained, decays), parameters in groups.items()
        ],
        lr=config.learning_rate,
        fused=True,
    )


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One name for each storage: safetensors refuses tied weights, and `strict=False` finds the other name again."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in tensors.items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            kept[name] = tensor
            seen.add(tensor.data_ptr())
    return kept
