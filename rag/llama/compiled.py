"""A decode step's small work on a CPU as compiled loops (numba): RMSNorm, and attention that reads the paged cache where it lies.

With tensor operations a layer takes forty of them for one token a sequence, copies every context together and pads it; here it is two
calls, and a sequence's result depends on no neighbour. Numbers come as bits: float32 as uint32 with `shift` 0, bfloat16 as uint16 with
`shift` 16, since a bfloat16 is a float32's upper half. Sums are float32; what is stored is rounded once, to nearest even.

Import it late: numba takes half a second. `prepare` compiles (seconds; later processes read numba's cache on disk).

Known gap: float16 and GPUs are served by tensor operations (`rag.llama.attention`).

Shape letters: T tokens, one a sequence; E hidden size; H query heads, KV key/value heads, D size of a head; N blocks of a context.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch

F = TypeVar("F", bound=Callable[..., Any])

# What lets sums be taken in any order; not what would let NaN be assumed away, because NaN has to be seen.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
_f32, _u32, _i32 = np.float32, np.uint32, np.int32
_LARGE = 1 << 15  # positions times query heads from which on a step is worth dealing out to several threads


def _inlined(function: F) -> F:
    return cast(F, numba.njit(inline="always", fastmath=_FAST)(function))


def _compiled(function: F) -> F:
    return cast(F, numba.njit(cache=True, nogil=True, fastmath=_FAST)(function))


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / rms(x) * weight (Zhang and Sennrich 2019). Shape (T, E) -> (T, E)."""
    out = torch.empty_like(x)
    bits, shift = _bits(x)
    _norm(bits, _bits(weight)[0], _f32(eps), shift, _bits(out)[0])
    return out


def paged_attention(
    heads: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    layer: torch.Tensor,
    tables: np.ndarray[Any, np.dtype[np.int64]],
    starts: np.ndarray[Any, np.dtype[np.int64]],
    block_size: int,
) -> torch.Tensor:
    """What each query sees (R, H, D); the new keys and values go into the cache on the way. Rows behind the T tokens see nothing: 0.

    `heads` (R, H + 2 KV, D) not turned yet, R >= T; `cos` and `sin` (T, D/2) float32 of each token's position `starts` (T,); `layer` is one
    layer of the cache (2 KV, slots, D), `tables` (T, N) the blocks of each context, the new token's included.
    """
    tokens, query_heads = len(starts), heads.shape[1] - layer.shape[0]
    out = heads.new_empty(len(heads), query_heads, heads.shape[2])
    out[tokens:] = 0
    bits, shift = _bits(heads)
    arrays = bits, cos.numpy(), sin.numpy(), _bits(layer)[0], tables, starts, block_size, shift, _bits(out)[0]
    threads = min(torch.get_num_threads(), tokens)
    if threads == 1 or int(starts.sum()) * query_heads < _LARGE:
        _attend(*arrays, 0, tokens)
        return out
    cuts = [tokens * part // threads for part in range(threads + 1)]
    others = [_pool(threads - 1).submit(_attend, *arrays, cuts[i], cuts[i + 1]) for i in range(1, threads)]
    _attend(*arrays, 0, cuts[1])
    for other in others:
        other.result()
    return out


def best_tokens(scores: torch.Tensor) -> tuple[list[int], bool]:
    """(the first best token of each row, whether all best scores are numbers and none is NaN) of scores (S, V), float32."""
    best = np.empty(len(scores), np.int64)
    good = _best(scores.numpy(), best)
    tokens: list[int] = best.tolist()
    return tokens, bool(good)


def prepare(dtype: torch.dtype) -> None:
    """Compile, or read what an earlier process compiled: seconds that no request shall wait for."""
    one = torch.ones(1, 2, dtype=dtype)
    rms_norm(one, one[0], 1e-5)
    best_tokens(one.float())
    zeros, turn = np.zeros((1, 1), np.int64), torch.zeros(1, 1)
    paged_attention(one.new_ones(1, 3, 2), turn, turn, one.new_ones(2, 1, 2), zeros, zeros[0], 1)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")


def _bits(numbers: torch.Tensor) -> tuple[np.ndarray[Any, Any], np.uint32]:
    """The same memory as integers, and how far their bits stand below a float32's."""
    if numbers.dtype == torch.float32:
        return numbers.numpy().view(np.uint32), _u32(0)
    return numbers.view(torch.int16).numpy().view(np.uint16), _u32(16)


@_inlined
def _wide(bits: Any, shift: Any) -> Any:
    return _u32(_u32(bits) << shift).view(_f32)


@_inlined
def _narrow(number: Any, shift: Any) -> Any:
    """Bits of a number, rounded to nearest even where the lower half is lost; NaN stays NaN."""
    bits = _f32(number).view(_u32)
    if shift and number == number:
        bits = _u32(bits + _u32(0x7FFF) + (_u32(bits >> _u32(16)) & _u32(1)))
    return _u32(bits >> shift)


@_inlined
def _exp(x: Any) -> Any:
    """e ** x for x <= 0 to two units in the last place (Cephes' expf), in a form that vectorises; NaN stays NaN."""
    if x < _f32(-87.0):
        x = _f32(-87.0)
    n = np.floor(x * _f32(1.44269504) + _f32(0.5))
    r = x - n * _f32(0.693359375) + n * _f32(2.12194440e-4)
    p = _f32(1.9875691500e-4)
    p = p * r + _f32(1.3981999507e-3)
    p = p * r + _f32(8.3334519073e-3)
    p = p * r + _f32(4.1665795894e-2)
    p = p * r + _f32(1.6666665459e-1)
    p = p * r + _f32(5.0000001201e-1)
    power = _u32(_u32(_i32(n) + _i32(127)) << _u32(23)).view(_f32)
    return (p * r * r + r + _f32(1.0)) * power


@_compiled
def _norm(x: Any, weight: Any, eps: Any, shift: Any, out: Any) -> None:
    tokens, size = x.shape
    for t in range(tokens):
        square = _f32(0.0)
        for e in range(size):
            number = _wide(x[t, e], shift)
            square += number * number
        factor = _f32(1.0) / np.sqrt(square / _f32(size) + eps)
        for e in range(size):
            out[t, e] = _narrow(_wide(x[t, e], shift) * factor * _wide(weight[e], shift), shift)


@_compiled
def _best(scores: Any, best: Any) -> Any:
    """In two passes: a maximum over lanes is vectorised, its place is not. NaN compares false with everything, so it is looked for."""
    rows, size = scores.shape
    highest, broken, good = np.empty(64, _f32), np.empty(64, _f32), True
    for s in range(rows):
        highest[:], broken[:] = -np.inf, 0.0
        for first in range(0, size - size % 64, 64):
            for lane in range(64):
                score = scores[s, first + lane]
                highest[lane] = score if score > highest[lane] else highest[lane]
                broken[lane] += _f32(0.0) if score == score else _f32(1.0)
        for v in range(size - size % 64, size):
            highest[0] = scores[s, v] if scores[s, v] > highest[0] else highest[0]
            broken[0] += _f32(0.0) if scores[s, v] == scores[s, v] else _f32(1.0)
        most, place = highest.max(), 0
        while place < size - 1 and scores[s, place] != most:
            place += 1
        best[s] = place
        good = good and np.isfinite(most) and broken.sum() == _f32(0.0)
    return good


@_compiled
def _attend(
    heads: Any,
    cos: Any,
    sin: Any,
    layer: Any,
    tables: Any,
    starts: Any,
    block: int,
    shift: Any,
    out: Any,
    begin: int,
    end: int,
) -> None:
    """Tokens `begin` to `end` - 1: turn and store the key, store the value, then softmax(q K^T / sqrt(D)) V block by block."""
    key_heads, query_heads, size = layer.shape[0] // 2, out.shape[1], out.shape[2]
    half, group = size // 2, query_heads // key_heads
    scale = _f32(1.0) / np.sqrt(_f32(size))
    query, seen = np.empty(size, _f32), np.empty(size, _f32)
    shares = np.empty(tables.shape[1] * block, _f32)
    for t in range(begin, end):
        length = starts[t] + 1
        slot = tables[t, starts[t] // block] * block + starts[t] % block
        for k in range(key_heads):
            for d in range(half):
                a, b = _wide(heads[t, query_heads + k, d], shift), _wide(heads[t, query_heads + k, d + half], shift)
                layer[k, slot, d] = _narrow(a * cos[t, d] - b * sin[t, d], shift)
                layer[k, slot, d + half] = _narrow(b * cos[t, d] + a * sin[t, d], shift)
            for d in range(size):
                layer[key_heads + k, slot, d] = heads[t, query_heads + key_heads + k, d]
        for h in range(query_heads):
            k = h // group
            for d in range(half):
                a, b = _wide(heads[t, h, d], shift), _wide(heads[t, h, d + half], shift)
                query[d] = (a * cos[t, d] - b * sin[t, d]) * scale
                query[d + half] = (b * cos[t, d] + a * sin[t, d]) * scale
            best = _f32(-np.inf)
            for first in range(0, length, block):
                base = tables[t, first // block] * block - first
                for c in range(first, min(first + block, length)):
                    score = _f32(0.0)
                    for d in range(size):
                        score += query[d] * _wide(layer[k, base + c, d], shift)
                    shares[c] = score
                    if score > best:
                        best = score
            total = _f32(0.0)
            for c in range(length):
                shares[c] = _exp(shares[c] - best)
                total += shares[c]
            seen[:] = _f32(0.0)
            for first in range(0, length, block):
                base = tables[t, first // block] * block - first
                for c in range(first, min(first + block, length)):
                    for d in range(size):
                        seen[d] += shares[c] * _wide(layer[key_heads + k, base + c, d], shift)
            for d in range(size):
                out[t, h, d] = _narrow(seen[d] / total, shift)
