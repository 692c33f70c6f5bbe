"""What a LLaMA model needs and can reach over p pipeline stages, from its shape alone: no weights are read.

Memory is counted a stage: its weights, and a KV cache in what is left of `memory` after the reserve. The idle share is that of a
schedule that drains after every token, (p-1)/(m+p-1), beside the ring's, (p-1)/(mT+p-1), for m micro-batches and T new tokens. The
bound of tokens/s is the memory's: every step of a stage reads that stage's weights and its requests' caches once, and no step is
faster than its bytes at full bandwidth. Each stage is taken to have a memory of its own, as GPUs have.

Known gaps: activations are the reserve, not counted; the bound knows neither arithmetic nor the links between stages.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from experiments.generation.llm_shapes import find_shape
from genir.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from rag.llama.config import LlamaConfig

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_COPY_BYTES = 1 << 28  # of the tensor whose copying measures the bandwidth: far beyond any cache


@dataclass(frozen=True)
class Wish:
    """What is planned for. `memory` and `bandwidth` (bytes, bytes/s) are one stage's; None takes the default that the command names."""

    stages: int
    memory: float
    context: int | None = None
    batch: int | None = None
    micro_batches: int | None = None
    new_tokens: int = 256
    dtype: str = "auto"
    int8: bool = False
    reserve: float = 0.1
    bandwidth: float | None = None
    device: str = "auto"

    @property
    def usable(self) -> float:
        """Bytes of a stage for weights and cache."""
        return self.memory * (1 - self.reserve)


@dataclass(frozen=True)
class StageNeed:
    """One stage: what it runs, weighs, reads for a token, caches, and how many whole requests it has room for. All in bytes."""

    stage: int
    layers: str
    weight_bytes: int
    read_bytes_per_token: int
    cache_bytes_per_token: int
    cache_bytes_per_request: int
    requests: int


def make_plan(model: str, wish: Wish) -> dict[str, Any]:
    """The whole plan as plain figures (bytes, seconds, shares). Raises ConfigError where the memory does not suffice."""
    config = find_shape(model)
    dtype = config.dtype if wish.dtype == "auto" else wish.dtype
    if dtype not in _BYTES:
        raise unknown_name("dtype", dtype, ["auto", *_BYTES])
    context = wish.context or config.max_position_embeddings
    if context > config.max_position_embeddings:
        raise ConfigError(
            f"--context {context}: {model} has {config.max_position_embeddings} positions; ask for at most these"
        )
    needs = stage_needs(config, wish, _BYTES[dtype], context)
    _check_memory(needs, wish, context)
    fit = min(need.requests for need in needs)
    batch = wish.batch or fit
    if batch > fit:
        raise ConfigError(
            f"--batch {batch}: the cache holds {fit} requests of {context} tokens; lower it, or --context"
        )
    in_flight = min(batch, wish.micro_batches or (1 if wish.stages == 1 else 2 * wish.stages))
    bandwidth = wish.bandwidth or measured_bandwidth(wish.device)
    return {
        "model": model,
        "parameters": parameters(config),
        "dtype": "int8" if wish.int8 else dtype,
        "stages": [asdict(need) for need in needs],
        "context": context,
        "requests_that_fit": fit,
        "batch": batch,
        "micro_batches": in_flight,
        "new_tokens": wish.new_tokens,
        "bubble": bubbles(wish.stages, in_flight, wish.new_tokens),
        "bandwidth": {
            "bytes_per_second": bandwidth,
            "source": "given" if wish.bandwidth else "measured by a copy here",
        },
        "tokens_per_second_bound": bounds(needs, batch, in_flight, bandwidth),
        "memory": {"bytes": wish.memory, "reserve": wish.reserve},
    }


def stage_needs(config: "LlamaConfig", wish: Wish, bytes_per_value: int, context: int) -> list[StageNeed]:
    """What each stage holds, and how many whole requests its memory has room for beside its weights."""
    from rag.llama.stages import embedding_parameters, kv_bytes_per_token, plan_stages

    needs = []
    for number, part in enumerate(plan_stages(config, wish.stages, bytes_per_value, int8=wish.int8).stages):
        per_token = kv_bytes_per_token(config, part.layers, bytes_per_value)
        room = wish.usable - part.weight_bytes
        needs.append(
            StageNeed(
                stage=number,
                layers=str(part),
                weight_bytes=part.weight_bytes,
                # A token looks up one row of the embedding and reads everything else.
                read_bytes_per_token=part.weight_bytes - part.first * embedding_parameters(config) * bytes_per_value,
                cache_bytes_per_token=per_token,
                cache_bytes_per_request=per_token * context,
                requests=max(0, int(room // (per_token * context))),
            )
        )
    return needs


def bubbles(stages: int, micro_batches: int, new_tokens: int) -> dict[str, float]:
    """Idle share of a schedule that drains after every token, and of the ring."""
    from rag.llama.stages import draining_utilisation, ring_utilisation

    return {
        "draining": 1 - draining_utilisation(stages, micro_batches),
        "ring": 1 - ring_utilisation(stages, micro_batches, new_tokens),
    }


def bounds(needs: Sequence[StageNeed], batch: int, in_flight: int, bandwidth: float) -> dict[str, float]:
    """Tokens/s that the memory allows: one stream with an empty cache, and `batch` requests with full caches in the ring."""
    from rag.llama.stages import bandwidth_bound

    size = -(-batch // in_flight)
    steps = [(need.read_bytes_per_token + size * need.cache_bytes_per_request) / bandwidth for need in needs]
    return {
        "one_stream": bandwidth_bound(sum(need.read_bytes_per_token for need in needs), bandwidth),
        # Either the slowest stage is always busy, or every micro-batch is always under way.
        "batch": min(size / max(steps), batch / sum(steps)),
    }


def parameters(config: "LlamaConfig") -> int:
    """How many weights the model has; a tied head has none of its own."""
    from rag.llama.stages import embedding_parameters, head_parameters, layer_parameters

    tied = config.tie_word_embeddings * embedding_parameters(config)
    layers = config.num_hidden_layers * layer_parameters(config)
    return layers + embedding_parameters(config) + head_parameters(config) - tied


def _check_memory(needs: Sequence[StageNeed], wish: Wish, context: int) -> None:
    """Raise ConfigError, in one line that says what would do, where the weights or one request have no room."""
    have = f"{gigabytes(wish.memory)} less a reserve of {wish.reserve:.0%} are {gigabytes(wish.usable)}"
    for need in needs:
        where = f"stage {need.stage} of {wish.stages}"
        if need.weight_bytes > wish.usable:
            raise ConfigError(
                f"too little memory: the weights of {where} take {gigabytes(need.weight_bytes)}, but {have}; give more --stages, "
                "more --memory, or --int8"
            )
        if need.requests == 0:
            whole = need.weight_bytes + need.cache_bytes_per_request
            raise ConfigError(
                f"too little memory for one request of {context} tokens: {where} needs {gigabytes(whole)}, but {have}; give more "
                "--stages, more --memory, or a smaller --context"
            )


def parse_bytes(text: str, option: str) -> float:
    """24GB, 24GiB, 1.5TB/s or plain bytes as a number; GB is 10^9, GiB is 2^30. Raises ConfigError otherwise."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?(?:/s)?\s*", text, re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise ConfigError(f"{option} {text!r}: expected a size like 24GB, 24GiB or 500MB")
    return float(found[1]) * _UNITS[(found[2] or "").lower()]


def gigabytes(count: float) -> str:
    """Bytes as people read them, in powers of ten."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def measured_bandwidth(device: str = "auto", size: int = _COPY_BYTES, repeats: int = 5) -> float:
    """Bytes/s that a copy of `size` bytes moves, read and written both counted; the best of `repeats`."""
    import torch

    from genir.devices import pick_device

    place = pick_device(device)
    source = torch.ones(size, dtype=torch.uint8, device=place)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one touches the pages
        started = time.perf_counter()
        target.copy_(source)
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        best = min(best, time.perf_counter() - started)
    return 2 * size / best


def print_plan(plan: dict[str, Any]) -> None:
    """Two tables: the stages, and what they reach together."""
    from experiments.tables import show, show_facts

    shown = [
        {key: gigabytes(value) if "bytes" in key else value for key, value in row.items()} for row in plan["stages"]
    ]
    headings = {
        **{"stage": "stage", "layers": "layers", "weight_bytes": "weights", "cache_bytes_per_token": "cache a token"},
        **{"cache_bytes_per_request": "cache a request", "requests": "requests that fit"},
    }
    title = f"{plan['model']}, {plan['parameters'] / 1e9:.2f} B parameters, {plan['dtype']}, context {plan['context']}"
    show(shown, headings, title=title)
    bubble, bound, bandwidth = plan["bubble"], plan["tokens_per_second_bound"], plan["bandwidth"]
    show_facts(
        {
            "requests that fit": plan["requests_that_fit"],
            "requests at once": plan["batch"],
            "micro-batches in flight": plan["micro_batches"],
            "idle, draining after every token": f"{bubble['draining']:.1%}",
            f"idle, ring, {plan['new_tokens']} tokens": f"{bubble['ring']:.2%}",
            f"bandwidth of a stage, {bandwidth['source']}": f"{gigabytes(bandwidth['bytes_per_second'])}/s",
            "bound of one stream, tokens/s": round(bound["one_stream"], 1),
            "bound of the batch, full contexts, tokens/s": round(bound["batch"], 1),
        }
    )
