"""Linear layers for inference on a CPU, their weights laid out for oneDNN's matrix kernels once.

Weights are (O, I) as in Hugging Face's files. torch's plain product reads a row-major matrix in an order that the kernel
does not like: packed, float32 is 1.1 to 1.4 times as fast for many rows and about twice for ten; bfloat16 gains less.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PACK_ROWS = (
    16  # the batch that oneDNN chooses its layout for; it serves 4 rows and more alike, 1 is a layout of its own
)
_FEWEST_ROWS = 4  # oneDNN takes up to half as long again for one to three rows as for four


class PackedLinear(nn.Module):
    """x W^T + b, in the weight's precision whatever autocast says."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _PACK_ROWS)
        self.bias = None if bias is None else bias.detach().to(weight.dtype)
        self.weight = weight.new_empty(0)  # some networks ask for its dtype

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., I) -> (..., O)."""
        rows = x.reshape(-1, x.shape[-1]).to(self.weight.dtype)
        missing = max(0, _FEWEST_ROWS - len(rows))
        padded = F.pad(rows, (0, 0, 0, missing)) if missing else rows
        product: Tensor = torch.ops.mkldnn._linear_pointwise(padded, self.packed, self.bias, "none", [], "")
        return product[: len(rows)].view(*x.shape[:-1], product.shape[-1])


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN is there and takes such a weight."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not available:
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
