"""The sides of the training benchmark: one case (model, identifiers, examples), trained in several ways."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docids.random_control import RandomScheme
from docids.table import DocIDTable
from experiments.bench.training_baseline import Timed, TrainerMeasures, train_by_trainer
from experiments.training.examples import make_examples
from experiments.training.model_config import ModelConfig, build_model, make_objective
from genir.devices import Precision, seed_everything
from genir.errors import ConfigError
from genir.objectives import Objective
from genir.records import Dataset, DocIDTokens
from genir.training import Example, train


@dataclass(frozen=True)
class Side:
    """One way to train: by a Trainer with these measures, or (None) by our loop."""

    label: str
    trainer: TrainerMeasures | None = None
    precision: Precision = "float32"
    frozen_layers: int = -1


@dataclass(frozen=True)
class Case:
    """What is trained, in plain values, which another process can be sent. Every side begins with the same weights."""

    config: ModelConfig
    identifiers: dict[str, DocIDTokens]  # by doc_id
    vocab_size: int
    examples: tuple[Example, ...]

    @classmethod
    def of(cls, dataset: Dataset, config: ModelConfig) -> "Case":
        """Random identifiers for a data set, and all the examples that a configuration makes of it, mixed.

        Raises ConfigError for another architecture than code_decoder.
        """
        if config.architecture != "code_decoder":
            raise ConfigError(f"architecture {config.architecture!r}: the training benchmark is for code_decoder")
        table = RandomScheme(seed=config.training.seed).assign(dataset.corpus)
        examples, _ = make_examples(dataset, table, config.examples, config.dev_queries)
        random.Random(config.training.seed).shuffle(examples)
        identifiers = {document.doc_id: table.tokens_of(document.doc_id) for document in dataset.corpus}
        return cls(config, identifiers, table.vocab_size, tuple(examples))

    def build(self, examples: Sequence[Example]) -> tuple[Any, Objective]:
        """A fresh model, and its objective for `examples`."""
        seed_everything(self.config.training.seed)
        table = DocIDTable(RandomScheme.name, self.identifiers, vocab_size=self.vocab_size)
        model = build_model(self.config, table)
        return model, make_objective(self.config, model, table.identifiers(), examples)


def time_side(
    case: Case, side: Side, examples: Sequence[Example], folder: Path, max_minutes: float = 0.0, max_steps: int = -1
) -> Timed:
    """One epoch of `examples`, or less: `max_minutes` cuts ours, `max_steps` the Trainer's."""
    model, objective = case.build(examples)
    if side.trainer is not None:
        return train_by_trainer(
            model, objective, examples, case.config.training, side.trainer, folder / "trainer", max_steps
        )
    config = replace(
        case.config.training,
        epochs=1,
        precision=side.precision,
        frozen_layers=side.frozen_layers,
        max_minutes=max_minutes,
        checkpoint_every=0,  # the Trainer writes none either
    )
    evaluated: list[float] = []

    def evaluate() -> float:
        evaluated.append(time.perf_counter())
        return 0.0

    started = time.perf_counter()
    progress = train(model, objective, examples, evaluate, config, folder / "ours")
    return Timed(evaluated[0] - started, progress.seconds, tuple(line["loss"] for line in progress.history[1:]))
