"""The planner: table-tested and against all partitions; and the schedules' formulas against a schedule that is played out."""

from itertools import combinations

import pytest

from genir.errors import ConfigError
from rag.llama.config import LlamaConfig
from rag.llama.stages import (
    LayerCosts,
    bandwidth_bound,
    byte_costs,
    draining_utilisation,
    embedding_parameters,
    head_parameters,
    kv_bytes_per_token,
    layer_parameters,
    plan_stages,
    ring_utilisation,
)

SEVEN_B = LlamaConfig()
SEVENTY_B = LlamaConfig(
    hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8
)


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (SEVEN_B, 6.738),
        (
            LlamaConfig(
                hidden_size=5120,
                intermediate_size=13824,
                num_hidden_layers=40,
                num_attention_heads=40,
                num_key_value_heads=40,
            ),
            13.016,
        ),
        (SEVENTY_B, 68.977),
    ],
    ids=["7B", "13B", "70B"],
)
def test_the_weights_of_llama_2_are_counted(config: LlamaConfig, billions: float) -> None:
    total = config.num_hidden_layers * layer_parameters(config) + embedding_parameters(config) + head_parameters(config)
    assert total / 1e9 == pytest.approx(billions, abs=0.001)
    for stages in (1, 2, 3, 4):
        assert sum(part.weight_bytes for part in plan_stages(config, stages).stages) == 2 * total


def test_the_cache_of_a_token() -> None:
    assert kv_bytes_per_token(SEVEN_B, 32, 2) == 524288
    assert kv_bytes_per_token(SEVENTY_B, 80, 2) == 327680


@pytest.mark.parametrize(
    "costs", [LayerCosts(1, 0, 5.2), LayerCosts(1, 3, 3), LayerCosts(2, 0.5, 0), LayerCosts(1, 0, 40)]
)
@pytest.mark.parametrize("stages", [1, 2, 3, 4, 8])
def test_no_partition_is_better(costs: LayerCosts, stages: int) -> None:
    config = LlamaConfig(num_hidden_layers=8)
    plan = plan_stages(config, stages, costs=costs)

    def slowest(cuts: tuple[int, ...]) -> float:
        counts = [b - a for a, b in zip((0, *cuts), (*cuts, 8), strict=True)]
        return max(
            n * costs.layer + (i == 0) * costs.embedding + (i == stages - 1) * costs.head for i, n in enumerate(counts)
        )

    assert max(part.cost for part in plan.stages) == min(
        slowest(cuts) for cuts in combinations(range(1, 8), stages - 1)
    )
    assert [part.start for part in plan.stages] == [0, *(part.stop for part in plan.stages[:-1])]
    assert plan.stages[-1].stop == 8
    assert [part.first for part in plan.stages] == [True] + [False] * (stages - 1)
    assert [part.last for part in plan.stages] == [False] * (stages - 1) + [True]
    assert 0 < plan.balance <= 1


def test_a_large_head_takes_layers_from_its_stage() -> None:
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
    )
    first, last = plan_stages(config, 2, costs=byte_costs(config)).stages
    assert (first.layers, last.layers) == (7, 1)
    assert str(last) == "layers 7-7, head"
    assert [part.layers for part in plan_stages(config, 2, layers=(4, 4)).stages] == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 33}, "33 stages for 32 layers: a stage needs at least one layer; use at most 32 stages"),
        ({"stages": 0}, "stages must be at least 1, got 0"),
        ({"stages": 2, "layers": (31, 0)}, "expected 2 numbers of at least 1 that add up to 32"),
    ],
)
def test_impossible_plans_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_stages(SEVEN_B, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("micro_batches", [1, 2, 3, 4, 8])
def test_the_ring_formula_is_a_schedule_played_out(stages: int, micro_batches: int) -> None:
    """Each stage takes 1; a micro-batch's next token enters when its last one has left, if the first stage is free."""
    tokens = 10
    free = [0] * stages
    out = [0] * micro_batches
    for _ in range(tokens):
        for m in range(micro_batches):
            at = out[m]
            for stage in range(stages):
                at = free[stage] = max(at, free[stage]) + 1
            out[m] = at
    played = micro_batches * tokens / max(out)
    assert ring_utilisation(stages, micro_batches, tokens) == pytest.approx(played)
    assert draining_utilisation(stages, micro_batches) <= played + 1e-9


def test_the_bandwidth_bound() -> None:
    assert bandwidth_bound(2 * 6.738e9, 2.039e12) == pytest.approx(151.3, abs=0.1)
