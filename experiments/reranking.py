"""Rerankers by name over any retriever: `--rerank KIND[:NAME_OR_DIR]` of `genir search`.

    cross-encoder:NAME   a Hugging Face sequence classifier        likelihood:NAME   how likely a language model finds the question
    writer:DIR           the same by a query writer of ours        head              what `genir train-rerank` put into the model

The weight of the first retriever's score is tuned on the dev split where there is one and none is given. A head needs no weight: the
model's own score is where it starts from.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.registry import RERANKERS
from experiments.retrieval import Built
from experiments.trained_model import RERANK, load_model_for
from experiments.training.examples import judged_dev
from genir.devices import pick_device
from genir.errors import ArtefactError, ConfigError, unknown_name
from genir.models.rerank_head import RerankHead
from genir.query_writer import QueryWriter
from genir.records import Dataset
from retrievers.cross_encoder import CrossEncoder
from retrievers.likelihood import QueryLikelihood, WriterLikelihood
from retrievers.planning import PlanningRetriever
from retrievers.rerank import PairScorer, RerankingRetriever, tune_weight
from retrievers.rerank_head import HeadScorer, ModelFeatures
from retrievers.views import ViewsRetriever

MEASURE = "RR@10"
DEV_QUERIES = 200  # at most so many are reranked to choose a weight
_SOURCES = {"cross-encoder": "NAME_OR_DIR", "likelihood": "NAME_OR_DIR", "writer": "DIR", "head": ""}


@dataclass(frozen=True, slots=True)
class RerankChoice:
    """What `--rerank`, `--rerank-depth` and `--rerank-weight` say; `weight` None is tuned."""

    kind: str
    source: str = ""
    depth: int = 50
    weight: float | None = None

    @classmethod
    def parse(cls, text: str, depth: int = 50, weight: float | None = None) -> "RerankChoice":
        """Raises ConfigError for an unknown kind, or a source that is missing or too much."""
        kind, _, source = text.partition(":")
        if kind not in RERANKERS:
            raise unknown_name("reranker", kind, RERANKERS)
        wanted = _SOURCES[kind]
        if bool(wanted) != bool(source):
            expected = f"{kind}:{wanted}" if wanted else f"{kind} alone: it comes with the model"
            raise ConfigError(f"--rerank {text}: expected {expected}")
        return cls(kind, source, depth, weight)


def rerank(built: Built, choice: RerankChoice, dataset: Dataset, model: Path | None, device: str = "auto") -> Built:
    """`built` with a reranker over it; what it costs is added. Raises ConfigError and ArtefactError where it cannot be made."""
    begun = time.monotonic()
    scorer = _scorer(choice, built, dataset, model, device)
    weight, tuned_on = choice.weight, "nothing: given"
    if weight is None:
        weight, tuned_on = 0.0, "nothing: no dev split"
        dev = judged_dev(dataset, DEV_QUERIES)
        if choice.kind == "head":
            tuned_on = "nothing: the head starts from the model's score"
        elif dev is not None:
            untuned = RerankingRetriever(built.retriever, dataset.corpus, scorer, choice.depth)
            found = built.retriever.search(dev.queries, choice.depth)
            weight = tune_weight(found, untuned.rescore(dev.queries, found), dev.qrels, MEASURE).weight
            tuned_on = f"dev, {len(dev.queries)} queries"
    retriever = RerankingRetriever(built.retriever, dataset.corpus, scorer, choice.depth, weight)
    about: dict[str, Any] = {"kind": choice.kind, "source": choice.source, **asdict(retriever.settings)}
    return replace(
        built,
        retriever=retriever,
        build_seconds=built.build_seconds + time.monotonic() - begun,
        weight_bytes=built.weight_bytes + scorer.nbytes,
        settings={**built.settings, "rerank": {**about, "weight_tuned_on": tuned_on}},
    )


def _scorer(choice: RerankChoice, built: Built, dataset: Dataset, model: Path | None, device: str) -> PairScorer:
    if choice.kind == "cross-encoder":
        return CrossEncoder(choice.source, device=device)
    if choice.kind == "likelihood":
        return QueryLikelihood(choice.source, device=device)
    if choice.kind == "writer":
        return WriterLikelihood(QueryWriter.load(Path(choice.source)).to(pick_device(device)))
    if model is None:
        raise ConfigError("--rerank head needs a model that has one: give --model DIR (made by `genir train-rerank`)")
    if not (model / RERANK).is_dir():
        raise ArtefactError(f"{model}: has no rerank head; train one with `genir train-rerank`")
    planning = built.retriever
    if not isinstance(planning, PlanningRetriever):
        planning = planning_of(model, device)
    titles = {document.doc_id: document.title for document in dataset.corpus}
    return HeadScorer(ModelFeatures(planning, titles), RerankHead.load(model / RERANK))


def planning_of(model: Path, device: str = "auto") -> PlanningRetriever:
    """A model's search with its terms. Raises ConfigError where it has none."""
    searcher = load_model_for("generative", model, device).retriever()
    if not isinstance(searcher, PlanningRetriever):
        raise ConfigError(f"{model}: has no terms, which a rerank head is made of; add them with `genir train-terms`")
    if isinstance(searcher, ViewsRetriever):
        raise ConfigError(f"{model}: a rerank head is for documents with one identifier each, not for views")
    return searcher
