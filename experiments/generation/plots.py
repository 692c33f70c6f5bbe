"""The generation benchmark's plots: SVG files beside its JSON, drawn from its figures alone (extra "report")."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from experiments.drawing import write_drawing

_SIZE = (5.2, 3.2)  # inches


def save_plots(figures: Mapping[str, Any], out: Path) -> list[Path]:
    """One file for each section that `figures` holds, named after `out`: generate.ladder.svg, ...; returns their paths."""
    drawings: dict[str, Callable[[Any, Any], None]] = {
        "ladder": _draw_ladder,
        "prompt_length": _draw_prompt_length,
        "cache": _draw_cache,
        "micro_batches": _draw_utilisation,
    }
    written = []
    for name, draw in drawings.items():
        if name in figures:
            path = out.with_suffix(f".{name}.svg")
            write_drawing(path, partial(_with, draw, figures[name]))
            written.append(path)
    return written


def _with(draw: Callable[[Any, Any], None], figures: Any, figure: Any) -> None:
    draw(figure, figures)


def _draw_ladder(figure: Any, ladder: Mapping[str, Any]) -> None:
    """Tokens/s of every engine in every group, one row of bars a precision."""
    for axes, (dtype, found) in zip(_row(figure, len(ladder)), ladder.items(), strict=True):
        bars = [
            (f"{name}, {group.replace('_', ' ')}", facts["tokens_per_second"])
            for group, engines in found["groups"].items()
            for name, facts in engines.items()
        ]
        axes.barh([label for label, _ in bars], [rate for _, rate in bars], color="C0")
        axes.invert_yaxis()
        axes.set_xlabel("generated tokens/s")
        axes.set_title(dtype, fontsize=10)
        axes.tick_params(axis="y", labelsize=7)


def _draw_prompt_length(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    lengths = [row["prompt_tokens"] for row in rows]
    for axes, (part, label) in zip(
        _row(figure, 2), (("prefill_seconds", "prefill, s"), ("decode_step_seconds", "one decode step, s")), strict=True
    ):
        for kind in ("sdpa", "eager"):
            axes.plot(lengths, [row[f"{kind}_{part}"] for row in rows], marker="o", markersize=4, label=kind)
        axes.set_xlabel("prompt tokens")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def _draw_cache(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    [axes] = _row(figure, 1)
    lengths = [row["tokens"] for row in rows]
    for number, kind in enumerate(("mha", "gqa", "mqa")):
        axes.plot(
            lengths,
            [row[f"{kind}_bytes"] / 1e6 for row in rows],
            "o",
            color=f"C{number}",
            label=f"{kind.upper()}, held",
        )
        axes.plot(lengths, [row[f"{kind}_formula"] / 1e6 for row in rows], "-", color=f"C{number}", label="formula")
    axes.set_xlabel("tokens")
    axes.set_ylabel("cache, MB")
    axes.legend(frameon=False, fontsize=8)


def _draw_utilisation(figure: Any, found: Mapping[str, Any]) -> None:
    for axes, stages in zip(_row(figure, 2), (2, 4), strict=True):
        rows = found[f"p{stages}"]["rows"]
        m = [row["micro_batches"] for row in rows]
        for key, style in (
            ("ring_formula", "C0-"),
            ("draining_formula", "C1-"),
            ("ring_simulated", "C0x"),
            ("draining_simulated", "C1x"),
        ):
            axes.plot(m, [row[key] for row in rows], style, label=key.replace("_", ", "))
        if "ring_measured" in rows[0]:
            axes.plot(m, [row["ring_measured"] for row in rows], "ko", markersize=4, label="ring, measured")
        axes.set_title(
            f"{stages} stages" + (", simulated from measured stage times" if stages == 4 else ""), fontsize=9
        )
        axes.set_xlabel("micro-batches")
        axes.set_ylabel("busy share")
        axes.set_ylim(0, 1.05)
        axes.legend(frameon=False, fontsize=7)


def _row(figure: Any, columns: int) -> Sequence[Any]:
    figure.set_size_inches(_SIZE[0] * columns, _SIZE[1])
    return cast(Sequence[Any], figure.subplots(1, columns, squeeze=False)[0])
