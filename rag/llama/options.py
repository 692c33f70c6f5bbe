"""How the engine runs, and what follows from it: which stage runs which layers, how many blocks its budget holds, its set-up."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from genir.errors import ConfigError
from rag.llama.config import LlamaConfig
from rag.llama.costs import measure_costs
from rag.llama.runner import StageSetup
from rag.llama.scheduler import Limits
from rag.llama.stages import StagePlan, kv_bytes_per_token, plan_stages
from rag.llama.weights import pick_dtype

FULL_ROWS = 8  # sequences that a micro-batch should have before there are more than one a stage
_MOST_CACHE = 1 << 30  # bytes a stage, where no budget is given


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs. Sizes in tokens, memory in bytes, times in seconds; None lets the engine choose.

    `micro_batches` m: a decode step takes running / m sequences, at most `micro_batch_size`. None is two a stage, so that one always
    waits in front of each; while that would leave fewer than FULL_ROWS sequences in one, they are larger, down to one a stage, because
    few rows read as many weights. `in_flight`: how many may be under way, None is m; 1 is the naive pipeline. `cache_bytes` is the
    budget of one stage; None holds `max_running` whole contexts, in at most 1 GiB. `front`: "" starts the stages here, HOST:PORT
    awaits stages that torchrun starts. `layers`: layers a stage instead of the planner's, which balances "bytes" or measured "time".
    `cuda_graphs`: decode steps are captured once and replayed; GPUs only. `pin_cores`: where the stages' threads are as many as the
    cores, each stage keeps to cores of its own, so that none waits behind another.
    """

    stages: int = 1
    dtype: str = "auto"
    int8: bool = False
    device: str = "cpu"
    attention: str = "auto"
    block_size: int = 8
    cache_bytes: int | None = None
    max_running: int = 64
    token_budget: int = 256
    micro_batches: int | None = None
    micro_batch_size: int | None = None
    in_flight: int | None = None
    use_cache: bool = True
    prefix_sharing: bool = True
    threads: int | None = None
    step_timeout: float = 30.0
    heartbeat: float = 5.0
    front: str = ""
    layers: tuple[int, ...] | None = None
    balance: str = "bytes"
    cuda_graphs: bool = True
    pin_cores: bool = True


def _check(options: EngineOptions) -> None:
    """Raise ConfigError, naming the option, for numbers that mean nothing."""
    counts = ("stages", "block_size", "max_running", "token_budget")
    optional = ("micro_batches", "micro_batch_size", "in_flight", "threads")
    for name in (*counts, *optional):
        value = getattr(options, name)
        if not (name in optional and value is None) and value < 1:
            raise ConfigError(f"{name} is {value}, expected at least 1")
    for name in ("step_timeout", "heartbeat"):
        if not getattr(options, name) > 0:
            raise ConfigError(f"{name} is {getattr(options, name)}, expected seconds, above 0")


def plan_of(config: LlamaConfig, options: EngineOptions) -> StagePlan:
    """Which stage runs which layers. Raises ConfigError for more stages than layers, or for an unknown balance or dtype."""
    _check(options)
    dtype, costs = pick_dtype(options.dtype, config), None
    if options.balance == "time" and options.stages > 1 and options.layers is None:
        costs = measure_costs(config, dtype, torch.device(options.device), options.int8, options.attention)
    elif options.balance not in ("bytes", "time"):
        raise ConfigError(f"balance is {options.balance!r}, expected bytes or time")
    return plan_stages(config, options.stages, dtype.itemsize, costs, options.layers, options.int8)


def blocks_of(config: LlamaConfig, options: EngineOptions, plan: StagePlan) -> int:
    """Blocks that the memory budget of a stage holds; the stage with the most layers decides. Raises ConfigError where none does."""
    layers = max(part.layers for part in plan.stages)
    block_bytes = kv_bytes_per_token(config, layers, pick_dtype(options.dtype, config).itemsize) * options.block_size
    contexts = options.max_running * -(-config.max_position_embeddings // options.block_size) * block_bytes
    budget = min(contexts, _MOST_CACHE) if options.cache_bytes is None else options.cache_bytes
    if budget < block_bytes:
        raise ConfigError(
            f"cache of {budget} bytes a stage holds no block: {options.block_size} tokens in {layers} layers take {block_bytes}"
        )
    return budget // block_bytes


def limits_of(options: EngineOptions) -> Limits:
    """What bounds the scheduler's steps."""
    m = options.micro_batches or (1 if options.stages == 1 else 2 * options.stages)
    return Limits(
        max_running=options.max_running,
        token_budget=options.token_budget,
        micro_batches=m,
        fewest=options.micro_batches or options.stages,
        full_rows=FULL_ROWS,
        micro_batch_size=options.micro_batch_size,
        in_flight=options.in_flight or m,
        use_cache=options.use_cache,
        prefix_sharing=options.prefix_sharing,
    )


def setups_of(folder: Path, config: LlamaConfig, options: EngineOptions, plan: StagePlan) -> list[StageSetup]:
    """What every stage is told."""
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    count = len(plan.stages)
    threads = options.threads or max(1, (len(here) or os.cpu_count() or 1) // count)
    # Stages that torchrun starts may be on other machines.
    pinned = (
        options.pin_cores
        and options.device == "cpu"
        and not options.front
        and count > 1
        and count * threads == len(here)
    )
    blocks = blocks_of(config, options, plan)
    return [
        StageSetup(
            folder=str(folder),
            number=number,
            part=part,
            config=config,
            dtype=options.dtype,
            device=options.device,
            int8=options.int8,
            attention=options.attention,
            block_size=options.block_size,
            blocks=blocks,
            threads=threads,
            cores=tuple(here[number * threads : (number + 1) * threads]) if pinned else (),
            step_timeout=options.step_timeout,
            cuda_graphs=options.cuda_graphs and options.device.startswith("cuda"),
        )
        for number, part in enumerate(plan.stages)
    ]
