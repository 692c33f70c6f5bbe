"""A network's twin for searching in bfloat16: its matrices rounded once, not at every call.

Autocast rounds every float32 matrix to bfloat16 each time it is used. While training that is what one wants; a search
calls the decoder a few times for each batch and would pay for the rounding every time. The twin holds the matrices of
all linear layers in bfloat16 and shares everything else (embeddings, norms) with its original, so that sums and norms
stay in float32. It runs under autocast like the original, and gives the same figures.
"""

import copy
from typing import Any

import torch
from torch import nn


class LowPrecisionCopy:
    """The twin of one network, made when it is first asked for, and again when the network has changed."""

    def __init__(self) -> None:
        self._state: Any = None
        self._twin: Any = None

    def of(self, network: nn.Module) -> Any:
        """`network` with the matrices of its linear layers in bfloat16."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in network.parameters()]
        if self._twin is None or state != self._state:
            matrices = {id(module.weight) for module in network.modules() if isinstance(module, nn.Linear)}
            shared = {id(parameter): parameter for parameter in network.parameters() if id(parameter) not in matrices}
            tied = {id(m.weight): m.weight for m in network.modules() if isinstance(m, nn.Embedding)}
            twin = copy.deepcopy(network, shared | tied)
            for module in twin.modules():
                if isinstance(module, nn.Linear):
                    module.weight = nn.Parameter(module.weight.detach().to(torch.bfloat16), requires_grad=False)
            self._twin, self._state = twin.eval(), state
        return self._twin
