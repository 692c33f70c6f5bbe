"""What weight-only int8 costs in perplexity and saves in bytes, on a trained model; random weights would say nothing.

Unless a text is given, the model writes it: drawn at temperature 1 in float32. Then the logarithm of two perplexities' ratio
estimates the Kullback-Leibler divergence a token from float32's distribution to the other's, which is all that rounding can do; and
no text has to suit the model. Every precision reads the same tokens, in windows that start without a past.

Shape letters: T tokens of a window, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genir.errors import ArtefactError, ConfigError
from genir.protocols import SamplingParams
from rag.llama.config import read_config
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.stages import plan_stages

PRECISIONS = (("float32", False), ("bfloat16", False), ("float32", True), ("bfloat16", True))


@dataclass(frozen=True)
class Int8Sizes:
    """How much is read. `text` is a file; None lets the model write `texts` texts of at most `tokens` tokens."""

    model: Path | None = None
    text: Path | None = None
    texts: int = 64
    tokens: int = 256
    seed: int = 0


def int8_cost(sizes: Int8Sizes) -> dict[str, Any]:
    """Perplexity and bytes of weights in each precision, or {"skipped": why}.

    Raises ArtefactError or ConfigError for a model or text that cannot be read.
    """
    if sizes.model is None:
        return {"skipped": "needs a trained model: give --model DIR"}
    windows = written(sizes.model, sizes) if sizes.text is None else read(sizes.model, sizes.text)
    config = read_config(sizes.model)
    rows: list[dict[str, Any]] = []
    for dtype, int8 in PRECISIONS:
        [part] = plan_stages(config, 1, 4 if dtype == "float32" else 2, int8=int8).stages
        rows.append(
            {
                "weights": "int8" if int8 else dtype,
                "computed_in": dtype,
                "perplexity": perplexity(sizes.model, windows, dtype, int8),
                "weight_bytes": part.weight_bytes,
            }
        )
    exact, eight = rows[0], rows[2]
    return {
        "model": sizes.model.name,
        "text": "written by the model" if sizes.text is None else sizes.text.name,
        "tokens": sum(len(window) - 1 for window in windows),
        "float32_perplexity": exact["perplexity"],
        "int8_perplexity": eight["perplexity"],
        "int8_over_float32": eight["perplexity"] / exact["perplexity"],
        "float32_bytes": exact["weight_bytes"],
        "int8_bytes": eight["weight_bytes"],
        "rows": rows,
    }


def written(folder: Path, sizes: Int8Sizes) -> list[list[int]]:
    """Texts that the model writes by itself behind its first token, one a seed."""
    with LlamaEngine(folder, EngineOptions(dtype="float32")) as engine:
        first = engine.config.bos_token_id
        if first is None:
            raise ConfigError(
                f"{folder}: the model names no first token, so it cannot begin by itself; give --text FILE"
            )
        length = min(sizes.tokens, engine.config.max_position_embeddings - 1)
        params = SamplingParams(max_new_tokens=length, temperature=1.0, logprobs=False)
        seeds = range(sizes.seed, sizes.seed + sizes.texts)
        requests = [engine.submit([first], replace(params, seed=seed)) for seed in seeds]
        while engine.has_work:
            engine.step()
        return [[first, *request.generation().tokens] for request in requests]


def read(folder: Path, text: Path) -> list[list[int]]:
    """A file's tokens in windows of the model's context; a rest of one token predicts nothing and is left out."""
    engine = LlamaEngine(folder)
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{text}: not readable as UTF-8 text ({error})") from None
    tokens, size = engine.tokenizer.encode(content), engine.config.max_position_embeddings
    windows = [tokens[start : start + size] for start in range(0, len(tokens), size)]
    if not (windows := [window for window in windows if len(window) > 1]):
        raise ArtefactError(f"{text}: holds {len(tokens)} tokens, expected at least 2 to have one to predict")
    return windows


def perplexity(folder: Path, windows: Sequence[Sequence[int]], dtype: str, int8: bool) -> float:
    """exp of the mean negative log-likelihood of every token but the windows' first, by the engine's own prefill."""
    import torch
    from torch.nn import functional as F

    from rag.llama.batch import MicroBatch
    from rag.llama.kv_cache import KVCache
    from rag.llama.weights import load_stage, pick_dtype

    config, block = read_config(folder), 16
    kind, device = pick_dtype(dtype, config), torch.device("cpu")
    stage, _ = load_stage(folder, config, plan_stages(config, 1).stages[0], kind, device, int8)
    blocks = -(-max(map(len, windows)) // block)
    cache = KVCache(config, config.num_hidden_layers, blocks, block, kind, device)
    total, count = 0.0, 0
    with torch.inference_mode():
        for window in windows:
            batch = MicroBatch(0, decode=False)
            batch.add(list(window), 0, list(range(blocks)), None)
            tokens = torch.tensor(window)
            hidden = stage.prefill(stage.embed(tokens), cache.place(batch), cache)
            scores = stage.logits(hidden[:-1])  # (T - 1, V)
            total += float(F.cross_entropy(scores, tokens[1:], reduction="sum"))
            count += len(window) - 1
    return math.exp(total / count)
