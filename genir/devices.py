"""Which device, which precision, which seed: asked once, in one place."""

import random
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from genir.errors import ConfigError

Precision = Literal["float32", "bfloat16", "auto"]

_SHORT = 128  # tokens


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or CUDA where there is one and the CPU elsewhere. Raises ConfigError for a device that is absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} asked for, but torch sees no CUDA device; use --device cpu")
    return device


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are faster than float32 on this device (AMX or AVX-512 BF16, or a GPU)."""
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    # The probes are private in torch, their names differ between versions, hence getattr.
    return any(
        bool(getattr(torch.cpu, probe, bool)()) for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )


def runs_in_bfloat16(device: torch.device, precision: Precision) -> bool:
    """Whether `precision` means bfloat16 here: asked for, or "auto" where it pays."""
    return precision == "bfloat16" or (precision == "auto" and bfloat16_pays(device))


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager[object]:
    """bfloat16 autocast where it is asked for, or where it pays under "auto"; a no-op under "float32"."""
    if not runs_in_bfloat16(device, precision):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def attention_kernel(device: torch.device, precision: Precision, tokens: int) -> AbstractContextManager[object]:
    """SDPA's plain kernel where it trains faster than its fused one; elsewhere torch's own choice.

    On a CPU the fused one's backward pass in bfloat16 takes seven times as long for 16 tokens, twice for 64, and wins from some 200
    on, where the plain one's score matrices also begin to take memory.
    """
    if device.type != "cpu" or tokens > _SHORT or not runs_in_bfloat16(device, precision):
        return nullcontext()
    return cast(AbstractContextManager[object], sdpa_kernel(SDPBackend.MATH))


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def quiet_libraries() -> None:
    """Silence the progress bars and advice that libraries print on loading a model; ours say what matters."""
    import logging
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    for name in ("transformers", "sentence_transformers", "bm25s"):
        logging.getLogger(name).setLevel(logging.ERROR)
