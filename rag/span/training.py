"""Training the span reader: which windows it learns from, and the loss.

One example is a question with its passage, read in one window that holds the answer. Beside some of them stands a wrong passage of the same
article, in the same normaliser (Clark & Gardner 2018, arXiv:1710.10723, section 3.4); some questions are asked once more of a wrong
passage alone, where no answer is right. The loss is the negative log of the probability of the answer, summed over the places where it
stands, or of no answer:

    -log [ sum over places exp(score) / (1 + sum over all spans of all windows exp(score)) ]

The loop is `genir.training.train`: fused AdamW, linear warm-up and decay, batches of like lengths, bfloat16 where it pays, the dev figure
as a learning curve with the best weights kept, checkpoints, exact resumption. Invariant: what is learnt from depends on the seed alone.

Known gap: a passage longer than a window is learnt from in one window only.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError, DataError
from genir.objectives import TrainingBatch, weighted_mean
from genir.records import Document, Query
from genir.token_rows import TokenRows
from genir.training import Example, TrainingConfig
from rag.span.data import Window, WindowMaker, answer_places
from rag.span.model import SpanModel, boundaries, log_odds, places_log_odds, span_scores
from rag.span.negatives import WrongPassages
from rag.span.storage import Storage


@dataclass(frozen=True)
class SpanTraining(TrainingConfig):
    """`genir.training.TrainingConfig` with defaults for a small encoder; `batch_size` counts examples."""

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 1e-4
    fresh_learning_rate: float = 5e-4
    warmup: float = 0.1
    evaluate_every: int = 500
    checkpoint_every: int = 200


@dataclass(frozen=True)
class SpanConfig:
    """Everything that `genir train-reader span` may set. Unknown keys are refused."""

    encoder: str = DEFAULT_ENCODER  # a name, a folder, or the folder of a span reader, which then learns on
    max_length: int = 384  # tokens of a window
    stride: int = 128
    max_question_tokens: int = 64
    max_answer_tokens: int = 32  # longer answers are not learnt from, nor ever given
    beside: float = 0.125  # share of the questions that have a wrong passage beside the right one
    alone: float = 0.125  # share of the questions that are asked once more of a wrong passage alone
    hardest: int = 8  # a wrong passage is drawn among so many that share most with the question
    max_questions: int = 0  # learn from so many training questions, drawn at random; 0 for all
    dev_questions: int = 400  # at most so many are read at each evaluation
    training: SpanTraining = field(default_factory=SpanTraining)
    storage: Storage = "int8"  # of the weights in the folder; a reader that is to learn on loses nothing by float32
    device: str = "auto"

    def __post_init__(self) -> None:
        if not (0 <= self.beside <= 1 and 0 <= self.alone <= 1) or min(self.hardest, self.dev_questions) < 1:
            raise ConfigError(
                f"impossible settings: {self}; expected beside and alone in 0..1, hardest and dev_questions >= 1"
            )


@dataclass(frozen=True, slots=True)
class Group:
    """One example: its window, the token spans of the answer in it (none: no answer is right), and windows beside it, by index."""

    window: int
    places: tuple[tuple[int, int], ...]
    beside: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingSet:
    """All windows, the groups to learn from, and how many questions were left out, by reason."""

    windows: Sequence[Window]
    groups: Sequence[Group]
    left_out: Mapping[str, int]

    def examples(self) -> list[Example]:
        """One a group, for `genir.training.train`: the number of its window as the text, its own number as the target."""
        return [
            Example(str(group.window), index, "passage" if group.places else "unanswerable")
            for index, group in enumerate(self.groups)
        ]


def make_training_set(
    maker: WindowMaker, asked: Sequence[tuple[Query, Document]], wrong: WrongPassages, config: SpanConfig
) -> TrainingSet:
    """Windows and groups of (question, its passage). Raises DataError where no question can be learnt from."""
    rng = random.Random(config.training.seed)
    left_out: Counter[str] = Counter()
    windows: list[Window] = []
    groups: list[Group] = []
    extra: list[tuple[str, Document, int]] = []  # question, wrong passage, the group it stands beside or -1
    made = maker.windows([(query.text, passage) for query, passage in asked])
    for (query, passage), cut in zip(asked, made, strict=True):
        found = _answered(cut, answer_places(passage.text, query.text, query.answers), config.max_answer_tokens)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        drawn = (rng.random() < config.beside, rng.random() < config.alone)
        for owner, document in zip(
            [group for group, wanted in zip((len(groups), -1), drawn, strict=True) if wanted],
            wrong.draw(query, passage, rng, sum(drawn)) if any(drawn) else (),
            strict=False,  # fewer where the article has too few
        ):
            extra.append((query.text, document, owner))
        groups.append(Group(len(windows), found[1]))
        windows.append(found[0])
    if not groups:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there is none"
        raise DataError(f"no training question whose answer its passage holds ({reasons}): nothing to train on")
    for (_, _, owner), cut in zip(extra, maker.windows([(text, document) for text, document, _ in extra]), strict=True):
        if cut:
            if owner < 0:
                groups.append(Group(len(windows), ()))
            else:
                groups[owner] = Group(groups[owner].window, groups[owner].places, (len(windows),))
            windows.append(cut[0])
    return TrainingSet(windows, groups, dict(left_out))


def _answered(
    cut: Sequence[Window], places: Sequence[tuple[int, int]], longest: int
) -> tuple[Window, tuple[tuple[int, int], ...]] | str:
    """The window that holds most places of the answer, with these as token spans; or why there is none."""
    if not places:
        return "without their answer in the passage"
    best: tuple[Window, tuple[tuple[int, int], ...]] | None = None
    for window in cut:
        spans = {window.token_span(*place) for place in places} - {None}
        short = tuple(sorted(span for span in spans if span and span[1] - span[0] < longest))
        if short and (best is None or len(short) > len(best[1])):
            best = window, short
    return best or f"with an answer of more than {longest} tokens, or beyond a window"


class Learner(nn.Module):
    """A span model as `genir.training.train` wants one: its texts are the numbers of windows, tokenised already."""

    pretrained = ("model.encoder.",)

    def __init__(self, model: SpanModel, windows: Sequence[Window]) -> None:
        super().__init__()
        self.model = model
        self._windows = windows

    def tokenize(self, texts: Sequence[str]) -> TokenRows:
        """The tokens of windows, by number."""
        return TokenRows.pack([self._windows[int(text)].ids for text in texts])  # type: ignore[misc]  # arrays will do

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """See SpanModel."""
        return self.model.pad(rows)


class SpanObjective:
    """The loss of the module's docstring, a genir.objectives.Objective."""

    def __init__(self, model: SpanModel, data: TrainingSet, longest: int) -> None:
        self.model, self.data, self.longest = model, data, longest

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted mean over the groups batch.targets (B,), whose windows are batch.input_ids (B, T)."""
        groups = [self.data.groups[index] for index in batch.targets.tolist()]
        beside = [(owner, self.data.windows[window]) for owner, group in enumerate(groups) for window in group.beside]
        scores = self._scores(
            [self.data.windows[group.window] for group in groups], batch.input_ids, batch.attention_mask
        )
        odds, owners = log_odds(scores), [*range(len(groups)), *(owner for owner, _ in beside)]
        if beside:  # read apart: one long wrong passage would lengthen the whole batch
            windows = [window for _, window in beside]
            rivals = self._scores(windows, *self.model.pad([window.ids for window in windows]))
            odds = torch.cat([odds, log_odds(rivals)])
        normaliser = _normaliser(odds, owners, len(groups))
        right = places_log_odds(scores, [group.places for group in groups])
        answered = torch.tensor([bool(group.places) for group in groups], device=scores.device)
        losses = normaliser - torch.where(answered, right, 0.0)  # the log odds of no answer are 0
        return weighted_mean(losses, batch.weights)

    def _scores(self, windows: Sequence[Window], input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Shape (W, T, L): what `span_scores` gives for the windows, whose tokens are input_ids (W, T)."""
        begins, ends = self.model(input_ids, attention_mask)
        legal = boundaries(windows, input_ids.shape[1], begins.device)
        return span_scores(begins, ends, *legal, self.longest)


def _normaliser(odds: Tensor, owners: Sequence[int], size: int) -> Tensor:
    """Shape (size,): log(1 + sum of exp(odds)) over the windows (W,) of each of `size` owners."""
    columns, used = [], [1] * size
    for owner in owners:
        columns.append(used[owner])
        used[owner] += 1
    table = odds.new_full((size, max(used)), -torch.inf)
    table[:, 0] = 0.0  # no answer
    return torch.logsumexp(table.index_put((torch.tensor(owners), torch.tensor(columns)), odds), dim=1)
