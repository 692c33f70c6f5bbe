"""Training as a plain user of Hugging Face would: the `Trainer` over the same model, loss and examples.

Out of the box that is float32, batches drawn at random, tokenised as they are collated and padded to their longest text, and
the encoder as `from_pretrained` gives it (its own dropout, SDPA). The Trainer's default optimiser is kept: fused AdamW, one
learning rate, gradients clipped at 1. `TrainerMeasures` hands it, one by one, what our loop does.
"""

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genir.embedding import load_encoder
from genir.errors import MissingExtraError
from genir.objectives import Objective, TrainingBatch
from genir.training import Example, TrainingConfig


@dataclass(frozen=True)
class TrainerMeasures:
    """Which of our loop's measures the Trainer is given."""

    tokenised_once: bool = False
    without_dropout: bool = False
    grouped_by_length: bool = False
    bfloat16: bool = False


@dataclass(frozen=True)
class Timed:
    """What one epoch took: seconds before the first step (tokenising, frozen layers) and seconds of all steps; their losses."""

    setup_seconds: float
    step_seconds: float
    losses: tuple[float, ...]


class _WithLoss(nn.Module):
    """The model as the Trainer wants it: a forward pass that returns its loss."""

    def __init__(self, model: Any, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, targets: Tensor, weights: Tensor, rows: Tensor
    ) -> dict[str, Tensor]:
        return {"loss": self.objective.loss(TrainingBatch(input_ids, attention_mask, targets, weights, rows))}


class _Collator:
    """A list of examples, tokenised or not, -> tensors padded to the longest of them."""

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer, self.limit = tokenizer, limit

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        labels = {
            "targets": torch.tensor([item["target"] for item in items]),
            "weights": torch.tensor([item["weight"] for item in items]),
            "rows": torch.tensor([item["row"] for item in items]),
        }
        if "input_ids" in items[0]:
            padded = self.tokenizer.pad({"input_ids": [item["input_ids"] for item in items]}, return_tensors="pt")
        else:
            texts = [item["text"] for item in items]
            padded = self.tokenizer(
                texts, truncation=True, max_length=self.limit, padding="longest", return_tensors="pt"
            )
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], **labels}


def train_by_trainer(
    model: Any,
    objective: Objective,
    examples: Sequence[Example],
    config: TrainingConfig,
    measures: TrainerMeasures,
    folder: Path,
    max_steps: int = -1,
) -> Timed:
    """One epoch of `examples` (or `max_steps`) over a CodeDecoder. Raises MissingExtraError where the Trainer's accelerate is missing."""
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("accelerate", "lora", "Hugging Face's Trainer")
    from transformers import PrinterCallback, Trainer, TrainingArguments

    if not measures.without_dropout:
        model.encoder = load_encoder(model.config.encoder)[1].to(model.device)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        num_train_epochs=1,
        max_steps=max_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        bf16=measures.bfloat16,
        train_sampling_strategy="group_by_length" if measures.grouped_by_length else "random",
        seed=config.seed,
        use_cpu=model.device.type == "cpu",
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    limit = model.config.max_text_tokens
    started = time.perf_counter()
    data: list[dict[str, Any]] = [
        {"row": row, "target": one.target, "weight": one.weight} for row, one in enumerate(examples)
    ]
    if measures.tokenised_once or measures.grouped_by_length:
        rows = model.tokenizer([one.text for one in examples], truncation=True, max_length=limit)["input_ids"]
        data = [item | {"input_ids": row} for item, row in zip(data, rows, strict=True)]
    else:
        data = [item | {"text": one.text} for item, one in zip(data, examples, strict=True)]
    prepared = time.perf_counter() - started
    trainer = Trainer(
        model=_WithLoss(model, objective),
        args=arguments,
        train_dataset=data,
        data_collator=_Collator(model.tokenizer, limit),
    )
    trainer.remove_callback(PrinterCallback)
    stopwatch = _stopwatch()
    trainer.add_callback(stopwatch)
    trainer.train()
    losses = tuple(float(line["loss"]) for line in trainer.state.log_history if "loss" in line)
    return Timed(prepared, stopwatch.seconds, losses)


def _stopwatch() -> Any:
    """A callback whose `seconds` are those between the beginning and the end of training."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        seconds = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.seconds = -time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter()

    return Stopwatch()
