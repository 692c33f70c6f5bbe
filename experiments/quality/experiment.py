"""Experiment `quality`: our best generative model beside BM25, a fine-tuned dense encoder and their hybrid, all tuned.

Compared on every split that nothing is learnt from (test, and whatever else a data set has); the systems are those of
`experiments.quality.stage`. With several seeds a system's value for a query is the mean over them. p-values are of paired
randomisation tests, Holm-corrected over the systems and measures that are tested against the same one. A query is "seen" where one of
the documents that it needs has questions among those that were learnt from; both parts have intervals and tests of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.quality.config import QualityConfig
from experiments.quality.stage import QualityStage
from experiments.summary_file import merge_summary, read_summary
from genir.formats import dataset_sha256, read_run
from genir.manifest import provenance, write_json
from genir.measures import bootstrap_interval, evaluate_all, holm, randomisation_test
from genir.records import Dataset, Run
from retrievers.index_files import read_json

MEASURES = ("Success@1", "R@10", "RR@10", "nDCG@10")
AGAINST = ("bm25", "dense_finetuned", "dense_views", "hybrid", "hybrid_views", "hybrid_terms")
# system -> measure -> {mean, low, high, p_<system>, p_<system>_corrected}
Figures = dict[str, dict[str, dict[str, float]]]
Values = Mapping[str, Mapping[str, np.ndarray]]  # system -> measure -> one value a query


def run(data: Path, out: Path, config: QualityConfig, work: Path) -> dict[str, Figures]:
    """Make or reuse every row under `work`; write OUT/<data set>.json, and its part of OUT/summary.json.

    Returns that part, with the figures of seen and unseen documents behind it where a split has both.
    """
    read_summary(out)  # so that it is not at the end that a broken one is noticed
    stage = QualityStage.of(data, work, config)
    about = stage.baselines()
    for seed in config.seeds:
        about |= stage.generative(seed) | stage.views(seed) | stage.hybrid_of_terms(seed)
    if config.control:
        about |= stage.control(config.seeds[0])
    dataset = stage.dataset
    summary: dict[str, Figures] = {}
    details: dict[str, Any] = {}
    shown: dict[str, Figures] = {}
    for split in stage.splits:
        name = named(dataset.name, split)
        summary[name], details[split] = score(stage.runs(split), dataset, split)
        shown[name] = summary[name]
        if len(details[split]["parts"]) > 1:
            shown |= {f"{name}, {part}": figures for part, figures in details[split]["parts"].items()}
    write_json(out / f"{dataset.name}.json", {"questions": stage.questions, "splits": details, "systems": about})
    merge_summary(out, summary)
    inputs = {"dataset": dataset_sha256(data)}
    stamp = provenance("experiment quality", asdict(config), inputs, config.seeds[0])
    write_json(out / f"{dataset.name}.manifest.json", stamp)
    return shown


def named(dataset: str, split: str) -> str:
    """What a split is called in figures."""
    return dataset if split == "test" else f"{dataset} ({split})"


def score(
    paths: Mapping[str, Sequence[Path]],
    dataset: Dataset,
    split: str,
    tests: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Figures, dict[str, Any]]:
    """One split's part of the summary, and what else there is to say: costs, and the figures of seen and unseen documents.

    `tests` maps a system to those that are tested against it; without, all are against each of `AGAINST`.
    """
    qrels = dataset.qrels[split]
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, files in paths.items():
        scored = evaluate_all([Run(name, read_run(path).rankings) for path in files], qrels, MEASURES)
        values[name] = {
            measure: np.mean([[one.per_query[measure][query] for query in qrels] for one in scored], axis=0)
            for measure in MEASURES
        }
    if tests is None:
        tests = {first: [name for name in values if name != first] for first in AGAINST if first in values}
    trained = {doc_id for query in dataset.qrels.get("train", ()) for doc_id in dataset.qrels["train"].relevant(query)}
    seen = np.array([bool(trained.intersection(qrels.relevant(query))) for query in qrels])
    summary = _figures(values, tests)
    details = {
        "queries": len(qrels),
        "seen_queries": int(seen.sum()),
        "rows": summary,
        "parts": {
            part: _figures(_of(values, chosen), tests)
            for part, chosen in (("seen", seen), ("unseen", ~seen))
            if chosen.any()
        },
        "costs": {
            name: [read_json(path.with_suffix(".json"))["cost"] for path in files] for name, files in paths.items()
        },
    }
    return summary, details


def _of(values: Values, chosen: np.ndarray) -> Values:
    return {name: {measure: rows[chosen] for measure, rows in found.items()} for name, found in values.items()}


def _figures(values: Values, tests: Mapping[str, Sequence[str]]) -> Figures:
    """Means with their intervals, and what `tests` ask for."""
    figures = {name: {measure: _interval(rows) for measure, rows in found.items()} for name, found in values.items()}
    for first, names in tests.items():
        pairs = [(name, measure) for name in names for measure in MEASURES]
        found = [randomisation_test(values[name][m].tolist(), values[first][m].tolist(), 0) for name, m in pairs]
        for (name, measure), p, corrected in zip(pairs, found, holm(found), strict=True):
            figures[name][measure] |= {f"p_{first}": p, f"p_{first}_corrected": corrected}
    return figures


def _interval(values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(values.tolist(), 0)
    return {"mean": float(values.mean()), "low": low, "high": high}
