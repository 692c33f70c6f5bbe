"""Devices, precision and seeds."""

import random

import numpy as np
import pytest
import torch

from genir.devices import Precision, attention_kernel, autocast, bfloat16_pays, pick_device, seed_everything
from genir.errors import ConfigError

CPU = torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"
    assert pick_device("cpu") == CPU


def test_an_absent_or_unknown_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda:1' asked for, but torch sees no CUDA device; use --device cpu"):
        pick_device("cuda:1")
    with pytest.raises(ConfigError, match="unknown device 'gpu': expected auto, cpu, cuda or cuda:N"):
        pick_device("gpu")


def test_precision_is_what_was_asked_for() -> None:
    x = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize("pays", [True, False])
def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch, pays: bool) -> None:
    monkeypatch.setattr("genir.devices.bfloat16_pays", lambda device: pays)
    x = torch.ones(2, 2)
    with autocast(CPU, "auto"):
        assert ((x @ x).dtype == torch.bfloat16) is pays


def test_the_probe_survives_a_torch_without_its_private_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert bfloat16_pays(CPU) is False


def test_a_seed_covers_python_numpy_and_torch() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(2**32 + 5)
    first = draw()
    assert draw() != first
    seed_everything(2**32 + 5)
    assert draw() == first


@pytest.mark.parametrize(
    ("precision", "tokens", "fused"), [("bfloat16", 128, False), ("bfloat16", 129, True), ("float32", 8, True)]
)
def test_short_texts_in_bfloat16_take_the_plain_attention_kernel(
    precision: Precision, tokens: int, fused: bool
) -> None:
    x = torch.ones(1, 1, 4, 8, requires_grad=True)
    with attention_kernel(CPU, precision, tokens):
        out = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    assert ("FlashAttention" in str(out.grad_fn)) == fused
