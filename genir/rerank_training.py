"""Listwise training of a `genir.models.rerank_head.RerankHead`: which of a beam's documents are right, for many questions at once.

The loss of a question is -log of the share that its right documents have in the softmax over its list. Weight decay and
number of steps are those that do best on dev lists, the untrained start among them, so that dev never ends below its start.

Invariant: full batches, one generator: the same lists, settings and seed give the same weights on the same machine. Lists without a
right document, or with nothing else, teach nothing and are left out of training, never out of measuring.
Shape letters: Q questions, M documents of the longest list, F features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genir.errors import ConfigError, DataError
from genir.models.rerank_head import RerankHead


@dataclass(frozen=True, eq=False)
class Lists:
    """What was found for Q questions: base scores, features, and which places hold a document, and a right one."""

    base: Tensor  # (Q, M)
    features: Tensor  # (Q, M, F)
    present: Tensor  # (Q, M) bool
    right: Tensor  # (Q, M) bool

    def __len__(self) -> int:
        return len(self.base)

    def teaching(self) -> "Lists":
        """Those with both a right and a wrong document."""
        kept = self.right.any(1) & (self.present & ~self.right).any(1)
        return Lists(self.base[kept], self.features[kept], self.present[kept], self.right[kept])


@dataclass(frozen=True)
class RerankTraining:
    """How to learn: Adam over all lists at once, measured every `evaluate_every` steps, anew for each weight decay.

    What beats the untrained head on dev by less than `least_gain` is taken for noise: the best of some dozen tries always does.
    """

    hidden: int = 16
    learning_rate: float = 3e-3
    weight_decays: tuple[float, ...] = (0.1, 1.0, 10.0)
    steps: int = 300
    evaluate_every: int = 10
    least_gain: float = 0.002
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.steps, self.evaluate_every) < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"impossible training of a rerank head: {self}; expected hidden, steps and evaluate_every of 1 or more, and a "
                "learning rate above 0"
            )
        if not self.weight_decays or min(*self.weight_decays, self.least_gain) < 0:
            raise ConfigError(
                f"weight_decays is {self.weight_decays} and least_gain {self.least_gain}: expected at least one weight decay, and nothing "
                "below 0"
            )


@dataclass(frozen=True)
class RerankCourse:
    """What came of a training: the choice, its figure, and the figures on the way, {weight_decay, step, dev} each."""

    weight_decay: float
    step: int
    start: float
    best: float
    lists: int
    history: tuple[Mapping[str, float], ...]


def learn_rerank_head(
    lists: Lists, names: Sequence[str], settings: RerankTraining, figure: Callable[[RerankHead], float]
) -> tuple[RerankHead, RerankCourse]:
    """A head that ranks `lists` well, the best by `figure` (higher is better). Raises DataError where no list teaches."""
    taught = lists.teaching()
    if not len(taught):
        raise DataError(
            f"none of the {len(lists)} training questions found a right document beside a wrong one: nothing to learn from; "
            "raise depth, or train the model longer"
        )
    head = _fresh(taught, names, settings)
    start = figure(head)
    best, best_weights = (start, 0.0, 0), _copied(head)
    history: list[Mapping[str, float]] = [{"weight_decay": 0.0, "step": 0, "dev": start}]
    for decay in settings.weight_decays:
        head = _fresh(taught, names, settings)
        optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=decay)
        for step in range(1, settings.steps + 1):
            loss = listwise_loss(head, taught)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % settings.evaluate_every and step != settings.steps:
                continue
            found = figure(head)
            history.append({"weight_decay": decay, "step": step, "dev": found})
            if found > best[0] and found >= start + settings.least_gain:
                best, best_weights = (found, decay, step), _copied(head)
    head.load_state_dict(best_weights)
    return head.eval(), RerankCourse(best[1], best[2], start, best[0], len(taught), tuple(history))


def listwise_loss(head: RerankHead, lists: Lists) -> Tensor:
    """Mean over lists of -log softmax's share of the right documents; differentiable."""
    scores = head(lists.base, lists.features).masked_fill(~lists.present, -torch.inf)
    right = scores.masked_fill(~lists.right, -torch.inf)
    loss: Tensor = (scores.logsumexp(1) - right.logsumexp(1)).mean()
    return loss


def _fresh(lists: Lists, names: Sequence[str], settings: RerankTraining) -> RerankHead:
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        head = RerankHead(names, settings.hidden)
    head.standardise(lists.features[lists.present])
    return head


def _copied(head: RerankHead) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}
