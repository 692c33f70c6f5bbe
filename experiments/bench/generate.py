"""The generation benchmark: our LLaMA engine beside Hugging Face's and vLLM, and beside what arithmetic promises.

Sections, each runnable alone: `ladder` (tokens/s of every engine, overlap, utilisation), `prompt_length` (SDPA and eager attention,
prefill and decode apart), `cache` (bytes against length), `micro_batches` (utilisation against their number, beside the formulas),
`prefix` (what prompts of a retriever share), `int8` (its perplexity, on a trained model), `gpu`. Everywhere else the weights are
random: only times, bytes and the agreement of tokens mean anything. Ratios are of medians of rounds in which the engines took turns,
within one run. The keys of the ladder's first precision also stand at the top.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.generation.curves import CurveSizes, cache_bytes, prompt_length, utilisation
from experiments.generation.gpu import GPUSizes, run_gpu
from experiments.generation.int8 import Int8Sizes, int8_cost
from experiments.generation.ladder import LadderSizes, run_ladder
from experiments.generation.model import SMALL, LlamaShape, save_random_llama
from experiments.generation.prefix import PrefixSizes, prefix_sharing
from experiments.tables import plain, show, show_facts
from genir.errors import unknown_name
from genir.manifest import machine, provenance, write_json

SECTIONS = ("ladder", "prompt_length", "cache", "micro_batches", "prefix", "int8", "gpu")


@dataclass(frozen=True)
class BenchSizes:
    """Everything that decides how long it takes."""

    shape: LlamaShape = SMALL
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    ladder: LadderSizes = field(default_factory=LadderSizes)
    curves: CurveSizes = field(default_factory=CurveSizes)
    prefix: PrefixSizes = field(default_factory=PrefixSizes)
    int8: Int8Sizes = field(default_factory=Int8Sizes)
    gpu: GPUSizes = field(default_factory=GPUSizes)
    seed: int = 0


def run(
    sizes: BenchSizes | None = None,
    only: Sequence[str] = (),
    vllm: str | None = None,
    out: Path | None = None,
    plots: bool = True,
) -> dict[str, Any]:
    """Run the sections `only` (all where empty), print them, write figures, manifest and plots beside `out`, and return the figures.

    `vllm` is a Python interpreter that has vLLM. Raises ConfigError for an unknown section.
    """
    from torch import __version__ as torch_version
    from transformers import __version__ as transformers_version

    wanted = sizes or BenchSizes()
    for name in only:
        if name not in SECTIONS:
            raise unknown_name("section", name, SECTIONS)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folder = save_random_llama(root / "model", wanted.shape, seed=wanted.seed)
        vocab = wanted.shape.vocab_size
        measure: dict[str, Callable[[], Any]] = {
            "ladder": lambda: {dtype: run_ladder(folder, vocab, dtype, wanted.ladder, vllm) for dtype in wanted.dtypes},
            "prompt_length": lambda: prompt_length(folder, vocab, wanted.curves),
            "cache": lambda: cache_bytes(root, wanted.shape, wanted.curves),
            "micro_batches": lambda: utilisation(folder, vocab, wanted.curves, wanted.ladder.new_tokens),
            "prefix": lambda: prefix_sharing(folder, wanted.prefix),
            "int8": lambda: int8_cost(wanted.int8),
            "gpu": lambda: run_gpu(wanted.gpu),
        }
        for name in only or SECTIONS:
            figures[name] = measure[name]()
            _print(name, figures[name])
    if "ladder" in figures:
        first = figures["ladder"][wanted.dtypes[0]]
        figures = {
            key: value for key, value in first.items() if key not in ("groups", "statistics", "agreement")
        } | figures
    settings = _by_name(asdict(wanted)) | {"sections": list(only or SECTIONS), "vllm": vllm is not None}
    versions = {"torch": torch_version, "transformers": transformers_version, "machine": machine()}
    figures = plain(figures | {"settings": settings | versions})
    if out is not None:
        write_json(out, figures)
        if plots:
            from experiments.generation.plots import save_plots

            save_plots(figures, out)
        write_json(out.with_suffix(".manifest.json"), provenance("bench generate", settings, {}, wanted.seed))
    return figures


def _by_name(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in which a file or folder is its name: where it lies is this machine's affair."""
    return {
        key: _by_name(value) if isinstance(value, dict) else value.name if isinstance(value, Path) else value
        for key, value in settings.items()
    }


def _print(name: str, found: Any) -> None:
    if name == "ladder":
        for dtype, one in found.items():
            rows = [
                {"engine": engine, "prompts": group.replace("_", " "), "tokens/s": facts["tokens_per_second"]}
                for group, engines in one["groups"].items()
                for engine, facts in engines.items()
            ]
            show(rows, ("prompts", "engine", "tokens/s"), title=f"ladder, {dtype}, generated tokens/s")
            left_out = ("groups", "statistics")
            show_facts({key: value for key, value in one.items() if key not in left_out}, title=f"ladder, {dtype}")
    elif name == "micro_batches":
        for stages in (2, 4):
            part = found[f"p{stages}"]
            show(part["rows"], list(part["rows"][0]), title=f"utilisation, {stages} stages ({found['note']})")
    elif isinstance(found, dict):
        for table in ("streams", "rows"):
            if table in found:
                show(found[table], list(found[table][0]), title=f"{name}, {table}")
        show_facts({key: value for key, value in found.items() if key not in ("streams", "rows")}, title=name)
    else:
        show(found, list(found[0]), title=name.replace("_", " "))
