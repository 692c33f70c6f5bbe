"""Lessons -> tensors: several questions read one passage, each blind to the others.

A lesson is one row: <s> passage newline, then question newline answer </s> for every turn. The mask lets a turn see
the passage and itself only, and its positions continue from the passage, so that each turn is exactly the prompt
that the reader gets later, and the passage is paid for once. Rows of like length stand together, as many as fill
about `tokens_per_step`.

Shapes: B rows, T tokens (padded to a multiple of 32: every new shape costs the CPU a set-up).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from rag.small_reader.data import Inventor, Lesson

PADDING_MULTIPLE = 32


@dataclass(frozen=True, slots=True)
class Row:
    """One lesson in tokens: ids, positions, turn (0 is the passage), and the weight of the loss for predicting each token."""

    ids: list[int]
    positions: list[int]
    turns: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class Batch:
    """ids, positions (B, T) int64; mask (B, 1, T, T) bool, True where a token may look; weights (B, T) float32."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What predicting a token counts: the first token of an answer (where to look), its other tokens, a question's tokens
    (they repeat names of the passage: free practice in copying)."""

    first: float = 3.0
    answer: float = 1.0
    question: float = 0.1


def pack(lesson: Lesson, encode: Callable[[str], list[int]], start: int, end: int, weights: LossWeights) -> Row:
    """A lesson as one row; closed-book turns have no weight on their questions."""
    passage = [start, *(encode(lesson.passage + "\n") if lesson.passage else [])]
    row = Row(list(passage), list(range(len(passage))), [0] * len(passage), [0.0] * len(passage))
    for turn, (question, answer) in enumerate(lesson.turns, 1):
        asked = encode(question + "\n")
        reply = [*encode(" " + answer), end]
        row.ids.extend(asked + reply)
        row.positions.extend(range(len(passage), len(passage) + len(asked) + len(reply)))
        row.turns.extend([turn] * (len(asked) + len(reply)))
        row.weights.extend([weights.question if lesson.passage else 0.0] * len(asked))
        row.weights.extend([weights.first if lesson.passage else weights.answer] + [weights.answer] * (len(reply) - 1))
    return row


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """Rows as one padded batch; padding sees itself only."""
    longest = max(len(row.ids) for row in rows)
    T = -(-longest // PADDING_MULTIPLE) * PADDING_MULTIPLE
    ids = torch.tensor([row.ids + [pad] * (T - len(row.ids)) for row in rows])
    positions = torch.tensor([row.positions + [0] * (T - len(row.ids)) for row in rows])
    turns = torch.tensor([row.turns + [-1] * (T - len(row.ids)) for row in rows])
    weights = torch.tensor([row.weights + [0.0] * (T - len(row.ids)) for row in rows])
    same = (turns[:, None, :] == 0) & (turns[:, :, None] >= 0) | (turns[:, None, :] == turns[:, :, None])
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    return Batch(ids, positions, (same & causal).unsqueeze(1), weights)


@dataclass
class LessonPlan:
    """An endless stream of batches of lessons, a share `closed_book` of them without a passage."""

    inventor: Inventor
    encode: Callable[[str], list[int]]
    start: int
    end: int
    pad: int
    turns: int = 6
    tokens_per_step: int = 2400
    closed_book: float = 0.1
    weights: LossWeights = LossWeights()
    pool: int = 64  # lessons that are sorted by length together

    def batches(self, seed: int) -> Iterator[Batch]:
        """Batches without end; every article is visited once before any is visited twice."""
        rng = random.Random(seed)
        order: list[int] = []
        while True:
            if len(order) < self.pool:
                order += rng.sample(range(len(self.inventor.articles)), len(self.inventor.articles))
            chosen, order = order[: self.pool], order[self.pool :]
            lessons = [self._lesson(row, rng) for row in chosen]
            rows = [pack(lesson, self.encode, self.start, self.end, self.weights) for lesson in lessons]
            groups = list(self._groups(sorted(rows, key=lambda row: len(row.ids))))
            rng.shuffle(groups)
            for group in groups:
                yield collate(group, self.pad)

    def _lesson(self, article: int, rng: random.Random) -> Lesson:
        make = self.inventor.closed_book if rng.random() < self.closed_book else self.inventor.grounded
        return make(article, self.turns)

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        group: list[Row] = []
        for row in rows:
            if group and (len(group) + 1) * len(row.ids) > self.tokens_per_step:
                yield group
                group = []
            group.append(row)
        yield group
