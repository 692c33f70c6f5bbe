"""Which stage runs which layers, what that weighs, and what a schedule can gain: arithmetic, no tensor, no device.

Notation: p stages, m micro-batches, n tokens each micro-batch generates. A draining schedule lets all micro-batches out before the
next token begins and is busy m / (m + p - 1) of the time; a ring lets each in again at once and is busy m n / (m n + p - 1) for
m >= p, and about m / p below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from genir.errors import ConfigError
from rag.llama.config import LlamaConfig


@dataclass(frozen=True, slots=True)
class StageSlice:
    """Layers start to stop - 1; the first stage embeds, the last has norm and head. `cost` is in the unit of the costs given."""

    start: int
    stop: int
    first: bool
    last: bool
    weight_bytes: int
    cost: float

    @property
    def layers(self) -> int:
        """How many."""
        return self.stop - self.start

    def __str__(self) -> str:
        ends = [name for name, there in (("embedding", self.first), ("head", self.last)) if there]
        return ", ".join([f"layers {self.start}-{self.stop - 1}", *ends])


@dataclass(frozen=True, slots=True)
class LayerCosts:
    """Time of one decode step in a layer, the embedding and the head (norm included), in any one unit."""

    layer: float
    embedding: float
    head: float


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The stages in order. `balance` is the mean cost over the slowest stage's: the most that utilisation can be."""

    stages: tuple[StageSlice, ...]

    @property
    def balance(self) -> float:
        """Between 0 and 1."""
        costs = [stage.cost for stage in self.stages]
        return sum(costs) / len(costs) / max(costs)


def layer_parameters(config: LlamaConfig) -> int:
    """Weights of one decoder layer: four attention projections, three of SwiGLU, two norms, biases where there are some."""
    hidden, inner = config.hidden_size, config.intermediate_size
    attention = hidden * config.qkv_size + config.num_attention_heads * config.head_dim * hidden
    biases = config.attention_bias * (config.qkv_size + hidden) + config.mlp_bias * (2 * inner + hidden)
    return attention + 3 * hidden * inner + 2 * hidden + biases


def embedding_parameters(config: LlamaConfig) -> int:
    """Weights of the embedding table."""
    return config.vocab_size * config.hidden_size


def head_parameters(config: LlamaConfig) -> int:
    """Weights of the last norm and the head; a tied head is a copy in the last stage, and counts there."""
    return config.vocab_size * config.hidden_size + config.hidden_size


def layer_channels(config: LlamaConfig) -> int:
    """Outputs of a layer's products: query, key and value; output; gate and up; down. int8 keeps a scale for each."""
    return config.qkv_size + 2 * config.hidden_size + 2 * config.intermediate_size


def slice_bytes(
    config: LlamaConfig, layers: int, first: bool, last: bool, bytes_per_weight: float, int8: bool = False
) -> int:
    """Bytes of the weights of `layers` layers, with the embedding where `first`, with norm and head where `last`.

    Under `int8` a weight of a product takes one byte and each of its output channels a scale; the embedding, norms and biases keep
    `bytes_per_weight`.
    """
    numbers = layers * layer_parameters(config)
    numbers += first * embedding_parameters(config) + last * head_parameters(config)
    if not int8:
        return int(numbers * bytes_per_weight)
    hidden, inner = config.hidden_size, config.intermediate_size
    in_products = layers * (
        hidden * config.qkv_size + config.num_attention_heads * config.head_dim * hidden + 3 * hidden * inner
    )
    in_products += last * config.vocab_size * hidden
    scales = layers * layer_channels(config) + last * config.vocab_size
    return int(in_products + (numbers - in_products + scales) * bytes_per_weight)


def kv_bytes_per_token(config: LlamaConfig, layers: int, bytes_per_value: float) -> int:
    """2 (keys and values) x layers x KV heads x size of a head x bytes of a number."""
    return int(2 * layers * config.num_key_value_heads * config.head_dim * bytes_per_value)


def byte_costs(config: LlamaConfig) -> LayerCosts:
    """Decoding costs what it reads: all weights of a layer and of the head, one row of the embedding."""
    return LayerCosts(layer_parameters(config), config.hidden_size, head_parameters(config))


def plan_stages(
    config: LlamaConfig,
    stages: int,
    bytes_per_weight: float = 2.0,
    costs: LayerCosts | None = None,
    layers: Sequence[int] | None = None,
    int8: bool = False,
) -> StagePlan:
    """Contiguous stages, at least one layer each, whose slowest is as quick as can be (exact, over all partitions).

    `costs` None: bytes read. `int8` as in `slice_bytes`. `layers` gives the number of layers a stage instead. Raises ConfigError
    for more stages than layers, or numbers of layers that do not add up.
    """
    depth = config.num_hidden_layers
    if stages < 1:
        raise ConfigError(f"stages must be at least 1, got {stages}")
    if stages > depth:
        raise ConfigError(
            f"{stages} stages for {depth} layers: a stage needs at least one layer; use at most {depth} stages"
        )
    costs = costs or byte_costs(config)
    if layers is None:
        counts = _best_counts(depth, stages, costs)
    elif len(layers) == stages and sum(layers) == depth and min(layers) >= 1:
        counts = list(layers)
    else:
        raise ConfigError(f"layers {list(layers)}: expected {stages} numbers of at least 1 that add up to {depth}")
    slices, start = [], 0
    for number, count in enumerate(counts):
        first, last = number == 0, number == stages - 1
        weight_bytes = slice_bytes(config, count, first, last, bytes_per_weight, int8)
        slices.append(StageSlice(start, start + count, first, last, weight_bytes, _cost(count, first, last, costs)))
        start += count
    return StagePlan(tuple(slices))


def draining_utilisation(stages: int, micro_batches: int) -> float:
    """Busy share of every stage when the pipeline runs empty after each token: m / (m + p - 1)."""
    return micro_batches / (micro_batches + stages - 1)


def ring_utilisation(stages: int, micro_batches: int, tokens: int) -> float:
    """Busy share when each micro-batch's next token enters as soon as the last stage emits it, filling and draining once.

    A token enters every max(m, p) / m stage times: m n / (n max(m, p) + min(m, p) - 1).
    """
    return micro_batches * tokens / (tokens * max(micro_batches, stages) + min(micro_batches, stages) - 1)


def bandwidth_bound(weight_bytes: float, bandwidth: float) -> float:
    """Most tokens/s of one stream whose every token reads all weights, `bandwidth` in bytes/s."""
    return bandwidth / weight_bytes


def _cost(count: int, first: bool, last: bool, costs: LayerCosts) -> float:
    return count * costs.layer + first * costs.embedding + last * costs.head


def _best_counts(depth: int, stages: int, costs: LayerCosts) -> list[int]:
    """Layers a stage with the least slowest stage; among equals, the most even.

    All layers cost the same, so only the ends differ: what first and last take decides how even the middle can be.
    """
    if stages == 1:
        return [depth]
    best: tuple[tuple[float, float], list[int]] | None = None
    for first in range(1, depth - stages + 2):
        for last in range(1, depth - first - (stages - 2) + 1):
            middle, inner = stages - 2, depth - first - last
            if not middle and inner:
                continue
            counts = [first, *(inner // middle + (i < inner % middle) for i in range(middle)), last]
            each = [_cost(n, i == 0, i == stages - 1, costs) for i, n in enumerate(counts)]
            found = (max(each), sum(cost * cost for cost in each)), counts
            best = found if best is None else min(best, found)
    assert best is not None
    return best[1]
