"""Linear layers as inference wants them: plain, packed for the processor's matrix kernels, or with weights in int8.

Weights are (O, I) as in Hugging Face's files; inputs (T, I), outputs (T, O). On CPUs oneDNN's packed layout runs small batches
about twice as fast as torch's plain product: the pages of a row-major matrix are read in an order that the kernel does not like.

Known gap: torch's int8 kernel is quick for few rows in bfloat16 only. Otherwise int8 saves memory and costs time, because weights are
widened for each product.
"""

import torch
from torch import nn
from torch.nn import functional as F

_PACK_ROWS = 16  # the batch that oneDNN chooses its layout for; it serves 4 to 256 rows alike, 1 is a layout of its own
_FEWEST_ROWS = 4  # oneDNN takes up to half as long again for one to three rows as for four
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


class PackedLinear(nn.Module):
    """The same through oneDNN, its weights reordered once."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACK_ROWS)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (T, I) -> (T, O)."""
        rows = x.shape[0]
        if rows < _FEWEST_ROWS:
            x = F.pad(x, (0, 0, 0, _FEWEST_ROWS - rows))
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return product[:rows]


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
    return PackedLinear(weight, bias) if _can_pack(weight) else PlainLinear(weight, bias)


def _can_pack(weight: torch.Tensor) -> bool:
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not available:
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
