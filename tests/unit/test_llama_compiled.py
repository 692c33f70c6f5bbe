"""The compiled loops beside tensor operations on the same numbers: float32 and bfloat16, MHA to MQA, broken numbers, several threads."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genir.errors import ConfigError
from rag.llama import compiled
from rag.llama.attention import pick_attention
from rag.llama.compiled import best_tokens, paged_attention, rms_norm
from rag.llama.rope import both_halves, rotate

STARTS = (0, 5, 17, 3)
BLOCK = 4
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def some(*shape: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def placed(
    key_heads: int, dtype: torch.dtype, size: int = 8
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Projections of four tokens, a layer of the cache in scattered blocks, the blocks' tables, and positions."""
    heads = some(len(STARTS), 4 + 2 * key_heads, size, seed=1, dtype=dtype)
    layer = some(2 * key_heads, 21 * BLOCK, size, seed=2, dtype=dtype)
    tables = torch.randperm(20, generator=torch.Generator().manual_seed(3)).view(4, 5).numpy()
    return heads, layer, tables, np.array(STARTS)


def turning(positions: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = positions[:, None] * 0.1 ** torch.arange(size // 2)
    return angles.cos(), angles.sin()


def written_out(
    heads: torch.Tensor,
    layer: torch.Tensor,
    tables: np.ndarray,  # type: ignore[type-arg]
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> torch.Tensor:
    """One sequence after the other, its context copied together, in float32."""
    key_heads = layer.shape[0] // 2
    query_heads = heads.shape[1] - 2 * key_heads
    heads = heads.float()
    turned = rotate(heads[:, : query_heads + key_heads], *both_halves(cos, sin, torch.float32))
    seen = []
    for t, start in enumerate(STARTS):
        slots = [int(tables[t][p // BLOCK]) * BLOCK + p % BLOCK for p in range(start)]
        keys = torch.cat([layer[:key_heads, slots].float(), turned[t, query_heads:, None].to(layer.dtype).float()], 1)
        values = torch.cat([layer[key_heads:, slots].float(), heads[t, query_heads + key_heads :, None]], 1)
        group = query_heads // key_heads
        keys, values = keys.repeat_interleave(group, 0), values.repeat_interleave(group, 0)
        query = turned[t, :query_heads, None]
        seen.append(F.scaled_dot_product_attention(query, keys, values)[:, 0])
    return torch.stack(seen)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("key_heads", [4, 2, 1], ids=["MHA", "GQA", "MQA"])
def test_attention_is_what_it_says(dtype: torch.dtype, key_heads: int) -> None:
    heads, layer, tables, starts = placed(key_heads, dtype)
    cos, sin = turning(torch.from_numpy(starts), 8)
    expected = written_out(heads, layer, tables, cos, sin)
    before = layer.clone()
    found = paged_attention(heads, cos, sin, layer, tables, starts, BLOCK)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=CLOSE[dtype], rtol=CLOSE[dtype])
    slots = [int(tables[t][p // BLOCK]) * BLOCK + p % BLOCK for t, p in enumerate(STARTS)]
    turned = rotate(heads[:, 4 : 4 + key_heads].float(), *both_halves(cos, sin, torch.float32)).to(dtype)
    torch.testing.assert_close(layer[:key_heads, slots].transpose(0, 1), turned, atol=1e-6, rtol=CLOSE[dtype])
    assert layer[key_heads:, slots].transpose(0, 1).equal(heads[:, 4 + key_heads :])
    others = [slot for slot in range(layer.shape[1]) if slot not in slots]
    assert layer[:, others].equal(before[:, others])  # and nothing else was written


def test_rows_without_a_token_see_nothing_and_write_nothing() -> None:
    heads, layer, tables, starts = placed(2, torch.float32)
    cos, sin = turning(torch.from_numpy(starts), 8)
    again = layer.clone()
    whole = paged_attention(heads, cos, sin, layer, tables, starts, BLOCK)
    part = paged_attention(heads, cos[:2], sin[:2], again, tables[:2], starts[:2], BLOCK)
    assert part[:2].equal(whole[:2])  # whatever stands beside it
    assert not part[2:].any()


def test_several_threads_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    heads, layer, tables, starts = placed(2, torch.float32)
    cos, sin = turning(torch.from_numpy(starts), 8)
    again, threads = layer.clone(), torch.get_num_threads()
    alone = paged_attention(heads, cos, sin, layer, tables, starts, BLOCK)
    monkeypatch.setattr(compiled, "_LARGE", 1)
    torch.set_num_threads(3)
    try:
        assert paged_attention(heads, cos, sin, again, tables, starts, BLOCK).equal(alone)
    finally:
        torch.set_num_threads(threads)
    assert again.equal(layer)


@pytest.mark.parametrize("dtype", CLOSE)
def test_the_norm(dtype: torch.dtype) -> None:
    x, weight = some(3, 40, seed=4, dtype=dtype), some(40, seed=5, dtype=dtype)
    expected = F.rms_norm(x.float(), (40,), weight.float(), 1e-5)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5).float(), expected, atol=CLOSE[dtype], rtol=CLOSE[dtype])


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", [0, 4, 6], ids=["query", "key", "value"])
def test_what_is_no_number_stays_none(dtype: torch.dtype, broken: float, part: int) -> None:
    """A NaN that a loop swallowed would end no request."""
    heads, layer, tables, starts = placed(2, dtype)
    cos, sin = turning(torch.from_numpy(starts), 8)
    heads[1, part, 3] = broken
    found = paged_attention(heads, cos, sin, layer, tables, starts, BLOCK)
    assert not found[1].isfinite().all()
    assert found[[0, 2, 3]].isfinite().all()
    assert not rms_norm(heads[1], heads[0, 0], 1e-5).isfinite().all()


def test_numbers_that_are_far_apart() -> None:
    """Scores of thousands: the largest takes everything, and nothing overflows."""
    heads, layer, tables, starts = placed(1, torch.float32)
    cos, sin = turning(torch.from_numpy(starts), 8)
    layer[0] *= 3000
    expected = written_out(heads, layer, tables, cos, sin)
    found = paged_attention(heads, cos, sin, layer, tables, starts, BLOCK)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_best_token_is_the_first_of_the_best() -> None:
    scores = some(6, 1000, seed=7, dtype=torch.float32)
    scores[2, [400, 900]] = 9.0
    scores[3] = 1.0
    scores[5, 10:20] = -torch.inf
    assert best_tokens(scores) == (scores.argmax(1).tolist(), True)
    assert best_tokens(scores)[0][2:4] == [400, 0]
    for broken in (float("nan"), float("inf")):
        bad = scores.clone()
        bad[4, 700] = broken
        assert not best_tokens(bad)[1]
    assert not best_tokens(torch.full((1, 5), -torch.inf))[1]


def test_where_it_cannot_run() -> None:
    assert pick_attention("auto", torch.device("cpu"), torch.bfloat16).paged
    assert not pick_attention("auto", torch.device("cpu"), torch.float16).paged
    with pytest.raises(ConfigError, match="attention 'compiled' needs a CPU and float32 or bfloat16, got cpu and"):
        pick_attention("compiled", torch.device("cpu"), torch.float16)
