"""Tables in Markdown of the figures under results/quality, for the documents."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.tables import markdown

LABELS = {
    "bm25": "BM25, tuned",
    "dense": "dense, zero-shot",
    "dense_finetuned": "dense, fine-tuned",
    "hybrid_zero_shot": "hybrid, zero-shot",
    "hybrid": "hybrid, fine-tuned",
    "dense_views": "dense, fine-tuned, best of views",
    "hybrid_views": "hybrid of that and BM25",
    "hybrid_terms": "the same with the generative model's terms for BM25",
    "generative": "**generative: codes and terms**",
    "generative_sequence_only": "its codes alone",
    "generative_terms_only": "its terms alone",
    "generative_random_ids": "random codes (control)",
}
HEADLINE = {"scifact": "nDCG@10", "medquad (consumer)": "nDCG@10"}  # elsewhere Success@1


def quality_table(summary: Mapping[str, Any]) -> str:
    """The headline measure: systems down, data sets across; a star where a system differs from tuned BM25."""
    columns: dict[str, list[str]] = {}
    for name in sorted(summary):
        measure = HEADLINE.get(name, "Success@1")
        cells = columns[f"{name}, {measure}"] = []
        for system in LABELS:
            found = summary[name].get(system, {}).get(measure)
            star = "*" if found and found.get("p_bm25_corrected", 1) < 0.05 else ""
            cells.append(f"{found['mean']:.3f}{star}" if found else "")
    return _by_system(columns)


def parts_table(results: Mapping[str, Any]) -> str:
    """The headline measure on questions about documents with and without training questions, of splits that have both."""
    columns: dict[str, list[str]] = {}
    for dataset, found in sorted(results.items()):
        for split, figures in found["splits"].items():
            name = dataset if split == "test" else f"{dataset} ({split})"
            measure = HEADLINE.get(name, "Success@1")
            if len(figures["parts"]) > 1:
                for part, rows in sorted(figures["parts"].items()):
                    columns[f"{name}, {part}, {measure}"] = _means(rows, measure)
    return _by_system(columns)


def labels_table(figures: Mapping[str, Any]) -> str:
    """The headline measure of the test split: systems down, shares of the training questions across."""
    columns = {}
    for name, rows in figures.items():
        dataset, _, share = name.partition(", share ")
        measure = HEADLINE.get(dataset, "Success@1")
        columns[f"{dataset}, {100 * float(share):g} %, {measure}"] = _means(rows, measure)
    return _by_system(columns)


def ablation_table(results: Mapping[str, Any]) -> str:
    """Success@1 of the test split and how far each switch moves it, with terms and without; a star: p < .05, corrected."""
    figures, rows = results["splits"]["test"], []
    for name, about in results["rows"].items():
        cells = [name, about["base"] or ""]
        for ending in ("", ", codes alone"):
            found = figures.get(name + ending, {}).get("Success@1")
            base = figures.get(f"{about['base']}{ending}", {}).get("Success@1")
            star = "*" if found and found.get(f"p_{about['base']}{ending}_corrected", 1) < 0.05 else ""
            cells.append(f"{found['mean']:.3f}" if found else "")
            cells.append(f"{found['mean'] - base['mean']:+.3f}{star}" if found and base else "")
        rows.append(cells)
    return markdown(["switch", "compared with", "Success@1", "difference", "codes alone", "difference"], rows)


def costs_table(costs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """What the systems of one data set cost, seeds averaged: making them, a question, memory for the index and for all."""
    rows = []
    for system in filter(costs.__contains__, LABELS):
        found = {key: statistics.mean(one[key] for one in costs[system]) for key in costs[system][0]}
        asked = 1000 * found["search_seconds"] / found["queries"]
        sizes = [f"{found[key] / 1e6:.1f}" for key in ("index_bytes", "bytes")]
        rows.append([LABELS[system], f"{found['build_seconds'] / 60:.1f}", f"{asked:.1f}", *sizes])
    return markdown(["system", "made in, minutes", "a question, ms", "index, MB", "with weights, MB"], rows)


def _means(rows: Mapping[str, Any], measure: str) -> list[str]:
    """Every system's mean; nothing for those that are not there."""
    return [f"{rows[system][measure]['mean']:.3f}" if system in rows else "" for system in LABELS]


def _by_system(columns: Mapping[str, Sequence[str]]) -> str:
    """Systems down; those that no column has are left out."""
    rows = [list(cells) for cells in zip(LABELS.values(), *columns.values(), strict=True)]
    return markdown(["system", *columns], [row for row in rows if any(row[1:])])
