"""A network's twin for searching: its matrices rounded once and laid out for the processor once, not at every call.

A search calls a network a few times for each batch, with the same weights for hours. Autocast would round every float32
matrix to bfloat16 each time, and a plain product finds every matrix in an order that the kernels do not like. The twin
holds the linear layers' matrices as the search wants them and shares everything else (embeddings, norms, the output
projection in float32) with its original. In bfloat16 it runs under autocast like the original and gives the same
figures, sums and norms in float32.

The price is memory: a second copy of the linear layers, as long as the model lives.
"""

import copy
from typing import Any

import torch
from torch import nn

from genir.models.packed_linear import PackedLinear, can_pack


class SearchTwin:
    """The twin of one network, made when it is first asked for, and again when the network has changed.

    torch counts most changes of a tensor, but not those of fused optimisers or through `.data`; so a number out of every
    tensor is compared as well, and a model drops its twin when it is put into training mode.
    """

    def __init__(self) -> None:
        self._state: Any = None
        self._twin: Any = None

    def of(self, network: nn.Module, bfloat16: bool) -> Any:
        """`network` with linear layers for searching, their matrices in bfloat16 where asked for."""
        state = [bfloat16, *_state_of(network)]
        if self._twin is None or state != self._state:
            self._twin = None  # before the next one takes memory
            self._twin, self._state = _make(network, torch.bfloat16 if bfloat16 else None), state
        return self._twin

    def drop(self) -> None:
        """Forget the twin; the next one is made anew."""
        self._twin = self._state = None


def _state_of(network: nn.Module) -> list[Any]:
    """What tells whether the linear layers have changed: torch's count, and one number of each tensor."""
    layers = [module for module in network.modules() if type(module) is nn.Linear]
    tensors = [tensor.detach() for layer in layers for tensor in (layer.weight, layer.bias) if tensor is not None]
    counted = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    middles = [tensor.reshape(-1)[tensor.numel() // 2].float() for tensor in tensors]
    return [*counted, torch.stack(middles).tolist() if middles else []]


def _make(network: nn.Module, dtype: torch.dtype | None) -> Any:
    shared = {id(parameter): parameter for parameter in network.parameters()}
    twin = copy.deepcopy(network, dict(shared)).eval()
    output = getattr(twin, "get_output_embeddings", lambda: None)()  # its rows are read one by one
    for module in list(twin.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.Linear:
                weight = layer.weight.detach() if dtype is None else layer.weight.detach().to(dtype)
                if layer is not output and can_pack(weight):
                    setattr(module, name, PackedLinear(weight, layer.bias))
                else:
                    layer.weight = nn.Parameter(weight, requires_grad=False)
    return twin
