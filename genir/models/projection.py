"""From hidden states to the logits that a search asks for: of the whole vocabulary, or of the allowed tokens only."""

import torch
from torch import Tensor
from torch.nn import functional as F

from genir.beam_search import check_tokens


def project(hidden: Tensor, weight: Tensor, allowed: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Logits of hidden (..., D) by the output embedding weight (V, D): (..., V); or of hidden (N, D) for the tokens
    `allowed` (N, F): (N, F).

    Few allowed tokens are multiplied alone, and in float32 whatever autocast says: next to the network that is cheap, and
    logits rounded to bfloat16 tie. Raises DataError for a token that the model does not have.
    """
    if allowed is None:
        return F.linear(hidden, weight, bias)
    check_tokens(allowed, len(weight))
    wanted = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    wanted[allowed.flatten()] = True
    rows = wanted.nonzero()[:, 0]
    if 4 * len(rows) > len(weight):
        return F.linear(hidden, weight, bias).gather(1, allowed)
    places = (wanted.cumsum(0) - 1)[allowed]
    with torch.autocast(hidden.device.type, enabled=False):
        few = F.linear(hidden.float(), weight[rows].float(), None if bias is None else bias[rows].float())
    return few.gather(1, places)
