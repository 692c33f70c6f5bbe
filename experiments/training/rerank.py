"""The stage that adds a rerank head to a model with terms: a model folder -> a model folder that can also rerank its beam.

The training questions are searched, and a head learns from their beams which documents are right, by what the model knows of each
(`retrievers.rerank_head`). Weight decay and number of steps are chosen on the dev split; without one, on a tenth of the training
questions, kept from learning. Everything else of the model stays as it is.

Known gap: the model itself has learnt from the same training questions, so their beams are better than those of new ones; the choice
on dev, which may be to learn nothing, guards against that.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from experiments.data_stage import tell_reused
from experiments.reranking import planning_of
from experiments.trained_model import RERANK
from experiments.training.examples import DevSet, judged_dev
from experiments.training.model import DEV_MEASURE, MADE_BY, STAGE, check_same_corpus
from experiments.training.model_folder import copy_model
from genir.config import from_mapping, load_toml
from genir.errors import ArtefactError, ConfigError, DataError
from genir.formats import CORPUS, load_dataset
from genir.manifest import MANIFEST, check_out, is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.measures import evaluate
from genir.models.rerank_head import RerankHead
from genir.records import Dataset, Qrels, Query, Run
from genir.rerank_training import Lists, RerankCourse, RerankTraining, learn_rerank_head
from retrievers.planning import PlanningRetriever
from retrievers.rerank_head import FEATURES, ModelFeatures

_EVERY = 10  # training questions of which one is measured on where there is no dev split


@dataclass(frozen=True)
class RerankConfig:
    """Everything that `genir train-rerank --config FILE` may set. Unknown keys are refused."""

    depth: int = 50  # documents of a beam
    max_queries: int = 4000  # of more training questions some are left out, evenly
    dev_queries: int = 2000
    training: RerankTraining = field(default_factory=RerankTraining)

    def __post_init__(self) -> None:
        if min(self.depth - 1, self.max_queries, self.dev_queries) < 1:
            raise ConfigError(
                f"depth is {self.depth}, max_queries {self.max_queries}, dev_queries {self.dev_queries}: expected a depth of at least "
                "2, and at least 1 of the others"
            )

    @classmethod
    def read(cls, path: Path | None) -> "RerankConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))


def train_rerank(data: Path, source: Path, config: RerankConfig, out: Path) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest. Raises ConfigError for a model without terms."""
    dataset = load_dataset(data)
    before = read_manifest(source, STAGE, MADE_BY)
    check_same_corpus(before, sha256_of(data / CORPUS), source, data)
    settings = before["config"] | {RERANK: asdict(config)}
    inputs = before["inputs"] | {"model": sha256_of(source / MANIFEST)}
    seed = config.training.seed
    if is_current(out, STAGE, settings, inputs, seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    if out.resolve() == source.resolve():
        raise ArtefactError(f"{out}: is the model that a head is to be added to; give the name of a new folder")
    begun = time.monotonic()
    planning = planning_of(source)
    check_out(out, (*(path.name for path in source.iterdir()), RERANK))
    head, course, measured = learn_rerank(dataset, planning, config)
    copy_model(source, out)
    head.save(out / RERANK)
    write_json(out / RERANK / "training.json", {**asdict(course), "measure": measured})
    spent = round(time.monotonic() - begun, 1)
    facts = {
        "rerank_lists": course.lists,
        "rerank_measure": measured,
        "rerank_start_dev": course.start,
        "rerank_best_dev": course.best,
        "rerank_weight_decay": course.weight_decay,
        "rerank_steps": course.step,
        "rerank_seconds": spent,
        "seconds": before["facts"]["seconds"] + spent,
    }
    return write_manifest(out, STAGE, settings, inputs, seed, **before["facts"] | facts)


def learn_rerank(
    dataset: Dataset, planning: PlanningRetriever, config: RerankConfig
) -> tuple[RerankHead, RerankCourse, str]:
    """A head for a model's search, how it was learnt, and the name of its figure. Raises DataError without training questions."""
    if not dataset.qrels.get("train"):
        raise DataError(f"{dataset.name}: has no training questions to learn reranking from; add qrels/train.tsv")
    qrels, dev = dataset.qrels["train"], judged_dev(dataset, config.dev_queries)
    questions = list(dataset.split("train"))
    if dev is None:
        kept = questions[::_EVERY][: config.dev_queries]
        judged = Qrels({query.query_id: qrels.judgements[query.query_id] for query in kept})
        dev = DevSet("held-out training questions", tuple(kept), judged)
        questions = [query for i, query in enumerate(questions) if i % _EVERY] or questions
    questions = questions[:: max(1, -(-len(questions) // config.max_queries))]
    titles = {document.doc_id: document.title for document in dataset.corpus}
    features = ModelFeatures(planning, titles, planning.settings.batch_size)
    lists, _ = lists_of(planning, features, questions, qrels, config.depth)
    figure = _dev_figure(*lists_of(planning, features, dev.queries, dev.qrels, config.depth), dev)
    head, course = learn_rerank_head(lists, FEATURES, config.training, figure)
    return head, course, f"{DEV_MEASURE} on {dev.name}"


def lists_of(
    planning: PlanningRetriever, features: ModelFeatures, queries: Sequence[Query], qrels: Qrels, depth: int
) -> tuple[Lists, list[list[str]]]:
    """The beams of questions as lists to learn from, and their doc_ids."""
    settings = replace(planning.settings, num_beams=max(depth, planning.settings.num_beams))
    deep = PlanningRetriever(planning.model, planning.identifiers, planning.head, settings)
    run = deep.search(queries, depth)
    found = [[one.doc_id for one in run.rankings[query.query_id]] for query in queries]
    parts = features.of([query.text for query in queries], found)
    M = max(map(len, found), default=0)
    base = torch.zeros(len(found), M)
    rows = torch.zeros(len(found), M, len(FEATURES))
    present, right = (torch.zeros(len(found), M, dtype=torch.bool) for _ in range(2))
    for i, (query, doc_ids, (own, values)) in enumerate(zip(queries, found, parts, strict=True)):
        base[i, : len(own)], rows[i, : len(own)], present[i, : len(own)] = own, values, True
        relevant = set(qrels.relevant(query.query_id))
        right[i, : len(own)] = torch.tensor([doc_id in relevant for doc_id in doc_ids], dtype=torch.bool)
    return Lists(base, rows, present, right), found


def _dev_figure(lists: Lists, found: Sequence[Sequence[str]], dev: DevSet) -> Callable[[RerankHead], float]:
    @torch.no_grad()
    def figure(head: RerankHead) -> float:
        scores = head(lists.base, lists.features).tolist()
        rankings = {
            query.query_id: Run.rank(dict(zip(doc_ids, row, strict=False)), 10)
            for query, doc_ids, row in zip(dev.queries, found, scores, strict=True)
        }
        return round(evaluate(Run(RERANK, rankings), dev.qrels, [DEV_MEASURE]).means[DEV_MEASURE], 6)

    return figure
