"""Together, or documents first: equal steps, every example as often, and a cut training that resumes bit for bit."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch

from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder
from genir.objectives import RankingObjective, TrainingBatch
from genir.schedule import Phase, plan
from genir.training import Example, TrainingConfig, TrainingInterruptedError, train
from tests.tiny_text_models import save_tiny_bert
from tests.tiny_training import IDENTIFIERS, TEXTS, make_model

KINDS = ["passage"] * 7 + ["query"] * 5 + ["pseudo"] * 9
EXAMPLES = [Example(text, i, "passage" if turn else "query") for turn in range(3) for i, text in enumerate(TEXTS)]
CONFIG = TrainingConfig(
    epochs=4, batch_size=3, learning_rate=1e-3, fresh_learning_rate=1e-2, precision="float32", schedule="index-first"
)


class Listening(RankingObjective):
    """Notes which examples each step read."""

    seen: list[list[int]]

    def loss(self, batch: TrainingBatch) -> torch.Tensor:
        assert batch.rows is not None
        self.seen.append(batch.rows.tolist())
        return super().loss(batch)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


def make(encoder: Path) -> tuple[CodeDecoder, Listening]:
    model = make_model(encoder)
    objective = Listening(model, IDENTIFIERS, prefixes=(1,), hard_negatives=2)
    objective.seen = []
    return model, objective


def test_together_is_one_phase() -> None:
    assert plan(KINDS, "together", 3, 4) == (Phase(0, tuple(range(21)), 0, 18, 6),)


@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 1), (1, 4), (3, 4), (5, 64)])
def test_both_schedules_take_the_same_number_of_steps(epochs: int, batch_size: int) -> None:
    (together,) = plan(KINDS, "together", epochs, batch_size)
    indexing, retrieval = plan(KINDS, "index-first", epochs, batch_size)
    assert indexing.steps + retrieval.steps == together.steps == retrieval.end
    assert set(indexing.rows) | set(retrieval.rows) == set(together.rows)
    assert [KINDS[row] for row in retrieval.rows] == ["query"] * 5
    assert indexing.steps == pytest.approx(together.steps * 16 / 21, abs=0.5)


def test_documents_come_first_and_every_example_as_often(encoder: Path, tmp_path: Path) -> None:
    model, objective = make(encoder)
    assert train(model, objective, EXAMPLES, lambda: 0.0, CONFIG, tmp_path).step == len(objective.seen) == 20
    kinds = [{EXAMPLES[row].kind for row in batch} for batch in objective.seen]
    assert kinds == [{"passage"}] * 13 + [{"query"}] * 7
    counts = Counter(row for batch in objective.seen for row in batch)
    assert set(counts) == set(range(len(EXAMPLES)))
    assert all(CONFIG.epochs - 1 <= count <= CONFIG.epochs for count in counts.values())


@pytest.mark.parametrize("cut", [2, 3])  # evaluations at steps 0, 5, 10 and so on: before and in the second phase
def test_a_cut_training_resumes_bit_for_bit(encoder: Path, tmp_path: Path, cut: int) -> None:
    def rising(interrupt_at: int = 0, calls: list[int] | None = None) -> float:
        assert calls is not None
        calls.append(1)
        if len(calls) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return float(len(calls))

    whole, objective = make(encoder)
    calls: list[int] = []
    train(whole, objective, EXAMPLES, lambda: rising(0, calls), CONFIG, tmp_path / "whole")
    model, objective = make(encoder)
    calls = []
    with pytest.raises(TrainingInterruptedError):
        train(model, objective, EXAMPLES, lambda: rising(cut + 1, calls), CONFIG, tmp_path / "cut")
    again, objective = make(encoder)
    train(again, objective, EXAMPLES, lambda: rising(0, calls), CONFIG, tmp_path / "cut", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_schedule_without_one_of_its_phases() -> None:
    with pytest.raises(
        ConfigError, match=r'schedule "index-first" needs examples of both kinds, .* no training queries'
    ):
        plan(["passage"], "index-first", 1, 1)
    with pytest.raises(ConfigError, match="there are no passages, titles or pseudo-queries"):
        plan(["query"], "index-first", 1, 1)


def test_a_misspelt_schedule() -> None:
    with pytest.raises(ConfigError, match="unknown schedule 'index-frist': did you mean 'index-first'"):
        TrainingConfig(schedule="index-frist")  # type: ignore[arg-type]
