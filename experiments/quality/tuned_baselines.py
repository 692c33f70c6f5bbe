"""The baselines at their best, each with what it cost: BM25 tuned on all judged questions but those compared on, dense encoders over the
fields that dev likes better, and their hybrids tuned on dev.

BM25 learns nothing from questions, so that the training ones say as much about its settings as the dev split's, which may be few; a
fine-tuned encoder has learnt them, so that a hybrid's weight is for dev alone to say.

Names: `bm25_default`, `bm25` (tuned), one for every encoder given (e.g. `dense`, `dense_finetuned`), and for each of these
`hybrid_<name>` (linear, weight and normalisation tuned) and `hybrid_<name>_rrf` (reciprocal ranks, nothing to tune), both with the
tuned BM25. Training a baseline's parts and tuning them counts as building it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from experiments.retrieval import DEV_DEPTH, Built, build_hybrid, build_retriever, fuse
from experiments.training.dense import fields_read
from genir.errors import DataError
from genir.measures import evaluate_all
from genir.records import Dataset, Fields, Qrels, Query
from retrievers.fusion import HybridRetriever
from retrievers.tuning import MEASURE, BM25Grid, TunedBM25, TunedHybrid, tune_bm25

_TRAINING_QUESTIONS = 2000  # that BM25 is tuned on at most, beside dev


@dataclass(frozen=True)
class Baselines:
    """Retrievers ready to search, by name, and how their settings were chosen."""

    built: Mapping[str, Built]
    bm25: TunedBM25
    hybrids: Mapping[str, TunedHybrid]


def build_baselines(
    dataset: Dataset,
    data: Path,
    encoders: Mapping[str, str],
    measure: str = MEASURE,
    cache: Path | None = None,
    device: str = "auto",
    grid: BM25Grid | None = None,
) -> Baselines:
    """Tune and build every baseline; `encoders` maps a baseline's name to an encoder's name or folder.

    Raises DataError where the data set has no dev split.
    """
    if not dataset.qrels.get("dev"):
        raise DataError(f"{dataset.name}: has no dev split to tune on; add qrels/dev.tsv")
    tuned = tune_bm25(dataset.corpus, *_to_tune_bm25(dataset), grid, measure)
    bm25 = build_retriever("bm25", dataset, data, bm25=tuned.settings)
    where = "train and dev" if dataset.qrels.get("train") else "dev"
    chosen = {"tuned_on": f"{where}: {measure} {tuned.value:.4f} of {tuned.queries} queries"}
    bm25 = replace(bm25, build_seconds=bm25.build_seconds + tuned.seconds, settings={**bm25.settings, **chosen})
    built = {"bm25_default": build_retriever("bm25", dataset, data), "bm25": bm25}
    lexical = bm25.retriever.search(dataset.split("dev"), DEV_DEPTH)
    hybrids: dict[str, TunedHybrid] = {}
    for name, encoder in encoders.items():
        dense = built[name] = build_dense(dataset, data, encoder, measure, cache, device)
        built[f"hybrid_{name}"], hybrids[f"hybrid_{name}"] = build_hybrid(bm25, dense, dataset, measure, lexical)
        ranks = HybridRetriever(bm25.retriever, dense.retriever, method="reciprocal-rank")
        built[f"hybrid_{name}_rrf"] = fuse(ranks, bm25, dense, 0.0, {})
    return Baselines(built, tuned, hybrids)


def build_dense(
    dataset: Dataset, data: Path, encoder: str, measure: str = MEASURE, cache: Path | None = None, device: str = "auto"
) -> Built:
    """A dense index of what its encoder learnt to read, or of the other fields where dev likes these better; trying counts as building."""
    usual, begun = fields_read(encoder), time.monotonic()
    built = build_retriever("dense", dataset, data, encoder=encoder, cache=cache, device=device, fields=usual)
    if not any(one.title.strip() for one in dataset.corpus):
        return built
    (other,) = (fields for fields in get_args(Fields) if fields != usual)
    another = build_retriever("dense", dataset, data, encoder=encoder, cache=cache, device=device, fields=other)
    queries, qrels = dataset.split("dev"), dataset.qrels["dev"]
    runs = [one.retriever.search(queries, DEV_DEPTH) for one in (built, another)]
    values = [round(next(iter(one.means.values())), 6) for one in evaluate_all(runs, qrels, [measure])]
    best = another if values[1] > values[0] else built
    seconds = float(best.settings["training_seconds"]) + time.monotonic() - begun
    on_dev = dict(zip((usual, other), values, strict=True))
    return replace(best, build_seconds=seconds, settings={**best.settings, "dev": {measure: on_dev}})


def _to_tune_bm25(dataset: Dataset) -> tuple[list[Query], Qrels]:
    """The dev split's questions, and training questions, thinned evenly to so many."""
    judged = dict(dataset.qrels["dev"].judgements)
    others = [
        (key, found) for key, found in dataset.qrels.get("train", Qrels({})).judgements.items() if key not in judged
    ]
    judged.update(others[:: max(1, -(-len(others) // _TRAINING_QUESTIONS))])
    return [dataset.queries[query_id] for query_id in judged], Qrels(judged)
