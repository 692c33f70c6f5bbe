"""What the report shows of a run, its data, identifiers, training, retrieval and cost, and what it advises to try next.

Each function takes what a stage wrote and returns what the template needs: figures untouched, plots as SVG. A missing
key raises KeyError, which `report` turns into a message with the file's name.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.plots import dev_curve, entropy_bars, interval_bars, loss_curve

View = dict[str, Any]
_SIGNIFICANT = 0.05


def provenance(manifests: Mapping[str, Mapping[str, Any]]) -> View:
    """What was run: a row a stage, and what the stages' manifests say about machine, versions, commit and seed."""
    stages = [
        {
            "folder": folder,
            "stage": manifest["stage"],
            "seconds": manifest.get("facts", {}).get("seconds"),
            "seed": manifest.get("seed"),
            "made_at": manifest.get("made_at"),
            "config": manifest.get("config"),
        }
        for folder, manifest in manifests.items()
    ]
    machines = [manifest.get("machine", {}) for manifest in manifests.values()]
    versions = [manifest.get("versions", {}) for manifest in manifests.values()]
    facts = {
        "processor": _distinct(machine.get("cpu") for machine in machines),
        "cores": _distinct(machine.get("cores") for machine in machines),
        "system": _distinct(machine.get("system") for machine in machines),
        "Python": _distinct(machine.get("python") for machine in machines),
        "commit": _distinct(manifest.get("git_commit") for manifest in manifests.values()),
        "seed": _distinct(manifest.get("seed") for manifest in manifests.values()),
        **{
            package: _distinct(one.get(package) for one in versions)
            for package in {p: 0 for one in versions for p in one}
        },
    }
    return {
        "stages": stages,
        "total_seconds": sum(stage["seconds"] or 0 for stage in stages),
        "facts": {name: value for name, value in facts.items() if value},
        "finished": max(str(manifest.get("made_at", "")) for manifest in manifests.values()),
    }


def data(facts: Mapping[str, Any]) -> View:
    """Documents, queries, and judged queries a split."""
    return {"documents": facts["documents"], "queries": facts["queries"], "splits": dict(facts["splits"])}


def identifiers(facts: Mapping[str, Any]) -> View:
    """The diagnostics of `docids.quality.diagnose`, with the entropy of every level as a plot."""
    levels = facts["levels"]
    alt = "Bar chart, bits of entropy at each position of the identifiers: " + _spoken(
        (f"position {level['level'] + 1}", level["entropy_bits"]) for level in levels
    )
    return {**facts, "plot": entropy_bars("entropy", alt, levels)}


def training(record: Mapping[str, Any]) -> View:
    """The history of a training run, as two plots and a table. History's first row is the untrained start."""
    history, measure = record["history"], record["measure"]
    best_step = record["best_step"]
    dev_alt = f"Line chart of {measure} over the training steps: " + _spoken(
        (f"step {row['step']}", row["dev"]) for row in history
    )
    loss_alt = "Line chart of the training loss: " + _spoken(
        (f"step {row['step']}", row["loss"]) for row in history[1:]
    )
    return {
        **record,
        "start": history[0]["dev"],
        "steps": history[-1]["step"],
        "dev_plot": dev_curve("dev", dev_alt, history, best_step, measure),
        "loss_plot": loss_curve("loss", loss_alt, history) if len(history) > 1 else "",
    }


def retrieval(record: Mapping[str, Any]) -> View:
    """Every run on every measure: a grid of rows for the table, and a bar plot a measure."""
    cells = {(row["run"], row["measure"]): row for row in record["rows"]}
    runs = list(dict.fromkeys(row["run"] for row in record["rows"]))
    measures = list(record["measures"])
    grid = [{"run": run, "cells": [_cell(cells[run, measure]) for measure in measures]} for run in runs]
    best = {measure: max(cells[run, measure]["mean"] for run in runs) for measure in measures}
    plots = [
        {
            "measure": measure,
            "svg": interval_bars(
                f"measure{index}",
                f"Bar chart of {measure} by run: " + _spoken((run, cells[run, measure]["mean"]) for run in runs),
                runs,
                [cells[run, measure] for run in runs],
                [index_of > 0 for index_of in range(len(runs))],
            ),
        }
        for index, measure in enumerate(measures)
    ]
    return {
        "split": record["split"],
        "queries": record["queries"],
        "measures": measures,
        "meanings": {measure: text for measure in measures if (text := meaning(measure))},
        "first": runs[0],
        "grid": grid,
        "best": best,
        "plots": plots,
    }


def cost(record: Mapping[str, Any]) -> View | None:
    """Seconds and bytes of every run; None where the runs were made elsewhere and nothing is known of their cost."""
    costs = record.get("costs") or {}
    rows = [
        {
            "run": run,
            "build_seconds": one["build_seconds"],
            "search_seconds": one["search_seconds"],
            "queries": one["queries"],
            "milliseconds": 1000 * one["search_seconds"] / one["queries"] if one["queries"] else None,
            "bytes": one["bytes"],
        }
        for run, one in costs.items()
    ]
    return {"rows": rows} if rows else None


def next_steps(folder: Path, views: Mapping[str, View | None]) -> list[tuple[str, str]]:
    """(advice, command) pairs that follow from the figures; the command may be empty."""
    place = {name: shlex.quote(str(folder / name)) for name in ("data", "docids", "model")}
    steps: list[tuple[str, str]] = []
    table, learned = views.get("identifiers"), views.get("training")
    if table and table["collision_rate"] > 0.1:
        steps.append(
            (
                f"{table['collision_rate']:.0%} of the documents share their identifier with another, "
                "and no model can tell these apart: "
                "give identifiers more levels or more codes.",
                f"genir docids build --data {place['data']} --scheme {table['scheme']} --set levels=8 --out DIR",
            )
        )
    if learned and learned["steps"] and learned["best_step"] == 0:
        steps.append(
            (
                "No step of training was better than the untrained start: lower the learning rates, "
                "or use the ranking objective.",
                "",
            )
        )
    elif learned and learned["steps"] and learned["best_step"] == learned["steps"]:
        steps.append(
            ("The last evaluation was the best one: the model was still learning, so train for more epochs.", "")
        )
    if (folder / "model" / "config.json").is_file():
        steps.append(("Ask the trained model for documents:", f'genir search --model {place["model"]} "your question"'))
    if (folder / "data" / "corpus.jsonl").is_file():
        trained = (
            f"--model {place['model']} --retriever generative"
            if (folder / "model" / "config.json").is_file()
            else "--retriever bm25"
        )
        steps.append(
            ("Get an answer with its source:", f'genir answer "your question" --data {place["data"]} {trained}')
        )
        if table:
            other = "hierarchical" if table["scheme"] != "hierarchical" else "residual"
            steps.append(
                (
                    f"Compare the {table['scheme']} identifiers with another scheme:",
                    f"genir docids build --data {place['data']} --scheme {other} --out DIR",
                )
            )
    steps.append(("Make the same journey with your own documents:", "genir data import SOURCE --out DIR"))
    return steps


def meaning(measure: str) -> str:
    """One sentence about a measure of ir_measures; empty for one that we have no words for."""
    name, _, cutoff = measure.partition("@")
    depth = f"the first {cutoff}" if cutoff and cutoff != "1" else "the first one" if cutoff else "all"
    return {
        "Success": f"share of the queries with a right document among {depth}",
        "R": f"share of a query's right documents that stand among {depth}",
        "P": f"share of {depth} that is right",
        "RR": f"1 / rank of the first right document, 0 where none is among {depth}",
        "AP": "mean precision at the ranks of the right documents",
        "nDCG": f"gain of {depth}, less the lower it stands, as a share of the best possible",
    }.get(name, "")


def p_value(value: float) -> str:
    """A p-value in the usual three decimals."""
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".", 1)


def in_bytes(value: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def _cell(row: Mapping[str, Any]) -> View:
    p = row["p_corrected"]
    return {**row, "significant": p is not None and p < _SIGNIFICANT}


def _distinct(values: Any) -> list[Any]:
    """What the manifests say, each thing once, in their order."""
    return list(dict.fromkeys(value for value in values if value is not None))


def _spoken(pairs: Any) -> str:
    """Figures in words, for those who hear the plot; a long series gives its ends and its extremes."""
    points: Sequence[tuple[str, float]] = list(pairs)
    if len(points) > 12:
        low, high = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
        shown = [("first, " + points[0][0], points[0][1]), ("last, " + points[-1][0], points[-1][1])]
        points = [*shown, ("lowest, " + low[0], low[1]), ("highest, " + high[0], high[1])]
    return "; ".join(f"{name} {value:.3f}" for name, value in points) + "."
