"""Constrained decoding beside Hugging Face's: the same T5, the same identifiers, the same queries, in the same run.

The network has T5-small's shape and random weights: only the time and the agreement of the results mean anything.
Identifiers are four semantic codes (256 a level, drawn at random, distinct) and the end token, all in the T5's own
vocabulary, so that both sides take the log-softmax over all 32,128 tokens and their scores can be compared. Hugging
Face's `generate` gets its constraint the fast way: one dictionary look-up a beam. Both sides run in float32, alternate,
and are repeated; medians are reported.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from genir.beam_search import Hypothesis, beam_search
from genir.constraints import PrefixTree
from genir.devices import seed_everything
from genir.manifest import machine, provenance, write_json
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel, T5Shape

Found = list[list[tuple[tuple[int, ...], float]]]  # per query: identifier tokens and score, best first

LEVELS, CODES, FIRST_CODE = 4, 256, 1000
T5_SMALL = T5Shape(d_model=512, d_ff=2048, num_layers=6, num_heads=8, d_kv=64)
TEXT_VOCABULARY = 32_128


def run(
    docs: int = 100_000,
    batch: int = 16,
    beams: int = 10,
    out: Path | None = None,
    repeats: int = 7,
    query_tokens: int = 16,
    shape: T5Shape = T5_SMALL,
    seed: int = 0,
) -> dict[str, Any]:
    """Time both, print a table, write the figures to `out` as JSON where it is given, a manifest beside it, and return them.

    `identical`: every query got the same identifiers in the same order, with scores equal within 1e-4 (order is not
    compared between identifiers whose scores are that close: sums in float32 differ in their last digits).
    """
    from transformers import __version__ as transformers_version

    seed_everything(seed)
    network = _network(shape)
    model = Seq2SeqModel(network, None, Seq2SeqConfig(), None, None)
    identifiers = _identifiers(docs, network.config.eos_token_id, seed)
    started = time.perf_counter()
    tree = PrefixTree.build(identifiers)
    build_seconds = time.perf_counter() - started
    queries = torch.randint(2, TEXT_VOCABULARY, (batch, query_tokens))

    theirs = _hugging_face(network, identifiers, queries, beams)
    ours = _ours(model, tree, queries, beams)
    (found_theirs, seconds_theirs), (found_ours, seconds_ours) = _alternate([theirs, ours], repeats)
    figures: dict[str, Any] = {
        "hf_qps": batch / statistics.median(seconds_theirs),
        "ours_fp32_qps": batch / statistics.median(seconds_ours),
        "speedup_fp32": statistics.median(seconds_theirs) / statistics.median(seconds_ours),
        "identical": agree(found_theirs, found_ours),
        "hf_seconds": seconds_theirs,
        "ours_fp32_seconds": seconds_ours,
        "settings": {
            "docs": docs,
            "batch": batch,
            "beams": beams,
            "repeats": repeats,
            "query_tokens": query_tokens,
            "identifier_tokens": LEVELS + 1,
            "shape": vars(shape),
            "vocabulary": TEXT_VOCABULARY,
            "tree_build_seconds": build_seconds,
            "tree_bytes": tree.nbytes,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers_version,
            "machine": machine(),
        },
    }
    _print(figures)
    if out is not None:
        write_json(out, figures)
        write_json(out.with_suffix(".manifest.json"), provenance("bench decode", figures["settings"], {}, seed))
    return figures


def agree(theirs: Found, ours: Found, tolerance: float = 1e-4) -> bool:
    """Whether two sets of rankings are the same, but for order (and the last place) among scores within `tolerance`."""
    for row_theirs, row_ours in zip(theirs, ours, strict=True):
        if len(row_theirs) != len(row_ours):
            return False
        scores = dict(row_theirs)
        last = row_theirs[-1][1] if row_theirs else 0.0
        for (_, score_theirs), (tokens, score_ours) in zip(row_theirs, row_ours, strict=True):
            if abs(score_theirs - score_ours) > tolerance:
                return False
            if abs(scores.get(tokens, last) - score_ours) > tolerance:
                return False
    return True


def prefix_allowed_tokens_fn(
    identifiers: Sequence[Sequence[int]], pad_token: int
) -> Callable[[int, torch.Tensor], list[int]]:
    """The callback for `generate` of an encoder-decoder: every beginning's legal continuations, looked up at once."""
    allowed: dict[tuple[int, ...], list[int]] = {}
    for identifier in sorted(map(tuple, identifiers)):
        for length, token in enumerate(identifier):
            known = allowed.setdefault(identifier[:length], [])
            if not known or known[-1] != token:
                known.append(token)
    finished = [pad_token]

    def look_up(_: int, written: torch.Tensor) -> list[int]:
        return allowed.get(tuple(written.tolist()[1:]), finished)

    return look_up


def _network(shape: T5Shape) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(**vars(shape), vocab_size=TEXT_VOCABULARY, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def _identifiers(docs: int, end_token: int, seed: int) -> list[tuple[int, ...]]:
    drawn = np.random.default_rng(seed).integers(0, CODES, (docs + docs // 50 + 16, LEVELS))
    codes = np.unique(drawn, axis=0)[:docs] + np.arange(LEVELS) * CODES + FIRST_CODE
    return [(*row, end_token) for row in codes.tolist()]


def _hugging_face(
    network: Any, identifiers: list[tuple[int, ...]], queries: torch.Tensor, beams: int
) -> Callable[[bool], Found]:
    callback = prefix_allowed_tokens_fn(identifiers, network.config.pad_token_id)
    mask, end_token = torch.ones_like(queries), network.config.eos_token_id

    def search(compare: bool) -> Found:
        network.set_attn_implementation("sdpa")
        found = network.generate(
            queries,
            attention_mask=mask,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,
            do_sample=False,
            max_new_tokens=LEVELS + 2,
            prefix_allowed_tokens_fn=callback,
            return_dict_in_generate=compare,  # the scores are kept in the untimed round only
            output_scores=compare,
        )
        if not compare:
            return []
        return hugging_face_rankings(found.sequences[:, 1:], found.sequences_scores, end_token, beams)

    return search


def hugging_face_rankings(sequences: torch.Tensor, scores: torch.Tensor, end_token: int, beams: int) -> Found:
    """What `generate` returned (batch x beams rows, prompt cut off) as rankings, less its dead beams (about -1e9)."""
    rows = []
    for tokens, score in zip(sequences.tolist(), scores.tolist(), strict=True):
        cut = tokens.index(end_token) + 1 if end_token in tokens else len(tokens)
        rows.append((tuple(tokens[:cut]), score))
    starts = range(0, len(rows), beams)
    return [[(tokens, score) for tokens, score in rows[s : s + beams] if score > -1e8] for s in starts]


def _ours(model: Seq2SeqModel, tree: PrefixTree, queries: torch.Tensor, beams: int) -> Callable[[bool], Found]:
    from genir.models.shared_attention import share_cross_attention

    mask = torch.ones_like(queries)

    def search(compare: bool) -> Found:
        share_cross_attention(model.network)
        next_token = model.begin_tokens(queries, mask)
        found = beam_search(next_token, tree, len(queries), beams, scoring="vocabulary")
        return [_plain(row) for row in found]

    return search


def _plain(hypotheses: list[Hypothesis]) -> list[tuple[tuple[int, ...], float]]:
    return [(hypothesis.tokens, hypothesis.score) for hypothesis in hypotheses]


def _alternate(searches: Sequence[Callable[[bool], Found]], repeats: int) -> list[tuple[Found, list[float]]]:
    """Each search's rankings and its times in seconds; one round to warm up, then `repeats` rounds, in turns."""
    found = [search(True) for search in searches]
    seconds: list[list[float]] = [[] for _ in searches]
    for _ in range(repeats):
        for search, times in zip(searches, seconds, strict=True):
            started = time.perf_counter()
            search(False)
            times.append(time.perf_counter() - started)
    return list(zip(found, seconds, strict=True))


def _print(figures: dict[str, Any]) -> None:
    settings = figures["settings"]
    title = f"{settings['docs']:,} identifiers, batch {settings['batch']}, {settings['beams']} beams, float32"
    table = Table("decoder", "queries/s", "times Hugging Face's", title=title)
    table.add_row("Hugging Face generate, prefix_allowed_tokens_fn", f"{figures['hf_qps']:.1f}", "1.00")
    table.add_row("genir beam search", f"{figures['ours_fp32_qps']:.1f}", f"{figures['speedup_fp32']:.2f}")
    Console().print(table, f"same results: {'yes' if figures['identical'] else 'NO'}")
