"""Experiment `schemes`: identifiers of several schemes under one model, one training and one budget, beside BM25, dense and hybrid.

Rows: bm25, dense, hybrid, `residual-untrained` (the codebook start), and one a scheme, `random` among them: the control whose identifiers
say nothing about their documents. No row but bm25 and hybrid has any lexical help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.data_stage import build_docids
from experiments.report import REPORT, write_report
from experiments.retrieval import build_retriever, is_searched, search_split
from experiments.scoring import compare_runs
from experiments.training.model import train_model
from experiments.training.model_config import ModelConfig
from experiments.training.model_folder import history_of
from genir.embedding import DEFAULT_ENCODER
from genir.formats import dataset_sha256, load_dataset
from genir.manifest import MANIFEST, sha256_of, write_json, write_manifest

BASELINES = ("bm25", "dense", "hybrid")
SCHEMES = ("residual", "hierarchical", "atomic", "random")
MEASURES = ("Success@1", "R@10", "RR@10", "nDCG@10")
DEPTH = 100


def run(
    data: Path,
    out: Path,
    config: ModelConfig,
    work: Path,
    schemes: Sequence[str] = SCHEMES,
    settings: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Make or reuse every row under `work`, and write summary.json, metrics.json, learning curves and a plot to `out`.

    `settings` maps a scheme to its `name=value` settings; a scheme that it leaves out keeps its own.
    """
    dataset = load_dataset(data)
    inputs = {"dataset": dataset_sha256(data)}
    runs: list[Path] = []
    about: dict[str, Any] = {}

    def search(name: str, retriever: str, model: Path | None = None) -> None:
        path = work / "runs" / f"{name}.trec"
        runs.append(path)
        made_of = inputs | ({} if model is None else {"model": sha256_of(model / MANIFEST)})
        if is_searched(path, made_of):
            return
        built = build_retriever(retriever, dataset, data, model, cache=work / "cache")
        search_split(built, dataset, "test", DEPTH, path, made_of)

    for name in BASELINES:
        search(name, name)
    untrained = replace(config, training=replace(config.training, epochs=0))
    for scheme in schemes:
        docids = work / "docids" / scheme
        diagnosis = build_docids(
            data, docids, scheme, (settings or {}).get(scheme, ()), DEFAULT_ENCODER, work / "cache"
        )["facts"]
        variants = {scheme: config} | ({"residual-untrained": untrained} if scheme == "residual" else {})
        for name, variant in variants.items():
            model = work / "models" / name
            facts = train_model(data, docids, variant, model, resume=True, overwrite=True)["facts"]
            search(name, "generative", model)
            about[name] = {"training": facts, "history": history_of(model), "identifiers": diagnosis}
    scored = compare_runs(runs, data, "test", MEASURES)
    per_query = scored.pop("per_query")
    summary = {dataset.name: _summary(scored["rows"])}
    write_json(out / "summary.json", summary)
    write_json(out / "metrics.json", scored | {"systems": about})
    write_json(out / "per_query.json", {run: values["RR@10"] for run, values in per_query.items()})
    (out / REPORT).unlink(missing_ok=True)  # shows the manifest, hence written after it and none of its outputs
    write_manifest(out, "experiment schemes", asdict(config), inputs, config.training.seed, depth=DEPTH)
    write_report(out)
    return scored


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """System -> measure -> {mean, low, high, p (against the first run, corrected)}."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        figures = {key: row[key] for key in ("mean", "low", "high")} | {"p": row["p_corrected"]}
        summary.setdefault(row["run"], {})[row["measure"]] = figures
    return summary
