"""The prefix tree alone, from a thousand to ten million identifiers: building, memory, loading, updates, steps, searches.

Identifiers are 8 tokens of 2,048 codes, drawn at random, unsorted. A step is all that a search asks of the constraint for
one token of 640 beams: which are settled, their children, the gather of the children's scores and the mask, and of the
640 that were chosen, which end and which go on; at the level with the widest fan-out among those behind two tokens or
more, where forty searches of 64 queries left ten beams each. A search is the whole beam search, 9 queries of 70 beams, over random
log-probabilities: the log-softmax of prepared logits is taken within, as in STATIC's.

Two other ways stand beside it, on the same identifiers, where they fit; STATIC's figures
(youtube/static-constraint-decoding) were measured on another machine, with identifiers already sorted and no map to
documents. Medians are reported, and sizes take turns; building is timed once from a million identifiers on.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from experiments.bench import fm_index_cost
from experiments.bench.constraint_baselines import BASELINES, measure
from experiments.bench.constraint_plot import write_plot
from experiments.bench.constraint_work import (
    BEAMS,
    CODES,
    LENGTH,
    QUERIES,
    QUERY_BEAMS,
    beams_of_a_search,
    make_search,
    step,
    walk,
    widest_level,
)
from genir.constraints import PrefixTree
from genir.errors import ConfigError, MissingExtraError
from genir.manifest import machine, provenance, write_json

Row = dict[str, Any]

GPU_BEAMS = 2 * 70
DRAWS = 40  # searches whose beams take turns
UPDATES = 1000
LARGEST_BASELINE = 100_000
STATIC = (
    {"docs": 10**5, "build_s": 0.15, "bytes_per_id": 290.0, "step_us": 167.0, "search_ms": 39.0},
    {"docs": 10**6, "build_s": 1.3, "bytes_per_id": 100.0, "step_us": 196.0, "search_ms": 38.0},
    {"docs": 10**7, "build_s": 13.8, "bytes_per_id": 75.0, "step_us": 267.0, "search_ms": 38.0},
)
_COLUMNS = {
    "build_s": "build s",
    "bytes_per_id": "bytes/id",
    "load_ms": "load ms",
    "step_us": "step µs",
    "search_ms": "search ms",
    "update_ms": "add ms",
    "update_share": "add / build",
    "gpu_step_ms": "GPU step ms",
}


def run(
    docs: Sequence[int],
    json: Path | None = None,
    seed: int = 0,
    repeats: int = 9,
    largest_baseline: int = LARGEST_BASELINE,
    data: Path | None = None,
) -> dict[str, Any]:
    """Measure every size, print a table, write the figures to `json` where it is given (plot and manifest beside it).

    With `data`, an FM-index over that data set is measured, too.

    `build_s` is from tuples, as tables of identifiers hold them; `build_array_s` from one array of numbers. `update_share` and
    `delete_share` are the time of 1,000 additions (tuples, too) or deletions over `build_s`. Raises ConfigError for a size
    below 1.
    """
    if not docs or min(docs) < 1:
        raise ConfigError(f"sizes are {list(docs)}: expected numbers of documents, at least 1 each")
    rows: list[Row] = []
    others: dict[str, list[Row]] = {name: [] for name in BASELINES}
    tasks: list[dict[str, Callable[[], Any]]] = []
    for size in docs:
        Console(stderr=True).print(f"{size:,} identifiers ...")
        row, beside, timed = _measure_size(size, seed, repeats, size <= largest_baseline)
        rows.append(row)
        tasks.append(timed)
        for name, other in beside.items():
            others[name].append(other)
    _alternate(rows, tasks, repeats)
    settings = {
        "length": LENGTH,
        "codes": CODES,
        "step_beams": BEAMS,
        "search_beams": [QUERIES, QUERY_BEAMS],
        "repeats": repeats,
        "largest_baseline": largest_baseline,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "machine": machine(),
    }
    figures: dict[str, Any] = {
        "rows": rows,
        "baselines": others,
        "static_published": list(STATIC),
        "settings": settings,
    }
    if data is not None:
        figures["fm_index"] = fm_index_cost.measure(data, seed, repeats)
    _print(figures)
    if json is not None:
        write_json(json, figures)
        write_json(json.with_suffix(".manifest.json"), provenance("bench constraint", settings, {}, seed))
        try:
            write_plot(json.with_suffix(".svg"), {"genir": rows, "STATIC (another machine)": STATIC, **others})
        except MissingExtraError as error:
            Console(stderr=True).print(f"no plot: {error}")
    return figures


def _measure_size(
    size: int, seed: int, repeats: int, with_baselines: bool
) -> tuple[Row, dict[str, Row], dict[str, Callable[[], Any]]]:
    """What is measured once, the other ways' rows, and what is timed in turns with the other sizes (seconds by key)."""
    generator = np.random.default_rng(seed)
    identifiers = generator.integers(0, CODES, (size, LENGTH), dtype=np.int16)
    row: Row = {"docs": size, "build_s": _build_from_tuples(identifiers)}
    row["build_array_s"], tree = _timed(lambda: PrefixTree.build(identifiers, CODES), 1 if size >= 10**6 else 5)
    row["bytes_per_id"] = tree.nbytes / size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tree.safetensors")
        tree.save(path)
        row["load_ms"] = 1e3 * _timed(lambda: PrefixTree.load(path), repeats)[0]
    row |= _updates(tree, size, generator, row["build_s"], repeats)
    some = identifiers[generator.integers(0, size, BEAMS)]
    level, fan_out = widest_level(tree, some)
    beams = [beams_of_a_search(tree, generator, level) for _ in range(DRAWS)]
    logits = torch.from_numpy(generator.standard_normal((BEAMS, CODES), np.float32))
    row |= {"step_level": level, "step_fan_out": fan_out}
    search = make_search(tree, generator, "vocabulary")
    row["search_found"] = sum(map(len, search()))
    tasks: dict[str, Callable[[], Any]] = {
        "step_us": lambda: [step(tree, nodes, logits) for nodes in beams],
        "children_us": lambda: [tree.children(nodes) for nodes in beams],
        "search_ms": search,
        "search_without_softmax_ms": make_search(tree, generator, "logits"),
    }
    if torch.cuda.is_available():
        row["gpu_step_ms"] = _gpu_step_ms(tree, some[:GPU_BEAMS], repeats)
    row["peak_rss_gb"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    )
    beside: dict[str, Row] = {}
    if with_baselines:
        paths = torch.from_numpy(some[:, :level].astype(np.int64))
        for name, make in BASELINES.items():
            beside[name] = {"docs": size, **measure(make, identifiers.tolist(), paths, logits, repeats)}
    return row, beside, tasks


def _build_from_tuples(identifiers: NDArray[np.int16]) -> float:
    held = list(map(tuple, identifiers.tolist()))
    return _timed(lambda: PrefixTree.build(held, CODES), 1 if len(held) >= 10**6 else 3)[0]


def _updates(tree: PrefixTree, size: int, generator: np.random.Generator, build_seconds: float, repeats: int) -> Row:
    new = list(map(tuple, generator.integers(0, CODES, (UPDATES, LENGTH)).tolist()))
    gone = generator.permutation(size)[:UPDATES]
    adding, _ = _timed(lambda: tree.with_documents(new), repeats)
    deleting, _ = _timed(lambda: tree.without_documents(gone), repeats)
    return {
        "update_ms": 1e3 * adding,
        "delete_ms": 1e3 * deleting,
        "update_share": adding / build_seconds,
        "delete_share": deleting / build_seconds,
    }


def _alternate(rows: Sequence[Row], tasks: Sequence[dict[str, Callable[[], Any]]], repeats: int) -> None:
    """Time every task of every size in turns, so that a slow moment of the machine falls on all; medians into the rows."""
    units = {"step_us": 1e6 / DRAWS, "children_us": 1e6 / DRAWS}
    for key in tasks[0]:
        seconds: list[list[float]] = [[] for _ in tasks]
        for _ in range(repeats + 1):  # the first round warms up
            for timed, kept in zip(tasks, seconds, strict=True):
                started = time.perf_counter()
                timed[key]()
                kept.append(time.perf_counter() - started)
        for row, kept in zip(rows, seconds, strict=True):
            row[key] = units.get(key, 1e3) * statistics.median(kept[1:])


def _timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds, and the last result; a round to warm up where there are several."""
    result = call() if repeats > 1 else None
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def _gpu_step_ms(tree: PrefixTree, identifiers: NDArray[np.int16], repeats: int) -> float:
    """Milliseconds that the constraint adds to a step on the GPU, the mean over all levels."""
    device_tree = tree.to("cuda")
    levels = [walk(device_tree, identifiers, level) for level in range(LENGTH)]
    logits = torch.randn(len(identifiers), CODES, device="cuda")

    def steps() -> None:
        for nodes in levels:
            step(device_tree, nodes, logits)
        torch.cuda.synchronize()

    return 1e3 / LENGTH * _timed(steps, max(repeats, 2))[0]


def _print(figures: dict[str, Any]) -> None:
    rows = figures["rows"]
    columns = {key: label for key, label in _COLUMNS.items() if key != "gpu_step_ms" or key in rows[0]}
    table = Table(
        "documents", "constraint", *columns.values(), title=f"random identifiers, {LENGTH} tokens of {CODES:,} codes"
    )
    published = {row["docs"]: row for row in figures["static_published"]}
    for row in rows:
        beside = {
            name: next((other for other in others if other["docs"] == row["docs"]), None)
            for name, others in figures["baselines"].items()
        }
        lines = {"genir": row, **beside, "STATIC, published": published.get(row["docs"])}
        for name, line in lines.items():
            if line is None:
                continue
            cells = [_cell(key, line.get(key)) for key in columns]
            table.add_row(f"{row['docs']:,}" if line is row else "", name, *cells)
        table.add_section()
    Console().print(
        table,
        "STATIC's figures come from another machine, from sorted identifiers, without a map to documents. "
        f"The other two are left out above {figures['settings']['largest_baseline']:,} identifiers (memory).",
    )
    if "fm_index" in figures:
        index = figures["fm_index"]
        steps = ", ".join(f"{ms:.1f} ms behind {length}" for length, ms in index["children_ms"].items())
        Console().print(
            f"FM-index over {index['data']}: {index['documents']:,} documents, {index['tokens']:,} tokens, built in "
            f"{index['build_s']:.1f} s, {index['bytes_per_token']:.1f} bytes a token, loaded in {index['load_ms']:.0f} ms; "
            f"continuations of {fm_index_cost.NGRAMS} n-grams: {steps} tokens"
        )


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key.endswith("_share"):
        return f"{value:.2%}"
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
