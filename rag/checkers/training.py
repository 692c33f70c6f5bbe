"""How the span scorer learns: the right span of a passage against its rivals, and passages in which all spans are wrong.

    loss = mean over texts of  -log softmax(z)[right]  (where the text holds the answer)  +  balanced cross-entropy of sigmoid(z)

The first part compares spans of one passage, which is what the network is to learn; the second makes its logits comparable between
questions. Training itself is `genir.training.train`, so it resumes bit for bit.

Invariant: a span that the tokenizer's cut left out is no span; a text whose right span was cut teaches only that the others are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genir.objectives import TrainingBatch, weighted_mean
from genir.training import Example, TrainingConfig
from rag.checkers.network import SEAM, SpanScorer
from rag.checkers.spans import Place


@dataclass(frozen=True)
class CheckerTraining(TrainingConfig):
    """`genir.training.TrainingConfig` with defaults for the span scorer."""

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 2e-4
    fresh_learning_rate: float = 1e-3
    warmup: float = 0.1
    evaluate_every: int = 150


@dataclass(frozen=True, slots=True)
class SpanLesson:
    """A question with a stretch of text, places there, and which of them answer (none, where the text does not)."""

    question: str
    passage: str
    places: tuple[Place, ...]
    right: tuple[bool, ...]


class SpanObjective:
    """See the module; a `genir.objectives.Objective` whose targets are the numbers of lessons."""

    def __init__(self, model: SpanScorer, lessons: Sequence[SpanLesson]) -> None:
        self.model = model
        self.spans: list[list[tuple[int, int, bool]]] = []
        for lesson in lessons:
            reading = model.read(_clean(lesson.question), lesson.passage)
            read = reading.offsets[-1][1] if reading.offsets else 0
            self.spans.append(
                [
                    (*reading.tokens(place), right)
                    for place, right in zip(lesson.places, lesson.right, strict=True)
                    if place[1] <= read
                ]
            )

    def loss(self, batch: TrainingBatch) -> Tensor:
        """See Objective; texts without any span are left out of the mean."""
        lessons = [self.spans[target] for target in batch.targets.tolist()]
        spans = [(row, first, last) for row, lesson in enumerate(lessons) for first, last, _ in lesson]
        if not spans:
            return self.model.outer.bias.sum() * 0.0
        logits = self.model(batch.input_ids, batch.attention_mask, torch.tensor(spans, device=batch.input_ids.device))
        losses, shares = [], []
        start = 0
        for row, lesson in enumerate(lessons):
            if lesson:
                own = logits[start : start + len(lesson)]
                start += len(lesson)
                losses.append(lesson_loss(own, torch.tensor([right for _, _, right in lesson], device=own.device)))
                shares.append(batch.weights[row])
        return weighted_mean(torch.stack(losses), torch.stack(shares))


def lesson_loss(logits: Tensor, right: Tensor) -> Tensor:
    """The loss of one text's spans: logits (C,), right (C,) bool. See the module."""
    wrong = F.softplus(logits[~right]).mean() if bool((~right).any()) else logits.new_zeros(())
    if not bool(right.any()):
        return wrong
    listwise = logits.logsumexp(0) - logits[right].logsumexp(0)
    return listwise + F.softplus(-logits[right]).mean() + wrong


def examples_of(lessons: Sequence[SpanLesson]) -> list[Example]:
    """One a lesson, for `genir.training.train`."""
    return [Example(f"{_clean(one.question)}{SEAM}{one.passage}", i) for i, one in enumerate(lessons)]


def _clean(question: str) -> str:
    """A question on one line: the seam is a line's end."""
    return " ".join(question.split())
