"""Experiment `quality`: our best generative model beside BM25, a fine-tuned dense encoder and their hybrid, each at its best.

Compared on every split that nothing is learnt from (test, and whatever else a data set has); the systems are those of
`experiments.quality_stage`. With several seeds a generative system's value for a query is the mean over them. p-values are of paired
randomisation tests, Holm-corrected over a split's systems and measures. A query is "seen" where one of the documents that it needs
has training queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.quality_stage import QualityConfig, QualityStage
from experiments.summary_file import merge_summary
from genir.formats import dataset_sha256, read_run
from genir.manifest import provenance, write_json
from genir.measures import bootstrap_interval, evaluate_all, holm, randomisation_test
from genir.records import Dataset, Run
from retrievers.index_files import read_json

MEASURES = ("Success@1", "R@10", "RR@10", "nDCG@10")
AGAINST = ("bm25", "hybrid")


def run(data: Path, out: Path, config: QualityConfig, work: Path) -> dict[str, Any]:
    """Make or reuse every row under `work`; write OUT/<data set>.json, and its part of OUT/summary.json, which is returned."""
    stage = QualityStage.of(data, work)
    about = stage.baselines(config)
    for seed in config.seeds:
        about |= stage.generative(config, seed)
        if config.control and seed == config.seeds[0]:
            about |= stage.control(config, seed)
    dataset = stage.dataset
    summary: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for split in stage.splits:
        name = dataset.name if split == "test" else f"{dataset.name} ({split})"
        summary[name], details[split] = score(stage.runs(split), dataset, split)
    write_json(out / f"{dataset.name}.json", {"splits": details, "systems": about})
    inputs = {"dataset": dataset_sha256(data)}
    stamp = provenance("experiment quality", asdict(config), inputs, config.seeds[0])
    write_json(out / f"{dataset.name}.manifest.json", stamp)
    merge_summary(out, summary)
    return summary


def score(
    paths: Mapping[str, Sequence[Path]], dataset: Dataset, split: str, against: Sequence[str] = AGAINST
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, Any]]:
    """One split's part of the summary, with tests `against` some systems; and what else there is to say."""
    qrels = dataset.qrels[split]
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, files in paths.items():
        scored = evaluate_all([Run(name, read_run(path).rankings) for path in files], qrels, MEASURES)
        values[name] = {
            measure: np.mean([[one.per_query[measure][query] for query in qrels] for one in scored], axis=0)
            for measure in MEASURES
        }
    summary = {name: {measure: _interval(rows) for measure, rows in found.items()} for name, found in values.items()}
    for first in (name for name in against if name in values):
        others = [(name, measure) for name in values if name != first for measure in MEASURES]
        found = [randomisation_test(values[name][m].tolist(), values[first][m].tolist(), 0) for name, m in others]
        for (name, measure), p, corrected in zip(others, found, holm(found), strict=True):
            summary[name][measure] |= {f"p_{first}": p, f"p_{first}_corrected": corrected}
    trained = {doc_id for query in dataset.qrels.get("train", ()) for doc_id in dataset.qrels["train"].relevant(query)}
    seen = np.array([bool(trained.intersection(qrels.relevant(query))) for query in qrels])
    parts = {
        part: {name: {m: float(rows[rows_of].mean()) for m, rows in found.items()} for name, found in values.items()}
        for part, rows_of in (("seen", seen), ("unseen", ~seen))
        if rows_of.any()
    }
    details = {
        "queries": len(qrels),
        "seen_queries": int(seen.sum()),
        "rows": summary,
        "parts": parts,
        "costs": {
            name: [read_json(path.with_suffix(".json"))["cost"] for path in files] for name, files in paths.items()
        },
    }
    return summary, details


def _interval(values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(values.tolist(), 0)
    return {"mean": float(values.mean()), "low": low, "high": high}
