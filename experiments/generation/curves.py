"""Three curves: time against prompt length, cache bytes against length, utilisation against micro-batches. Each beside its formula."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.generation.balance import balanced_layers, measured_costs
from experiments.generation.model import LlamaShape, random_prompts, save_random_llama
from experiments.generation.peers import OurPeer, alternate, opened
from experiments.generation.ring_simulation import simulate
from genir.protocols import SamplingParams
from rag.llama.config import read_config
from rag.llama.engine import EngineOptions
from rag.llama.stages import draining_utilisation, kv_bytes_per_token, ring_utilisation


@dataclass(frozen=True)
class CurveSizes:
    """Points of the curves, and how often each is repeated."""

    cores: int = 2
    lengths: tuple[int, ...] = (64, 256, 512, 1024, 2048)
    new_tokens: int = 32
    micro_batches: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    micro_batch_size: int = 8
    prompt_tokens: int = 64
    repeats: int = 3


def prompt_length(folder: Path, vocab_size: int, sizes: CurveSizes) -> list[dict[str, Any]]:
    """Seconds of prefill, and of one decode step, against the prompt's length, for SDPA and eager attention; one stage, float32."""
    options = EngineOptions(
        dtype="float32", threads=sizes.cores, max_running=1, prefix_sharing=False, token_budget=max(sizes.lengths)
    )
    peers = {kind: OurPeer(folder, replace(options, attention=kind)) for kind in ("sdpa", "eager")}
    rows: list[dict[str, Any]] = []
    with opened(peers) as ready:
        for length in sizes.lengths:
            timed = alternate(ready, random_prompts(1, length, vocab_size), sizes.new_tokens, sizes.repeats)
            row: dict[str, Any] = {"prompt_tokens": length}
            for kind, one in timed.items():
                prefill = statistics.median(sum(each.prefill_busy) for each in one.statistics)
                decode = statistics.median(sum(each.decode_busy) for each in one.statistics)
                row[f"{kind}_prefill_seconds"] = prefill
                row[f"{kind}_decode_step_seconds"] = decode / max(
                    1, sizes.new_tokens - 1
                )  # prefill wrote the first token
            rows.append(row)
    return rows


def cache_bytes(root: Path, shape: LlamaShape, sizes: CurveSizes) -> list[dict[str, Any]]:
    """Bytes of the blocks that one request of each length holds, for MHA, GQA and MQA, beside the formula."""
    heads = shape.num_attention_heads
    kinds = {"mha": heads, "gqa": max(1, heads // 4), "mqa": 1}
    rows: list[dict[str, Any]] = [{"tokens": length} for length in sizes.lengths]
    for kind, kv_heads in kinds.items():
        folder = save_random_llama(root / kind, replace(shape, num_key_value_heads=kv_heads))
        config = read_config(folder)
        with OurPeer(folder, EngineOptions(dtype="float32", max_running=1, prefix_sharing=False)) as peer:
            for row, length in zip(rows, sizes.lengths, strict=True):
                row[f"{kind}_bytes"] = _held(peer, random_prompts(1, length, shape.vocab_size)[0])
                row[f"{kind}_formula"] = length * kv_bytes_per_token(config, config.num_hidden_layers, 4)
    return rows


def _held(peer: OurPeer, prompt: Sequence[int]) -> int:
    """Bytes of the cache blocks in use once the prompt has been read."""
    request = peer.engine.submit(prompt, SamplingParams(max_new_tokens=2, ignore_eos=True, logprobs=False))
    while not request.tokens:
        peer.engine.step()
    cache = peer.engine.statistics().cache
    held: int = (cache.blocks - cache.free) * (cache.bytes // cache.blocks)
    while peer.engine.has_work:
        peer.engine.step()
    return held


def utilisation(folder: Path, vocab_size: int, sizes: CurveSizes, new_tokens: int) -> dict[str, Any]:
    """Busy share against micro-batches: p = 2 measured and simulated, p = 4 simulated, beside the formulas.

    The simulation takes stage times that were measured with one micro-batch in flight, so that no stage had to share a core, and the
    time between stages from the same run. Four stages on two cores measure the cores, not the schedule: they are never timed so.
    """
    found: dict[str, Any] = {
        "measured": [2],
        "simulated": [2, 4],
        "note": "p = 4 is simulated from measured stage times",
    }
    costs = measured_costs(folder, "float32", sizes.micro_batch_size, sizes.prompt_tokens, new_tokens)
    for stages in (2, 4):
        options = _pipeline(sizes, balanced_layers(folder, stages, costs))
        seconds, hop = _stage_seconds(folder, vocab_size, sizes, options, new_tokens)
        rows = []
        for m in sizes.micro_batches:
            row: dict[str, Any] = {
                "micro_batches": m,
                "ring_formula": ring_utilisation(stages, m, new_tokens),
                "draining_formula": draining_utilisation(stages, m),
                "ring_simulated": _mean(simulate(seconds, m, new_tokens, hop)),
                "draining_simulated": _mean(simulate(seconds, m, new_tokens, hop, drain=True)),
            }
            if stages == 2:
                row["ring_measured"] = _mean(_measured(folder, vocab_size, sizes, options, m, new_tokens))
            rows.append(row)
        found[f"p{stages}"] = {
            "stage_layers": options.layers,
            "stage_seconds": seconds,
            "hop_seconds": hop,
            "rows": rows,
        }
    return found


def _pipeline(sizes: CurveSizes, layers: tuple[int, ...]) -> EngineOptions:
    """Stages of one thread each, one micro-batch."""
    return EngineOptions(
        stages=len(layers),
        layers=layers,
        dtype="float32",
        threads=1,
        micro_batches=1,
        micro_batch_size=sizes.micro_batch_size,
        in_flight=1,
        max_running=sizes.micro_batch_size,
        prefix_sharing=False,
    )


def _stage_seconds(
    folder: Path, vocab_size: int, sizes: CurveSizes, options: EngineOptions, new_tokens: int
) -> tuple[list[float], float]:
    """(seconds of each stage for one token of one micro-batch, seconds between two stages), one micro-batch in flight."""
    with opened({"alone": OurPeer(folder, options)}) as ready:
        prompts = random_prompts(sizes.micro_batch_size, sizes.prompt_tokens, vocab_size)
        timed = alternate(ready, prompts, new_tokens, sizes.repeats)["alone"]
    steps = max(1, new_tokens - 1)  # prefill wrote the first token
    seconds = [statistics.median(one.decode_busy[i] / steps for one in timed.statistics) for i in range(options.stages)]
    hops = [(one.wall - sum(one.busy)) / (max(1, one.micro_batches) * options.stages) for one in timed.statistics]
    return seconds, max(0.0, statistics.median(hops))


def _measured(
    folder: Path, vocab_size: int, sizes: CurveSizes, options: EngineOptions, m: int, new_tokens: int
) -> list[float]:
    count = m * sizes.micro_batch_size
    wanted = replace(options, micro_batches=m, in_flight=m, max_running=count)
    with opened({"ring": OurPeer(folder, wanted)}) as ready:
        prompts = random_prompts(count, sizes.prompt_tokens, vocab_size)
        return alternate(ready, prompts, new_tokens, sizes.repeats)["ring"].utilisation()


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares)
