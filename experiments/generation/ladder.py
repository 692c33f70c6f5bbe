"""The ladder: from no cache to a full ring, and beside it the engines that others use. Same weights, prompts and number of tokens.

Two stages of one thread each, pinned to a core each, stand against one process of two threads: the same cores. Layers are placed by
measured time, the same in every pipeline (`experiments/generation/balance.py`). `naive` and `ring` differ in one thing, how many
micro-batches may be in flight (1, or all m = 2p; while there are prompts to read, the ring may have a chunk of them beside), so
that their ratio is what overlap is worth; it is taken at micro-batches of 1 and of `micro_batch_size` sequences. Under `prompts`
stands how many requests each figure is of: ratios are of equal ones. Tokens/s count generated tokens over the whole time, prefill
included. Engines that are compared take turns within one run, and medians are divided.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.generation.balance import balanced_layers, measured_costs
from experiments.generation.model import random_prompts
from experiments.generation.peers import HuggingFacePeer, OurPeer, Peer, Timed, VLLMPeer, agreement, alternate, opened
from rag.llama.engine import EngineOptions
from rag.llama.stages import ring_utilisation


@dataclass(frozen=True)
class LadderSizes:
    """How much is run; m = 2 * stages micro-batches."""

    stages: int = 2
    cores: int = 2
    prompt_tokens: int = 64
    new_tokens: int = 64
    micro_batch_size: int = 8
    batch: int = 16
    token_budget: int = (
        128  # prefill tokens a micro-batch: a chunk that takes much longer than a decode step starves the next stage
    )
    repeats: int = 5

    @property
    def micro_batches(self) -> int:
        """m = 2p."""
        return 2 * self.stages


def run_ladder(
    folder: Path, vocab_size: int, dtype: str, sizes: LadderSizes, vllm: str | None = None
) -> dict[str, Any]:
    """All rungs in one precision: `tokens_per_second` of each, the ratios, utilisation, and whether all tokens agree."""

    def prompts_for(count: int) -> list[list[int]]:
        return random_prompts(count, sizes.prompt_tokens, vocab_size, seed=count)

    def measure(peers: Mapping[str, Peer], count: int) -> dict[str, Timed]:
        with opened(peers) as ready:
            return alternate(ready, prompts_for(count), sizes.new_tokens, sizes.repeats)

    m, size = sizes.micro_batches, sizes.micro_batch_size
    layers = None
    if sizes.stages > 1:
        costs = measured_costs(folder, dtype, size, sizes.prompt_tokens, sizes.new_tokens)
        layers = balanced_layers(folder, sizes.stages, costs)
    pipeline = _options(dtype, sizes, stages=sizes.stages, layers=layers)
    alone = {
        "no_cache": OurPeer(folder, replace(pipeline, max_running=1, use_cache=False)),
        "one_by_one": OurPeer(folder, replace(pipeline, max_running=1)),
    }
    groups = {
        "size_1": measure(alone | _overlap(folder, pipeline, m, 1), m),
        f"size_{size}": measure(_overlap(folder, pipeline, m, size), m * size),
        f"batch_{sizes.batch}": measure(_others(folder, pipeline, dtype, sizes, vllm), sizes.batch),
        "single": measure(_single(folder, dtype, sizes, vllm), 1),
    }
    return _figures(groups, sizes) | {"stage_layers": layers}


def _options(dtype: str, sizes: LadderSizes, stages: int, layers: tuple[int, ...] | None = None) -> EngineOptions:
    """All cores for the stages together; no prefix shared between rounds."""
    threads = max(1, sizes.cores // stages)
    return EngineOptions(
        stages=stages,
        dtype=dtype,
        threads=threads,
        layers=layers,
        token_budget=sizes.token_budget,
        prefix_sharing=False,
    )


def _overlap(folder: Path, pipeline: EngineOptions, m: int, size: int) -> dict[str, Peer]:
    """The same micro-batches, one of them in flight or all."""
    both = replace(pipeline, micro_batches=m, micro_batch_size=size, max_running=m * size)
    return {"naive": OurPeer(folder, replace(both, in_flight=1)), "ring": OurPeer(folder, replace(both, in_flight=m))}


def _others(folder: Path, pipeline: EngineOptions, dtype: str, sizes: LadderSizes, vllm: str | None) -> dict[str, Peer]:
    """One batch for everybody."""
    context = sizes.prompt_tokens + sizes.new_tokens
    peers: dict[str, Peer] = {
        "ring": OurPeer(folder, replace(pipeline, max_running=sizes.batch)),
        "one_stage": OurPeer(folder, replace(_options(dtype, sizes, stages=1), max_running=sizes.batch)),
        "hf": HuggingFacePeer(folder, dtype, sizes.cores),
    }
    if HuggingFacePeer.can_batch_continuously():
        peers["hf_continuous"] = HuggingFacePeer(folder, dtype, sizes.cores, continuous=True)
    return peers | ({} if vllm is None else {"vllm": VLLMPeer(vllm, folder, dtype, context)})


def _single(folder: Path, dtype: str, sizes: LadderSizes, vllm: str | None) -> dict[str, Peer]:
    """One request: nothing to overlap, nothing to batch."""
    context = sizes.prompt_tokens + sizes.new_tokens
    peers: dict[str, Peer] = {
        "one_stage": OurPeer(folder, replace(_options(dtype, sizes, stages=1), max_running=1)),
        "hf": HuggingFacePeer(folder, dtype, sizes.cores),
    }
    return peers | ({} if vllm is None else {"vllm": VLLMPeer(vllm, folder, dtype, context)})


def _figures(groups: Mapping[str, Mapping[str, Timed]], sizes: LadderSizes) -> dict[str, Any]:
    """The keys that readers look for, and under `groups` every second behind them."""
    large, batch = f"size_{sizes.micro_batch_size}", f"batch_{sizes.batch}"
    rates = {
        group: {name: timed.facts()["tokens_per_second"] for name, timed in peers.items()}
        for group, peers in groups.items()
    }
    figures: dict[str, Any] = {
        "prompts": _prompts(sizes),
        "no_cache": rates["size_1"]["no_cache"],
        "one_by_one": rates["size_1"]["one_by_one"],
        "naive": rates[large]["naive"],
        "ring": rates[large]["ring"],
        "hf": rates[batch]["hf"],
        "one_stage": rates[batch]["one_stage"],
        "hf_continuous": rates[batch].get("hf_continuous"),
        "ring_over_naive": rates[large]["ring"] / rates[large]["naive"],
        "ring_over_naive_size_1": rates["size_1"]["ring"] / rates["size_1"]["naive"],
        "ring_over_hf": rates[batch]["ring"] / rates[batch]["hf"],
        "one_stage_over_hf": rates[batch]["one_stage"] / rates[batch]["hf"],
        "one_stage_over_hf_single": rates["single"]["one_stage"] / rates["single"]["hf"],
        "utilisation": groups[large]["ring"].utilisation(),
        "utilisation_size_1": groups["size_1"]["ring"].utilisation(),
        "utilisation_naive": groups[large]["naive"].utilisation(),
        "predicted_utilisation": ring_utilisation(sizes.stages, sizes.micro_batches, sizes.new_tokens),
        "cache_waste": groups[large]["ring"].statistics[-1].cache.waste,
    }
    if "vllm" in rates[batch]:
        ours = {group: max(rates[group]["one_stage"], rates[group].get("ring", 0.0)) for group in (batch, "single")}
        figures |= {
            "vllm": rates[batch]["vllm"],
            "ring_over_vllm": rates[batch]["ring"] / rates[batch]["vllm"],
            "best_over_vllm": ours[batch] / rates[batch]["vllm"],
            "one_stage_over_vllm_single": rates["single"]["one_stage"] / rates["single"]["vllm"],
        }
    agreements = {group: _agreements(peers) for group, peers in groups.items()}
    return figures | {
        "identical": all(share == 1 for shares in agreements.values() for share in shares.values()),
        "agreement": agreements,
        "groups": {group: {name: timed.facts() for name, timed in peers.items()} for group, peers in groups.items()},
        "statistics": {
            group: {name: _ours_facts(timed) for name, timed in peers.items() if timed.statistics}
            for group, peers in groups.items()
        },
    }


def _prompts(sizes: LadderSizes) -> dict[str, int]:
    """How many requests the tokens/s at the top are of."""
    few, many = sizes.micro_batches, sizes.micro_batches * sizes.micro_batch_size
    own = {"no_cache": few, "one_by_one": few, "naive": many, "ring": many}
    return own | dict.fromkeys(("hf", "one_stage", "hf_continuous", "vllm"), sizes.batch)


def _agreements(peers: Mapping[str, Timed]) -> dict[str, float]:
    """Share of prompts on which each engine writes what the group's reference does: Hugging Face, or the one without overlap."""
    reference = peers["hf"] if "hf" in peers else peers["naive"]
    return {name: agreement(timed.tokens, reference.tokens) for name, timed in peers.items()}


def _ours_facts(timed: Timed) -> dict[str, Any]:
    last = timed.statistics[-1]
    return {
        "utilisation": timed.utilisation(),
        "micro_batches": statistics.median(one.micro_batches for one in timed.statistics),
        "cache_waste": last.cache.waste,
        "weights_bytes_read": list(last.weights_bytes_read),
    }
