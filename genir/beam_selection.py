"""Which candidates of a step stay: the k highest of each query, exactly, for the whole batch at once.

Candidates stand in a matrix (N, F): one row a beam, one place a continuation, -inf where there is none. Rows of one
query are adjacent and in the order of their token paths, places in that of their tokens. Ascending (row, place) is
therefore path order, and among equal scores the lower path is the one that stays.
"""

import torch
from torch import Tensor

from genir.allowed_scores import NOTHING
from genir.errors import GenirError

_CHUNK = 64


def places_in(rows: Tensor) -> Tensor:
    """For each entry of an ascending (N,): how many equal ones stand before it."""
    return torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)


def select(scores: Tensor, query: Tensor, k: int) -> Tensor:
    """(row, place) pairs (E, 2), ascending, of the k highest scores (N, F) of each query (N,); -inf is never taken."""
    N, F = scores.shape
    dense = torch.nn.functional.pad(query[1:] != query[:-1], (1, 0)).cumsum(0)
    places = places_in(query)
    Q, widest = int(dense[-1]) + 1, int(places.max()) + 1
    if Q * widest == N:
        grid = scores.view(Q, widest * F)
        first = torch.arange(0, N, widest, device=scores.device)
    else:
        padded = scores.new_full((Q, widest, F), NOTHING)
        padded[dense, places] = scores
        grid = padded.flatten(1)
        first = torch.searchsorted(dense, torch.arange(Q, device=scores.device))
    chosen = _highest(grid, k)
    rows = first[chosen // grid.shape[1]] + chosen % grid.shape[1] // F
    return torch.stack([rows, chosen % F], 1)


def select_diverse(scores: Tensor, query: Tensor, k: int, tokens: Tensor, groups: int, penalty: float) -> Tensor:
    """`select` by diverse beam search (Vijayakumar et al. 2018, algorithm 1, Hamming diversity), k / groups a group.

    Rows (N,) name query * groups + group. Groups choose one after another; a continuation's score is less `penalty` for
    every earlier group's choice of the same token (N, F) at this step. The penalty chooses; it never enters a score.
    """
    used = scores.new_zeros(int(query[-1]) // groups + 1, int(tokens.max()) + 1)
    chosen = []
    for group in range(groups):
        rows = (query % groups == group).nonzero()[:, 0]
        if not len(rows):
            continue
        owners = query[rows] // groups
        lowered = scores[rows] - penalty * used[owners].gather(1, tokens[rows])
        pairs = select(lowered, owners, k // groups)
        written = tokens[rows[pairs[:, 0]], pairs[:, 1]]
        used.index_put_((owners[pairs[:, 0]], written), used.new_ones(()), accumulate=True)
        chosen.append(torch.stack([rows[pairs[:, 0]], pairs[:, 1]], 1))
    together = torch.cat(chosen)
    return together[(together[:, 0] * scores.shape[1] + together[:, 1]).argsort()]


def _highest(scores: Tensor, k: int) -> Tensor:
    """Ascending positions in scores (Q, C), flattened, of the k highest of each row; among equals the leftmost."""
    Q, C = scores.shape
    if k >= C:
        _check(scores)
        return (scores > NOTHING).flatten().nonzero()[:, 0]
    values, places = _topk(scores, k + 1)  # one more than wanted: it tells whether the last place is contested
    _check(values)  # NaN is greater than everything to topk
    if bool(((values[:, -2] == values[:, -1]) & (values[:, -1] > NOTHING)).any()):
        return _leftmost(scores, values[:, -2:-1], k).flatten().nonzero()[:, 0]
    places += torch.arange(0, Q * C, C, device=scores.device)[:, None]
    return places[:, :-1][values[:, :-1] > NOTHING].sort().values


def _topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`scores.topk(k)` of (Q, C), in one pass over wide rows: the k highest lie in the k chunks of the highest maxima."""
    Q, C = scores.shape
    chunks = C // _CHUNK
    if chunks < 4 * k:
        best = scores.topk(k)
        return best.values, best.indices
    whole = scores[:, : chunks * _CHUNK].view(Q, chunks, _CHUNK)
    first = whole.amax(2).topk(k).indices * _CHUNK
    places = (first[..., None] + torch.arange(_CHUNK, device=scores.device)).flatten(1)
    if C % _CHUNK:
        places = torch.cat([places, torch.arange(chunks * _CHUNK, C, device=scores.device).expand(Q, -1)], 1)
    values, chosen = scores.gather(1, places).topk(k)
    return values, places.gather(1, chosen)


def _check(scores: Tensor) -> None:
    if bool(scores.isnan().any()):
        raise GenirError("the model's scores are not numbers (NaN): its weights are broken, or its precision overflows")


def _leftmost(scores: Tensor, threshold: Tensor, k: int) -> Tensor:
    """Mask (Q, C) of the k highest, `threshold` (Q, 1) being the lowest of them: which topk alone does not promise."""
    above = scores > threshold
    level = (scores == threshold) & (scores > NOTHING)
    room = k - above.sum(1, keepdim=True)
    return above | (level & (level.cumsum(1) <= room))
