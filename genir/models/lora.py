"""Low-rank adapters in a causal language model (LoRA, Hu et al. 2022, arXiv:2106.09685), through peft.

The network's own weights are frozen and every adapted linear layer adds (alpha / rank) B A x, B zero at the start. The
adapters are put into the network in place, so that everything else sees the same class of network as before.

A model is kept with its adapters merged into the weights: the folder then stands by itself (no reference to a base
model that may move or change), loads without peft, and searches at the speed of the plain network. Known gap: while it
is saved, the adapted weights are in memory twice.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genir.errors import ConfigError, MissingExtraError

_ADAPTER = "default"


def add_adapters(network: Any, rank: int, alpha: float, dropout: float, targets: Sequence[str]) -> None:
    """Freeze a transformers causal LM and adapt its linear layers, or those whose names end in one of `targets`.

    The adapters are float32, whatever the network is. Raises ConfigError for a target that the network does not have.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("peft", "lora", "a causal model with lora_rank") from None
    from transformers.pytorch_utils import Conv1D

    transposed = any(isinstance(module, Conv1D) for module in network.modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets) or "all-linear",
        fan_in_fan_out=transposed,
    )
    try:
        inject_adapter_in_model(config, network, _ADAPTER)
    except ValueError as error:
        names = {name.rsplit(".", 1)[-1] for name, _ in network.named_modules()} - {""}
        if not targets or names.issuperset(targets):
            raise
        raise ConfigError(
            f"lora_targets = {list(targets)}: not all of them are layers of the network ({str(error).splitlines()[0]}); "
            "leave it empty to adapt every linear layer"
        ) from None
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


@torch.no_grad()
def merged_weights(network: Any) -> dict[str, Tensor]:
    """The state of a network with its adapters merged in, under the names that it had without; `network` stays as it is."""
    from peft.tuners.lora import LoraLayer

    merged = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in network.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            weight = merged[f"{name}.weight"]
            change: Tensor = module.get_delta_weight(_ADAPTER)
            merged[f"{name}.weight"] = (weight.float() + change.float()).to(weight.dtype)
    return merged
