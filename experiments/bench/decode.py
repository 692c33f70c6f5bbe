"""Constrained decoding beside Hugging Face's: the same T5, the same identifiers, the same queries, in the same run.

The network has T5-small's shape and random weights: only the time and the agreement of the results mean anything.
Identifiers are four semantic codes (256 a level, drawn at random, distinct) and the end token, or a data set's titles in
the text vocabulary, all written in the T5's own vocabulary, so that both sides do the same. Hugging Face's `generate`
gets its constraint the fast way: one dictionary look-up a beam. All sides alternate and are repeated; medians are
reported.

Both ways to score are run on both sides: log-softmax over the whole vocabulary, and over the allowed tokens
(`renormalize_logits` in Hugging Face). Ours is judged by the second, where it may leave out what is certain, against the
faster of Hugging Face's two.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from experiments.bench.decoding_baseline import Found, agree, generate, prefix_allowed_tokens_fn
from experiments.bench.decoding_cases import Case, random_t5, semantic, titles
from experiments.bench.decoding_cost import TimedConstraint, Unconstrained, matrix_product_rate, operations
from experiments.drawing import write_drawing
from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.devices import Precision, pick_device, seed_everything
from genir.errors import ConfigError, MissingExtraError
from genir.manifest import machine, provenance, write_json
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel, T5Shape
from genir.protocols import Constraint, Scoring

T5_SMALL = T5Shape(d_model=512, d_ff=2048, num_layers=6, num_heads=8, d_kv=64)

_PRECISIONS: tuple[tuple[Precision, str, torch.dtype], ...] = (
    ("float32", "fp32", torch.float32),
    ("bfloat16", "bf16", torch.bfloat16),
)
Search = Callable[[bool], Found]  # True: return the rankings too


def run(
    docs: int = 100_000,
    batch: int = 64,
    beams: int = 10,
    out: Path | None = None,
    repeats: int = 5,
    query_tokens: int = 16,
    shape: T5Shape = T5_SMALL,
    seed: int = 0,
    data: Path | None = None,
    scheme: str = "semantic",
    device: str = "auto",
) -> dict[str, Any]:
    """Time all sides, print a table, write the figures to `out` as JSON where it is given, a manifest beside it.

    `scheme` "title" takes identifiers and queries from `data`. `identical`: every query got the same identifiers in the
    same order, with scores equal within 1e-4, in both scorings (order is not compared between identifiers whose scores
    are that close: sums in float32 differ in their last digits). Raises ConfigError for a scheme without its data.
    """
    seed_everything(seed)
    if scheme not in ("semantic", "title") or (scheme == "title") != (data is not None):
        raise ConfigError(f"scheme {scheme!r} with data {data}: expected semantic, or title with a data set's folder")
    place = pick_device(device)
    case = titles(data, batch, query_tokens) if data is not None else semantic(docs, batch, query_tokens, seed)
    network = random_t5(shape, case).to(place)
    ours = Ours(copy.deepcopy(network), case, beams)
    tree = PrefixTree.build(case.identifiers).to(place)
    timed = alternate(_searches(network, ours, case, tree), repeats)
    figures = _figures(timed, len(case.input_ids))
    figures |= _cost(ours, tree, figures)
    figures["settings"] = {
        "docs": len(case.identifiers),
        "scheme": scheme,
        "data": None if data is None else data.name,
        "batch": len(case.input_ids),
        "beams": beams,
        "repeats": repeats,
        "query_tokens": query_tokens,
        "shape": vars(shape),
        "vocabulary": case.vocabulary,
        "device": str(place),
    }
    versions = {"threads": torch.get_num_threads(), "torch": torch.__version__, "machine": machine()}
    figures["settings"] |= versions
    _print(figures)
    if out is not None:
        write_json(out, figures)
        write_json(out.with_suffix(".manifest.json"), provenance("bench decode", figures["settings"], {}, seed))
        try:
            write_drawing(out.with_suffix(".svg"), partial(_draw, figures))
        except MissingExtraError as error:
            Console(stderr=True).print(f"no drawing: {error}")
    return figures


def alternate(searches: Mapping[str, Search], repeats: int) -> dict[str, tuple[Found, list[float]]]:
    """Each search's rankings and its times in seconds; one round to warm up, then `repeats` rounds, in turns."""
    found = {name: search(True) for name, search in searches.items()}
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(repeats):
        for name, search in searches.items():
            started = time.perf_counter()
            search(False)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    return {name: (found[name], seconds[name]) for name in searches}


# --- searches -----------------------------------------------------------------------------------------------------------


class Ours:
    """Our search over one network, in both precisions."""

    def __init__(self, network: Any, case: Case, beams: int) -> None:
        self.input_ids, self.mask = case.input_ids.to(network.device), case.mask.to(network.device)
        self.beams = beams
        self.models = {}
        for precision in ("float32", "bfloat16"):
            self.models[precision] = Seq2SeqModel(network, None, Seq2SeqConfig(), None, None)
            self.models[precision].precision = precision

    def __call__(self, constraint: Constraint, scoring: Scoring, precision: Precision) -> Found:
        """The rankings of one search."""
        next_token = self.models[precision].begin_tokens(self.input_ids, self.mask)
        found = beam_search(next_token, constraint, len(self.input_ids), self.beams, scoring=scoring)
        return [[(hypothesis.tokens, hypothesis.score) for hypothesis in row] for row in found]


def _searches(network: Any, ours: Ours, case: Case, tree: PrefixTree) -> dict[str, Search]:
    """Every side of the comparison by name."""
    callback = prefix_allowed_tokens_fn(case.identifiers, network.config.pad_token_id)
    longest = max(map(len, case.identifiers))
    rounded = copy.deepcopy(network).to(torch.bfloat16)

    def theirs(network: Any, renormalise: bool, compare: bool) -> Found:
        return generate(network, callback, ours.input_ids, ours.mask, ours.beams, longest, renormalise, compare)

    free = Unconstrained([tokens.to(network.device) for tokens in case.free])
    return {
        "hf_vocabulary": partial(theirs, network, False),
        "hf_allowed": partial(theirs, network, True),
        "hf_allowed_bf16": partial(theirs, rounded, True),
        "ours_vocabulary_fp32": lambda _: ours(tree, "vocabulary", "float32"),
        "ours_vocabulary_bf16": lambda _: ours(tree, "vocabulary", "bfloat16"),
        "ours_fp32": lambda _: ours(tree, "allowed", "float32"),
        "ours_bf16": lambda _: ours(tree, "allowed", "bfloat16"),
        "unconstrained": lambda _: ours(free, "allowed", "float32"),
        "unconstrained_bf16": lambda _: ours(free, "allowed", "bfloat16"),
    }


# --- figures ------------------------------------------------------------------------------------------------------------


def _figures(timed: Mapping[str, tuple[Found, list[float]]], batch: int) -> dict[str, Any]:
    found = {name: rows for name, (rows, _) in timed.items()}
    figures: dict[str, Any] = {
        f"{name}_qps": batch / statistics.median(seconds) for name, (_, seconds) in timed.items()
    }
    figures["hf_qps"] = max(figures["hf_vocabulary_qps"], figures["hf_allowed_qps"])
    for precision in ("fp32", "bf16"):
        figures[f"speedup_{precision}"] = figures[f"ours_{precision}_qps"] / figures["hf_qps"]
        vocabulary = figures[f"ours_vocabulary_{precision}_qps"] / figures["hf_vocabulary_qps"]
        figures[f"speedup_vocabulary_{precision}"] = vocabulary
    figures["identical"] = agree(found["hf_allowed"], found["ours_fp32"])
    figures["identical"] &= agree(found["hf_vocabulary"], found["ours_vocabulary_fp32"])
    figures["bf16_same_identifiers"] = _overlap(found["ours_fp32"], found["ours_bf16"])
    figures["hf_bf16_same_identifiers"] = _overlap(found["hf_allowed"], found["hf_allowed_bf16"])
    figures["seconds"] = {name: seconds for name, (_, seconds) in timed.items()}
    return figures


def _overlap(reference: Found, found: Found) -> float:
    """Share of the reference's identifiers that were found, too."""
    both = sum(
        len({tokens for tokens, _ in a} & {tokens for tokens, _ in b}) for a, b in zip(reference, found, strict=True)
    )
    return both / sum(map(len, reference))


def _cost(ours: Ours, tree: PrefixTree, figures: Mapping[str, Any]) -> dict[str, float]:
    """Where our time goes: the constraint's share of it, and the share of the processor's rate that the model reaches."""
    batch, cost = len(ours.input_ids), {}
    for precision, short, dtype in _PRECISIONS:
        shares = []
        for _ in range(3):
            timed, started = TimedConstraint(tree), time.perf_counter()
            ours(timed, "allowed", precision)
            shares.append(timed.seconds / (time.perf_counter() - started))
        cost["constraint_share" if short == "fp32" else "constraint_share_bf16"] = statistics.median(shares)
        needed = operations(partial(ours, tree, "allowed", precision)) / batch
        rate = matrix_product_rate(dtype, ours.input_ids.device)
        cost[f"gflop_per_query_{short}"] = needed / 1e9
        cost[f"peak_gflops_{short}"] = rate / 1e9
        cost[f"share_of_peak_{short}"] = needed * figures[f"ours_{short}_qps"] / rate
    return cost


def _print(figures: Mapping[str, Any]) -> None:
    settings = figures["settings"]
    title = (
        f"{settings['docs']:,} identifiers ({settings['scheme']}), batch {settings['batch']}, {settings['beams']} beams"
    )
    table = Table("search", "log-softmax over", "precision", "queries/s", "times Hugging Face", title=title)
    for name, label, scoring, precision in _ROWS:
        base = figures["hf_vocabulary_qps" if scoring == "vocabulary" else "hf_qps"]
        qps = figures[f"{name}_qps"]
        table.add_row(label, scoring, precision, f"{qps:.1f}", f"{qps / base:.2f}")
    console = Console()
    console.print(table, f"same results as Hugging Face: {'yes' if figures['identical'] else 'NO'}")
    for precision in ("fp32", "bf16"):
        share, rate = figures[f"share_of_peak_{precision}"], figures[f"peak_gflops_{precision}"]
        needed = figures[f"gflop_per_query_{precision}"]
        console.print(
            f"{precision}: {needed:.2f} Gflop a query, {share:.2f} of the {rate:.0f} Gflop/s of a large product"
        )
    console.print(f"share of our time in the constraint: {figures['constraint_share']:.3f}")
    console.print(f"identifiers that bfloat16 finds, too: {figures['bf16_same_identifiers']:.3f}")


def _draw(figures: Mapping[str, Any], figure: Any) -> None:
    """Queries a second of every side, as bars."""
    figure.set_size_inches(7, 3.2)
    axes = figure.subplots()
    labels = [f"{label}, {scoring}, {precision}" for _, label, scoring, precision in _ROWS]
    colours = ["C7" if name.startswith("hf") else "C1" if "unconstrained" in name else "C0" for name, *_ in _ROWS]
    bars = axes.barh(labels, [figures[f"{name}_qps"] for name, *_ in _ROWS], color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("queries a second")


_ROWS = (
    ("hf_vocabulary", "Hugging Face", "vocabulary", "float32"),
    ("hf_allowed", "Hugging Face", "allowed", "float32"),
    ("hf_allowed_bf16", "Hugging Face", "allowed", "bfloat16"),
    ("ours_vocabulary_fp32", "genir", "vocabulary", "float32"),
    ("ours_vocabulary_bf16", "genir", "vocabulary", "bfloat16"),
    ("ours_fp32", "genir", "allowed", "float32"),
    ("ours_bf16", "genir", "allowed", "bfloat16"),
    ("unconstrained", "genir, free choice", "allowed", "float32"),
    ("unconstrained_bf16", "genir, free choice", "allowed", "bfloat16"),
)
