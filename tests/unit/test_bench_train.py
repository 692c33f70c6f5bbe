"""The training benchmark in miniature: it runs, both loops compute the same loss, and it writes what it found."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.bench.train import BASELINE, FROZEN, OURS, BenchTraining, run, sides
from experiments.bench.training_memory import measure
from experiments.bench.training_sides import Case, time_side
from experiments.training.examples import ExamplesConfig
from experiments.training.model_config import ModelConfig
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoderConfig
from genir.objectives import TrainingBatch
from genir.pseudo_queries import PseudoQueryConfig
from genir.records import Dataset
from genir.training import TrainingConfig
from tests.tiny_text_models import save_tiny_bert


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    encoder = str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16))
    return ModelConfig(
        code_decoder=CodeDecoderConfig(encoder, heads=2, feedforward=16, max_text_tokens=48),
        examples=ExamplesConfig(passage_words=6, pseudo_queries=PseudoQueryConfig(per_document=1)),
        training=TrainingConfig(batch_size=4),
    )


def test_runs_and_agrees(
    tiny_folder: Path, config: ModelConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train.json"
    figures = run(tiny_folder, BenchTraining(examples=6, rounds=1, frozen_layers=1, memory=False), config, out)
    rates = figures["examples_per_second"]
    assert list(rates) == list(sides(1))
    assert all(rate > 0 for rate in rates.values())
    assert figures["speedup"] == pytest.approx(rates[OURS] / rates[BASELINE])
    assert figures["speedup_frozen"] == pytest.approx(rates[FROZEN] / rates[BASELINE])
    assert figures["first_loss"]["trainer"] == pytest.approx(figures["first_loss"]["ours"], abs=2e-4)
    assert json.loads(out.read_text()) == figures
    assert json.loads((tmp_path / "train.manifest.json").read_text())["stage"] == "bench train"
    assert "no dropout" in (tmp_path / "train.svg").read_text()
    assert "loss of the first step in float32" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ours_float32", FROZEN, "trainer_no_dropout", "trainer_grouped"])
def test_every_side_computes_the_same_first_loss(
    tiny_dataset: Dataset, config: ModelConfig, tmp_path: Path, name: str
) -> None:
    """Whatever pads, caches and sorts: one batch of all examples, the same weights, dropout off, float32."""
    case, side = Case.of(tiny_dataset, config), replace(sides(1)[name], precision="float32")
    batch = [one for one in case.examples if len(one.text) < 46][:4]
    model, objective = case.build(batch)
    weights = [one.weight for one in batch]
    alone = []
    for row, one in enumerate(batch):
        ids, mask = model.pad(model.tokenize([one.text]))
        asked = TrainingBatch(ids, mask, torch.tensor([one.target]), torch.ones(1), torch.tensor([row]))
        alone.append(objective.loss(asked).item())
    by_hand = sum(weight * loss for weight, loss in zip(weights, alone, strict=True)) / sum(weights)
    assert time_side(case, side, batch, tmp_path).losses[0] == pytest.approx(by_hand, abs=2e-4)


def test_memory_is_that_of_the_process(tiny_dataset: Dataset, config: ModelConfig) -> None:
    case = Case.of(tiny_dataset, config)
    assert pickle.loads(pickle.dumps(case)) == case  # another process is sent it
    assert measure(case, sides(1)[OURS], 1.0, 1)["resident"] > 50e6


def test_less_than_a_batch_is_refused(tiny_folder: Path, config: ModelConfig) -> None:
    with pytest.raises(ConfigError, match="3 examples are less than one batch of 4"):
        run(tiny_folder, BenchTraining(examples=3), config)


def test_another_architecture_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="the training benchmark is for code_decoder"):
        run(tiny_folder, BenchTraining(examples=3), ModelConfig(architecture="seq2seq"))
