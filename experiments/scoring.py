"""The evaluation stage: run files and judgements -> one comparison of all of them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genir.errors import ConfigError, DataError
from genir.formats import load_dataset, read_run
from genir.measures import DEFAULT_MEASURES, compare_scores, evaluate_all
from genir.records import Run
from retrievers.index_files import read_json


def compare_runs(
    paths: Sequence[Path], data: Path, split: str, measures: Sequence[str] | None = None
) -> dict[str, Any]:
    """Score run files on a split; a run is named after its file. Raises DataError for two files of one name.

    Returns plain JSON values: split, queries, measures, rows (genir.measures.Comparison), per_query, costs (of the runs that
    have a file of settings beside them).
    """
    names = [path.stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two runs are called {name!r}; give the files different names")
    if not paths:
        raise ConfigError("no runs given: name at least one TREC run file")
    dataset = load_dataset(data, [split])
    qrels = dataset.qrels[split]
    runs = [Run(path.stem, read_run(path).rankings) for path in paths]
    chosen = list(measures or DEFAULT_MEASURES)
    scores = evaluate_all(runs, qrels, chosen)
    beside = {path.stem: path.with_suffix(".json") for path in paths}
    about = {name: read_json(path) for name, path in beside.items() if path.is_file()}
    costs = {name: one["cost"] for name, one in about.items() if isinstance(one, dict) and "cost" in one}
    for score in scores:
        if score.unanswered:
            warnings.warn(
                f"run {score.name!r} ranks nothing for {score.unanswered} of the {len(qrels)} queries of {split!r}: they score 0",
                stacklevel=2,
            )
    return {
        "split": split,
        "queries": len(qrels),
        "measures": chosen,
        "rows": [asdict(row) for row in compare_scores(scores)],
        "costs": costs,
        "per_query": {score.name: score.per_query for score in scores},
    }


def metrics_table(scored: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
    """(rows, columns) for a person: one row a run, one column a measure, "mean [low, high]" and a star where p < .05."""
    rows: dict[str, dict[str, str]] = {}
    for row in scored["rows"]:
        star = "*" if row["p_corrected"] is not None and row["p_corrected"] < 0.05 else ""
        cell = f"{row['mean']:.3f}{star} [{row['low']:.3f}, {row['high']:.3f}]"
        rows.setdefault(row["run"], {"run": row["run"]})[row["measure"]] = cell
    return list(rows.values()), ["run", *scored["measures"]]
