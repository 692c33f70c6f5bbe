"""A network's weights as int8 in a safetensors file, and back: a quarter of the size, for weights that ship.

Weight-only, symmetric, one scale a row (an output channel, or a word's embedding): w is about q * scale with |q| <= 127, so no weight is
off by more than half a scale. Vectors (biases, norms) stay float32. The network computes in float32 or bfloat16, as ever:
this saves space, not time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from genir.checkpoint import save_weights
from genir.errors import ArtefactError

Storage = Literal["float32", "int8"]
_SCALE = ".scale"  # behind the name of a quantised weight


def quantise(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (O, I) as int8 with a float32 scale (O,) under the name + ".scale"; other tensors as they are."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or not tensor.is_floating_point():
            made[name] = tensor
            continue
        scale = tensor.float().abs().amax(1).clamp(min=1e-12) / 127
        made[name] = (tensor.float() / scale[:, None]).round().to(torch.int8)
        made[name + _SCALE] = scale
    return made


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `quantise` made, as float32; tensors that are no int8 stay as they are."""
    return {
        name: tensor.float() * tensors[name + _SCALE][:, None] if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
        if not name.endswith(_SCALE)
    }


def save_state(path: Path, state: Mapping[str, Tensor], storage: Storage) -> None:
    """Write a network's state, atomically."""
    plain = {name: tensor.detach().cpu() for name, tensor in state.items()}
    save_weights(path, quantise(plain) if storage == "int8" else plain, {"storage": storage})


def load_state(path: Path) -> dict[str, Tensor]:
    """A state that `save_state` wrote, in float32. Raises ArtefactError where the file is missing or broken."""
    try:
        return dequantise(load_file(path))
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtefactError(f"{path}: no weights that can be read ({error}); train the reader again") from None
