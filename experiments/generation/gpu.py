"""On a GPU: how near one stream comes to the memory's speed, and throughput against Hugging Face. Needs CUDA; says so where there is none.

The share is bytes that a token must read (all weights but the embedding's rows) times tokens/s of decoding, over the bandwidth of a
large copy measured in the same run.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.generation.llm_plan import measured_bandwidth
from experiments.generation.model import LLAMA_2_7B, LlamaShape, random_prompts, save_random_llama
from experiments.generation.peers import HuggingFacePeer, OurPeer, Peer, Tokens, agreement, alternate, opened
from genir.errors import GenirError
from genir.protocols import SamplingParams
from rag.llama.config import read_config
from rag.llama.engine import EngineOptions
from rag.llama.stages import embedding_parameters, kv_bytes_per_token, plan_stages

DTYPE = "bfloat16"
_BYTES = 2


@dataclass(frozen=True)
class GPUSizes:
    """What is run on the GPU."""

    shape: LlamaShape = LLAMA_2_7B
    streams: tuple[int, ...] = (1, 8, 32, 128)
    prompt_tokens: int = 128
    new_tokens: int = 128
    repeats: int = 3


def run_gpu(sizes: GPUSizes) -> dict[str, Any]:
    """Both tables, or {"skipped": why}."""
    import torch

    if not torch.cuda.is_available():
        return {"skipped": "no CUDA device here"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_random_llama(Path(scratch) / "model", sizes.shape, DTYPE)
        return {
            "device": torch.cuda.get_device_name(),
            "dtype": DTYPE,
            "copy_bytes_per_second": (bandwidth := measured_bandwidth("cuda", 1 << 30)),
            "single_stream": single_stream(folder, sizes, bandwidth),
            "streams": throughput(folder, sizes),
        }


def single_stream(folder: Path, sizes: GPUSizes, bandwidth: float) -> dict[str, float]:
    """Decoding alone: the time from the first token to the last."""
    config = read_config(folder)
    [whole] = plan_stages(config, 1, bytes_per_weight=_BYTES).stages
    read = whole.weight_bytes - embedding_parameters(config) * _BYTES
    params = SamplingParams(max_new_tokens=sizes.new_tokens, ignore_eos=True, logprobs=False)
    seconds = []
    with OurPeer(folder, _options(folder, sizes, 1)) as peer:
        for turn in range(sizes.repeats + 1):
            request = peer.engine.submit(
                random_prompts(1, sizes.prompt_tokens, sizes.shape.vocab_size, turn)[0], params
            )
            while not request.tokens:
                peer.engine.step()
            started, written = time.perf_counter(), len(request.tokens)
            while peer.engine.has_work:
                peer.engine.step()
            seconds.append((time.perf_counter() - started) / (len(request.tokens) - written))
    step = statistics.median(seconds[1:])  # the first round warms up
    return {
        "decode_tokens_per_second": 1 / step,
        "bytes_read_per_token": read,
        "share_of_copy_bandwidth": read / step / bandwidth,
    }


def throughput(folder: Path, sizes: GPUSizes) -> list[dict[str, Any]]:
    """Generated tokens/s, prefill included, at each number of streams; the engines take turns."""
    rows = []
    for streams in sizes.streams:
        peers: dict[str, Peer] = {
            "ours": OurPeer(folder, _options(folder, sizes, streams)),
            "hf": HuggingFacePeer(folder, DTYPE, threads=4, device="cuda"),
            "hf_continuous": HuggingFacePeer(folder, DTYPE, threads=4, continuous=True, device="cuda"),
        }
        row: dict[str, Any] = {"streams": streams}
        prompts = random_prompts(streams, sizes.prompt_tokens, sizes.shape.vocab_size)
        tokens: dict[str, Tokens] = {}
        for pair in (("ours", "hf"), ("ours", "hf_continuous")):  # two at a time: three 7B models need too much
            try:
                with opened({name: peers[name] for name in pair}) as ready:
                    timed = alternate(ready, prompts, sizes.new_tokens, sizes.repeats)
            except (GenirError, RuntimeError) as error:
                row[f"{pair[1]}_error"] = str(error).splitlines()[0]
                continue
            rates = {name: one.facts()["tokens_per_second"] for name, one in timed.items()}
            row.setdefault("ours", rates["ours"])
            row[pair[1]] = rates[pair[1]]
            row[f"ours_over_{pair[1]}"] = rates["ours"] / rates[pair[1]]
            tokens |= {name: one.tokens for name, one in timed.items()}
        if {"ours", "hf"} <= tokens.keys():
            row["agreement_with_hf"] = agreement(tokens["ours"], tokens["hf"])
        rows.append(row)
    return rows


def _options(folder: Path, sizes: GPUSizes, streams: int) -> EngineOptions:
    """A cache for `streams` requests of the benchmark's length, one block to spare each."""
    config = read_config(folder)
    tokens = streams * (sizes.prompt_tokens + sizes.new_tokens + 32)
    return EngineOptions(
        dtype=DTYPE,
        device="cuda",
        max_running=streams,
        prefix_sharing=False,
        token_budget=2048,
        cache_bytes=tokens * kv_bytes_per_token(config, config.num_hidden_layers, _BYTES),
    )
