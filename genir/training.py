"""Indexing and retrieval as one task: texts (passages, pseudo-queries, questions) -> the identifier of their document.

Invariants: the untrained start is evaluated too and competes with every later checkpoint, so training never ends below its own
start; the order of the examples depends on the schedule, the seed and the epoch alone, so that a run that was cut and resumed ends,
on the CPU, with the same weights, bit for bit; a checkpoint is one file, renamed into place.

What a cut run loses: nothing at Ctrl-C and SIGTERM, which are answered after the step or evaluation in flight; at SIGKILL, or
where a second Ctrl-C does not wait for that, the steps since the last checkpoint and an evaluation in flight, which are done again.
Checkpoints are written after every evaluation but the start's, after the first step, then as often as they cost a fiftieth of the time,
and every `checkpoint_every` steps at least: the step in flight is lost with 1, and with 0 all since the last evaluation.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from genir.checkpoint import Checkpoint, Progress, load_weights, save_weights
from genir.devices import Precision, attention_kernel, autocast, pick_device, seed_everything
from genir.errors import ConfigError, GenirError, unknown_name
from genir.interruption import interrupted_between_steps
from genir.objectives import Objective, TrainingBatch
from genir.schedule import Schedule, plan
from genir.token_rows import TokenRows, bucketed_batches

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
# May change between a checkpoint and its resumption: when to stop, and how often to write.
_FREE = ("max_minutes", "patience", "checkpoint_every")
_SHARE = 0.02  # of the time since the last one, that a checkpoint more may cost


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
    checkpoint_every: int = 100  # steps between checkpoints at most; 0 for those at evaluations alone
    frozen_layers: int = -1  # 0: the encoder's embeddings do not learn; n: nor its lowest n layers; -1: all learns
    frozen_cache_gb: float = 2.0  # memory for what the frozen layers say of each text; 0: computed at every step
    schedule: Schedule = "together"  # or documents first and questions then, each with a rise and fall of the rates
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size - 1, self.evaluate_every, self.patience, self.max_minutes)
        rates = (self.learning_rate, self.fresh_learning_rate, self.weight_decay, self.max_grad_norm)
        others = (self.checkpoint_every, self.frozen_layers + 1, self.frozen_cache_gb)
        if self.schedule not in get_args(Schedule):
            raise unknown_name("schedule", self.schedule, get_args(Schedule))
        if min(*counts, *rates, *others) < 0 or not 0 <= self.warmup <= 1 or not self.max_grad_norm:
            raise ConfigError(
                f"impossible training: {self}; expected batch_size >= 1, warmup in 0..1, frozen_layers >= -1, max_grad_norm above 0, "
                "and nothing else below 0"
            )


@dataclass(frozen=True, slots=True)
class Example:
    """A text, the index of its right identifier, what kind of text it is, and its weight in the loss."""

    text: str
    target: int
    kind: str = "query"
    weight: float = 1.0


class TrainingInterruptedError(GenirError):
    """Training was cut by Ctrl-C or SIGTERM; a checkpoint is there."""


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
    names of the weights that were trained before, which learn at a rate of their own; for `frozen_layers` also `freeze` and `thaw`
    (see CodeDecoder).

    `evaluate` returns the figure to be raised, on data that `examples` do not hold. With `resume`, goes on from the checkpoint in
    `folder`, if there is one and it was made with the same examples, settings and `made_of` (any fingerprint of the model and
    its objective). The last checkpoint stays, so that a model that cannot be saved is not lost: see `discard_checkpoint`.
    Raises ConfigError where there is nothing to train on, or the model has no layers to freeze; GenirError where the loss is not
    finite; TrainingInterruptedError after Ctrl-C or SIGTERM.
    """
    if not examples:
        raise ConfigError("nothing to train on: no training queries, and no pseudo-queries or passages were asked for")
    freezes = config.frozen_layers >= 0
    if freezes and not hasattr(model, "freeze"):
        raise ConfigError(
            f"frozen_layers = {config.frozen_layers}: for code_decoder only, which reads by an encoder; leave it out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed)
    if freezes:
        model.freeze(config.frozen_layers)
    try:
        loop = _Loop(model, objective, examples, config, folder, made_of)
        if resume:
            loop.progress = loop.checkpoint.restore() or loop.progress
            loop.progress.earlier_seconds = loop.progress.seconds
        if freezes:
            with autocast(loop.device, config.precision):
                model.keep_frozen(loop.rows, 1e9 * config.frozen_cache_gb)
        with interrupted_between_steps() as interrupted:
            finished = loop.run(evaluate, interrupted)
        if not finished:
            loop.checkpoint.save(loop.progress)
            raise TrainingInterruptedError(
                f"interrupted at step {loop.progress.step}; go on with --resume (checkpoint in {folder})"
            )
    finally:
        if freezes:
            model.thaw()
    load_weights(folder / BEST, model)
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
        self.model, self.objective, self.config, self.folder = model, objective, config, folder
        self.device = pick_device(str(next(model.parameters()).device))
        self.rows = TokenRows.pack(model.tokenize([example.text for example in examples]))
        self.targets = torch.tensor([example.target for example in examples])
        self.weights = torch.tensor([example.weight for example in examples])
        self.steps_per_epoch = math.ceil(len(examples) / config.batch_size)
        self.phases = plan([example.kind for example in examples], config.schedule, config.epochs, config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.optimizer = _optimizer(model, config)
        self.checkpoint = Checkpoint(folder / CHECKPOINT, model, self.optimizer, objective, self._plan(made_of))
        self.progress = Progress()
        self.saved_at, self.saving_took = -math.inf, 0.0  # on the clock; seconds

    def run(self, evaluate: Callable[[], float], interrupted: Callable[[], bool]) -> bool:
        """Train to the end, or to the first step after an interrupt; returns whether the end was reached."""
        progress = self.progress
        self.model.train()
        if self._evaluation_is_due():  # the start; or a restored run whose time had run out between evaluations
            self._evaluate(evaluate)
        begun = time.monotonic() - progress.seconds
        with tqdm(total=self.steps, initial=progress.step, desc="train", unit="step") as bar:
            for rows in self._batches():
                if self._is_over():  # true, too, of a restored run that had ended before its model was saved
                    break
                if interrupted():
                    return False
                progress.losses.append(self._step(rows))
                progress.step += 1
                progress.seconds = time.monotonic() - begun
                bar.update()
                if self._evaluation_is_due():
                    shown = f"{progress.losses[-1]:.3f}"
                    self._evaluate(evaluate)
                    bar.set_postfix(loss=shown, dev=f"{progress.history[-1]['dev']:.4f}", best=f"{progress.best:.4f}")
                    self._save()
                elif self._checkpoint_is_due():
                    self._save()
        return True

    def _checkpoint_is_due(self) -> bool:
        every = self.config.checkpoint_every
        is_cheap = self.saving_took <= _SHARE * (time.monotonic() - self.saved_at)
        return every > 0 and (is_cheap or self.progress.step % every == 0)

    def _save(self) -> None:
        begun = time.monotonic()
        self.checkpoint.save(self.progress)
        self.saved_at = time.monotonic()
        self.saving_took = self.saved_at - begun

    def _evaluation_is_due(self) -> bool:
        step, history = self.progress.step, self.progress.history
        every = self.config.evaluate_every or self.steps_per_epoch
        reached = step % every == 0 or step == self.steps or self._is_late()
        return reached and not (history and history[-1]["step"] == step)

    def _is_late(self) -> bool:
        return 0 < 60 * self.config.max_minutes < self.progress.seconds

    def _is_over(self) -> bool:
        return self._is_late() or 0 < self.config.patience <= self.progress.since_best

    def _batches(self) -> Iterator[list[int]]:
        """Batches of example indices from the current step to the last."""
        config, done = self.config, self.progress.step
        for phase in self.phases:
            rows = np.array(phase.rows)
            seed = config.seed + 50_021 * phase.number
            for epoch, first in enumerate(range(phase.first, phase.end, phase.epoch_steps)):
                if first + phase.epoch_steps > done:
                    batches = bucketed_batches(self.rows.lengths[rows], config.batch_size, seed, epoch)
                    for batch in batches[max(0, done - first) : phase.end - first]:
                        yield rows[batch].tolist()

    def _step(self, rows: list[int]) -> float:
        """One optimiser step on the examples `rows`; returns the loss."""
        config, index = self.config, torch.tensor(rows)
        # Random numbers (dropout, drawn negatives) depend on the step alone, so that a resumed run draws the same ones.
        torch.manual_seed(config.seed * 1_000_003 + self.progress.step)
        phase = next(phase for phase in self.phases if self.progress.step < phase.end)
        factor = learning_rate_factor(self.progress.step - phase.first, phase.steps, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        input_ids, mask = self.model.pad([self.rows[i] for i in rows])
        targets, weights = self.targets[index].to(self.device), self.weights[index].to(self.device)
        batch = TrainingBatch(input_ids, mask, targets, weights, index.to(self.device))
        kernel = attention_kernel(self.device, config.precision, input_ids.shape[1])
        with autocast(self.device, config.precision), kernel:
            loss = self.objective.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise GenirError(
                f"the loss is {value} at step {self.progress.step}; lower the learning rate, or use float32"
            )
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        return value

    def _evaluate(self, evaluate: Callable[[], float]) -> None:
        progress = self.progress
        value, losses = evaluate(), progress.losses
        loss = sum(losses) / len(losses) if losses else 0.0
        progress.losses = []
        progress.history.append(
            {"step": progress.step, "seconds": round(progress.seconds, 1), "loss": round(loss, 4), "dev": value}
        )
        progress.since_best = 0 if value > progress.best else progress.since_best + 1
        if value > progress.best or value == progress.best == 0:  # where nothing is found yet, what has learnt more
            progress.best, progress.best_step = value, progress.step
            save_weights(self.folder / BEST, self.model.state_dict())

    def _plan(self, made_of: str) -> str:
        """What must not change between a checkpoint and its resumption."""
        config = {name: value for name, value in asdict(self.config).items() if name not in _FREE}
        phases = [phase.rows for phase in self.phases[1:]]
        labels = json.dumps([self.targets.tolist(), self.weights.tolist(), phases])
        examples = hashlib.sha256(f"{self.rows.sha256()} {labels}".encode()).hexdigest()
        return json.dumps([config, examples, made_of])


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of the steps, then linear decay to zero."""
    rising = max(1, round(warmup * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising), 1.0)


def _optimizer(model: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; the model's `pretrained` weights and its fresh ones have their own rates; vectors and embeddings do not decay."""
    tables = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pretrained = name.startswith(model.pretrained)
            decays = parameter.ndim > 1 and id(parameter) not in tables
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
