"""What an FM-index over a corpus costs: building, memory, loading, and the continuations of n-grams by their length."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genir.constraints import FMIndex
from genir.formats import load_dataset

NGRAMS = 640  # as many as beams of a step
LONGEST = 4


def measure(data: Path, seed: int = 0, repeats: int = 5) -> dict[str, Any]:
    """Figures of an index over a data set's titles and texts, in MiniLM's tokens; times are the best of a few.

    `children_ms` by n-gram length: the continuations of 640 n-grams drawn as often as they stand in the corpus.
    """
    from transformers import AutoTokenizer

    from genir.embedding import DEFAULT_ENCODER, resolve_encoder

    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(DEFAULT_ENCODER))
    texts = [f"{document.title} {document.text}".strip() for document in load_dataset(data, []).corpus]
    documents = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    started = time.perf_counter()
    index = FMIndex.build(documents)
    figures: dict[str, Any] = {
        "data": data.name,
        "documents": index.num_documents,
        "tokens": index.num_tokens,
        "build_s": time.perf_counter() - started,
        "bytes_per_token": index.nbytes / index.num_tokens,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.safetensors")
        index.save(path)
        figures["load_ms"] = 1e3 * _best(lambda: FMIndex.load(path), repeats)
    generator = np.random.default_rng(seed)
    long_enough = [row for row in documents if len(row) > LONGEST]
    rows = [long_enough[i] for i in generator.integers(0, len(long_enough), NGRAMS)]
    places = [int(generator.integers(0, len(row) - LONGEST)) for row in rows]
    figures["children_ms"], figures["children_widest"] = {}, {}
    for length in range(1, LONGEST + 1):
        found = [index.find(row[place : place + length]) for row, place in zip(rows, places, strict=True)]
        nodes = torch.tensor(found)
        figures["children_ms"][str(length)] = 1e3 * _best(lambda nodes=nodes: index.children(nodes), repeats)
        figures["children_widest"][str(length)] = index.children(nodes)[0].shape[1]
    return figures


def _best(call: Any, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
