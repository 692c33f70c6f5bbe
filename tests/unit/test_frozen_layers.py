"""Frozen layers: what is kept is what would be computed, only the rest learns, and memory stays within its bounds."""

from pathlib import Path

import pytest
import torch
from torch import nn

from genir.devices import autocast
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.frozen_layers import FrozenLayers
from tests.tiny_text_models import save_tiny_bert

TEXTS = ["red", "blue two", "a green river", "oslo norway is far", "lima peru"]
WIDTH = 16


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), WIDTH)


@pytest.fixture
def model(encoder: Path) -> CodeDecoder:
    torch.manual_seed(0)
    return CodeDecoder(CodeDecoderConfig(encoder=str(encoder), layers=1, heads=2, feedforward=32), 8, 2, None).train()


def pooled(model: CodeDecoder) -> torch.Tensor:
    return model.encode(*model.pad(model.tokenize(TEXTS))).pooled


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("max_bytes", [0.0, 20 * WIDTH * 4.0, 1e9])  # nothing, some of the texts, all of them
def test_says_what_the_whole_encoder_says(model: CodeDecoder, layers: int, max_bytes: float) -> None:
    whole = pooled(model)
    model.freeze(layers)
    model.keep_frozen(model.tokenize(TEXTS), max_bytes)
    torch.testing.assert_close(pooled(model), whole, atol=1e-5, rtol=1e-5)


def test_only_the_upper_layers_learn(model: CodeDecoder) -> None:
    model.freeze(1)
    model.keep_frozen(model.tokenize(TEXTS), 1e9)
    pooled(model).sum().backward()
    learns = {name for name, parameter in model.encoder.named_parameters() if parameter.grad is not None}
    assert learns
    assert all(name.startswith("encoder.layer.1.") for name in learns)
    model.thaw()
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())


def test_a_change_above_is_seen_at_once(model: CodeDecoder) -> None:
    """Split or whole, the weights are the same tensors."""
    model.freeze(1)
    model.keep_frozen(model.tokenize(TEXTS), 1e9)
    before = pooled(model)
    nn.init.normal_(model.encoder.encoder.layer[1].output.dense.weight)
    after = pooled(model)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(pooled(model.eval()), after, atol=1e-5, rtol=1e-5)  # searching asks the whole encoder


def test_what_is_kept_fits_into_the_memory_given(model: CodeDecoder) -> None:
    rows = model.tokenize([*TEXTS, *TEXTS])
    lengths = sorted({tuple(row): len(row) for row in rows}.values())
    frozen = FrozenLayers(model.encoder, 1).freeze()
    frozen.keep(rows, model.pad, 4 * WIDTH * (lengths[0] + lengths[1]) + 3)
    assert frozen.kept_bytes == 4 * WIDTH * (lengths[0] + lengths[1])
    frozen.keep(rows, model.pad, 1e9)
    assert frozen.kept_bytes == 4 * WIDTH * sum(lengths)  # each distinct text once
    frozen.thaw()
    assert frozen.kept_bytes == 0


def test_under_bfloat16_half_the_memory_is_needed(model: CodeDecoder) -> None:
    whole = pooled(model)
    model.freeze(1)
    with autocast(model.device, "bfloat16"):
        model.keep_frozen(model.tokenize(TEXTS), 1e9)
        split = pooled(model)
    torch.testing.assert_close(split, whole, atol=2e-2, rtol=0.1)


@pytest.mark.parametrize("layers", [2, 7])
def test_too_many_layers(model: CodeDecoder, layers: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"frozen_layers = {layers}, but the encoder has 2: expected 0 .* to 1, or -1 for none"
    ):
        model.freeze(layers)


def test_an_encoder_of_another_build() -> None:
    with pytest.raises(ConfigError, match="an encoder of the kind Linear cannot be split into layers"):
        FrozenLayers(nn.Linear(2, 2), 0).freeze()
