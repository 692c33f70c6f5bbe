"""How long a layer and the head take here, measured in a fraction of a second on weights of zeros: what the planner balances by.

Bytes alone do not see attention, norms and the calls themselves, which small models feel. The layers that are timed together weigh
more than a processor's cache, because in a stage they do, too.
"""

from time import perf_counter

import torch

from rag.llama.attention import pick_attention
from rag.llama.batch import Choice, MicroBatch
from rag.llama.config import LlamaConfig
from rag.llama.kv_cache import KVCache
from rag.llama.linear import make_linear
from rag.llama.model import Layer, RMSNorm, Stage
from rag.llama.sampling import choose
from rag.llama.stages import LayerCosts, layer_parameters

_BYTES = 1 << 26  # of layers that are timed together


@torch.inference_mode()
def measure_costs(
    config: LlamaConfig,
    dtype: torch.dtype,
    device: torch.device,
    int8: bool = False,
    attention: str = "auto",
    sequences: int = 8,
    context: int = 128,
    repetitions: int = 7,
) -> LayerCosts:
    """Seconds of one decode step of `sequences` sequences behind `context` tokens, the best of some repetitions."""

    def linear(outputs: int, inputs: int) -> torch.nn.Module:
        return make_linear(torch.zeros(outputs, inputs, dtype=dtype, device=device), None, int8)

    def norm() -> RMSNorm:
        return RMSNorm(torch.ones(config.hidden_size, dtype=dtype, device=device), config.rms_norm_eps)

    def layer() -> Layer:
        hidden, heads = config.hidden_size, config.num_attention_heads * config.head_dim
        qkv, output = linear(config.qkv_size, hidden), linear(hidden, heads)
        gate_up, down = linear(2 * config.intermediate_size, hidden), linear(hidden, config.intermediate_size)
        return Layer(config, norm(), qkv, output, norm(), gate_up, down)

    weight = layer_parameters(config) * (1 if int8 else dtype.itemsize)
    count = min(config.num_hidden_layers, max(1, _BYTES // weight))
    head = linear(config.vocab_size, config.hidden_size)
    layers = [layer() for _ in range(count)]
    stage = Stage(config, layers, pick_attention(attention, device, dtype), dtype, device, None, norm(), head)
    blocks = -(-(context + 1) // 16)
    cache = KVCache(config, count, sequences * blocks, 16, dtype, device)
    batch = MicroBatch(0, decode=True)
    for number in range(sequences):
        batch.add([0], context, list(range(number * blocks, (number + 1) * blocks)), Choice())
    x = torch.zeros(sequences, config.hidden_size, dtype=dtype, device=device)
    times = []
    for _ in range(repetitions):
        begin = perf_counter()
        hidden = stage.decode(x, stage.place(batch, cache), cache)
        float(hidden.sum())  # waits for a GPU
        between = perf_counter()
        choose(stage.logits(hidden), [Choice()] * sequences)
        times.append((between - begin, perf_counter() - between))
    in_layers, in_head = (min(column) for column in zip(*times, strict=True))
    return LayerCosts(layer=in_layers / count, embedding=0.0, head=in_head)
