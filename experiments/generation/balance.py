"""Layers a stage by measured time: what a layer and the head cost here, told from one run with nothing overlapping.

The engine's planner counts bytes unless it is told costs. On a processor a layer's attention and its small products cost more than
their bytes say, and a head over a large vocabulary less, so the benchmark measures first, and gives every pipeline the same stages.
"""

from pathlib import Path

from experiments.generation.model import random_prompts
from experiments.generation.peers import OurPeer, alternate, opened
from rag.llama.config import read_config
from rag.llama.engine import EngineOptions
from rag.llama.stages import LayerCosts, StageSlice, plan_stages


def measured_costs(
    folder: Path, dtype: str, micro_batch_size: int, prompt_tokens: int, new_tokens: int, repeats: int = 3
) -> LayerCosts:
    """Seconds of a layer and of the head over a whole run of one micro-batch, from two stages of one thread that take turns.

    The least of `repeats` rounds counts: whatever else a machine does only adds.
    """
    options = EngineOptions(
        stages=2,
        dtype=dtype,
        threads=1,
        micro_batches=1,
        micro_batch_size=micro_batch_size,
        in_flight=1,
        max_running=micro_batch_size,
        prefix_sharing=False,
    )
    prompts = random_prompts(micro_batch_size, prompt_tokens, read_config(folder).vocab_size)
    with opened({"alone": (peer := OurPeer(folder, options))}) as ready:
        timed = alternate(ready, prompts, new_tokens, repeats)["alone"]
        slices = peer.engine.plan.stages
    return costs_of(slices, [min(one.busy[i] for one in timed.statistics) for i in range(2)])


def costs_of(slices: tuple[StageSlice, ...], seconds: list[float]) -> LayerCosts:
    """Two stages' times as a layer's and the head's; looking a row of the embedding up is taken to cost nothing."""
    first, last = slices
    layer = seconds[0] / first.layers
    return LayerCosts(layer, 0.0, max(0.0, seconds[1] - layer * last.layers))


def balanced_layers(folder: Path, stages: int, costs: LayerCosts) -> tuple[int, ...]:
    """Layers a stage that make the slowest as quick as can be."""
    return tuple(part.layers for part in plan_stages(read_config(folder), stages, costs=costs).stages)
