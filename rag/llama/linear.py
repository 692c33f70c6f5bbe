"""Linear layers as inference wants them: plain, packed for the processor's matrix kernels, or with weights in int8.

Weights are (O, I) as in Hugging Face's files; inputs (T, I), outputs (T, O). On CPUs they are packed (`genir.models.packed_linear`), and
whoever calls them often has FEW_ROWS rows or more, which one product takes as quickly as a single row.

Known gap: torch's int8 kernel is quick for few rows in bfloat16 only. Otherwise int8 saves memory and costs time, because weights are
widened for each product.
"""

import torch
from torch import nn
from torch.nn import functional as F

from genir.models.packed_linear import PackedLinear, can_pack

FEW_ROWS = 4  # oneDNN takes longer for fewer
_INT8_KERNEL_ROWS = 8  # above it, widening the weights once is cheaper than torch's int8 kernel


class PlainLinear(nn.Module):
    """x W^T + b by torch."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (T, I) -> (T, O)."""
        return F.linear(x, self.weight, self.bias)


class KernelLinear(PackedLinear):
    """A packed layer for inputs that need no preparing: a call takes a third of the time of its parent's, and there are many."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(weight, bias)
        self._product = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (T, I) -> (T, O)."""
        if x.shape[0] < FEW_ROWS:
            return super().forward(x)
        product: torch.Tensor = self._product(x, self.packed, self.bias, "none", [], "")
        return product


class Int8Linear(nn.Module):
    """Weights as int8 with one scale an output channel, symmetric: W is about q * scale, |q| <= 127."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
        quantised = (weight.float() / scale[:, None]).round().to(torch.int8)
        self.weight = nn.Parameter(quantised, requires_grad=False)
        self.scale = nn.Parameter(scale.to(weight.dtype), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (T, I) -> (T, O)."""
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.shape[0] <= _INT8_KERNEL_ROWS:
            product = torch._weight_int8pack_mm(x, self.weight, self.scale)
        else:
            product = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return product if self.bias is None else product + self.bias


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None = None, int8: bool = False) -> nn.Module:
    """The quickest layer for this weight where it lies."""
    if int8:
        return Int8Linear(weight, bias)
    return KernelLinear(weight, bias) if can_pack(weight) else PlainLinear(weight, bias)
