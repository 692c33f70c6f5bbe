"""What others do instead of a sorted-array tree, for comparison: a tree of nested dicts, and a hash of whole prefixes.

Both answer for one beam at a time through a callback that gets its path so far, as Hugging Face's `generate` asks
(`prefix_allowed_tokens_fn`), and the answers become a mask over the vocabulary. Bytes are what Python allocates.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import torch

Path = tuple[int, ...]
Allowed = Callable[[Path], Sequence[int]]


def nested_dicts(identifiers: Sequence[Sequence[int]]) -> Allowed:
    """A dict a prefix, walked from the root at each step (GENRE's way)."""
    root: dict[int, Any] = {}
    for identifier in identifiers:
        node = root
        for token in identifier:
            node = node.setdefault(token, {})

    def allowed(path: Path) -> Sequence[int]:
        node = root
        for token in path:
            node = node[token]
        return list(node)

    return allowed


def prefix_hash(identifiers: Sequence[Sequence[int]]) -> Allowed:
    """Every prefix, hashed as a whole, with its continuations: one look-up a beam."""
    continuations: dict[Path, list[int]] = {}
    for identifier in sorted(map(tuple, identifiers)):
        for length, token in enumerate(identifier):
            known = continuations.setdefault(identifier[:length], [])
            if not known or known[-1] != token:
                known.append(token)
    return lambda path: continuations.get(path, ())


BASELINES = {"nested dicts": nested_dicts, "prefix hash": prefix_hash}


def measure(
    make: Callable[[Sequence[Sequence[int]]], Allowed],
    identifiers: Sequence[Sequence[int]],
    paths: torch.Tensor,
    logits: torch.Tensor,
    repeats: int,
) -> dict[str, float]:
    """Seconds to build, bytes an identifier, and microseconds to mask logits (N, V) for beams that wrote `paths` (N, d)."""
    started = time.perf_counter()
    allowed = make(identifiers)
    build_seconds = time.perf_counter() - started
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        mask = torch.full_like(logits, float("-inf"))
        for row, path in enumerate(paths.tolist()):
            mask[row, allowed(tuple(path))] = 0
        mask += logits
        seconds.append(time.perf_counter() - started)
    del allowed
    gc.collect()
    tracemalloc.start()  # slows everything down, so in a round of its own
    kept = make(identifiers)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return {
        "build_s": build_seconds,
        "bytes_per_id": size / len(identifiers),
        "step_us": sorted(seconds)[len(seconds) // 2] * 1e6,
    }
