"""The stage that adds terms to a trained model: a model folder -> a model folder that also plans ahead.

The sets start as BM25's with phrases, its parameters chosen on the dev split; a head learns how much each term matters, and the
weight of sequences against terms is chosen on the dev split by searching it. What is learnt are weights alone: a document's set is
every word and phrase of it, before and after. Everything else of the model stays as it is.

With strong sequences near to everything does equally well beside them, on a small dev split by chance: of the settings tried,
those within the standard error of the difference of the best are equals, and of equals the one whose terms find most alone is chosen.

Invariant: the head before any training is searched too, and kept where the trained one is no better, so that the dev figures that
are reported are those of the search that the model will do, and the last is never below the first. While it trains, a head is
measured by exhaustive scoring without the decoder's correction, which is quick.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docids.ngram import NgramTable
from docids.table import DocIDTable
from docids.views import ViewsTable
from experiments.data_stage import tell_reused
from experiments.identifiers import identifiers_of_each, make_searcher
from experiments.trained_model import RERANK, TERMS, TrainedModel
from experiments.training.examples import DevSet, ExamplesConfig, make_examples
from experiments.training.model import DEV_MEASURE, MADE_BY, STAGE, check_same_corpus
from experiments.training.model_folder import copy_model
from genir.config import from_mapping, load_toml
from genir.devices import seed_everything
from genir.errors import ArtefactError, ConfigError
from genir.formats import CORPUS, load_dataset
from genir.manifest import MANIFEST, check_out, is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.measures import as_good, evaluate
from genir.models.code_decoder import CodeDecoder
from genir.models.term_head import TermHead
from genir.records import Dataset, Query, Run
from genir.right_targets import RightTargets
from genir.term_sets import TermCounts, TermSets, TermSetSettings
from genir.term_training import TermObjective, TermTrainee
from genir.training import BEST, CHECKPOINT, TrainingConfig, discard_checkpoint, train
from retrievers.generative import GenerativeSettings

# Of sequences, terms being 1.
_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0)
_GRID: dict[str, tuple[Any, ...]] = {
    "boosts": ((1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 0.0)),  # title, text
    "phrase_weight": (0.0, 0.25, 0.5, 0.75, 1.0),
    "k1": (0.6, 0.9, 1.2, 1.6),
    "b": (0.2, 0.4, 0.6, 0.8),
}


@dataclass(frozen=True)
class TermConfig:
    """Everything that `genir train-terms --config FILE` may set. Unknown keys are refused."""

    sets: TermSetSettings = field(default_factory=TermSetSettings)
    tune: bool = True  # choose boosts, phrase_weight, k1 and b on the dev split, one after another, from `sets` on
    hidden: int = 64
    max_examples: int = 20_000
    joint: bool = True  # learn beside the sequences' scores, not alone
    examples: ExamplesConfig = field(default_factory=lambda: ExamplesConfig(passages=0, pseudo_query_weight=0.0))
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(fresh_learning_rate=1e-3, precision="float32", weight_decay=0.0)
    )
    dev_queries: int = 500

    @classmethod
    def read(cls, path: Path | None) -> "TermConfig":
        """The configuration in a TOML file, or the defaults."""
        return cls() if path is None else from_mapping(cls, load_toml(path), str(path))

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.max_examples < 1 or self.dev_queries < 1:
            raise ConfigError(
                f"hidden is {self.hidden}, max_examples {self.max_examples}, dev_queries {self.dev_queries}: expected at least 1 of each"
            )
        if self.examples.generator.source != "none" or self.examples.consistency.retriever != "none":
            raise ConfigError(
                "terms learn from questions, views of documents and model-free pseudo-queries alone: leave out [examples.generator] and "
                "[examples.consistency]"
            )


def train_terms(data: Path, source: Path, config: TermConfig, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest. Raises ConfigError for a model that is no code_decoder."""
    dataset = load_dataset(data)
    before = read_manifest(source, STAGE, MADE_BY)
    corpus = sha256_of(data / CORPUS)
    check_same_corpus(before, corpus, source, data)
    settings = before["config"] | {TERMS: asdict(config)}
    inputs = before["inputs"] | {"model": sha256_of(source / MANIFEST)}
    if is_current(out, STAGE, settings, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    if out.resolve() == source.resolve():
        raise ArtefactError(f"{out}: is the model that terms are to be added to; give the name of a new folder")
    begun = time.monotonic()
    trained = TrainedModel.load(source)
    if not isinstance(trained.model, CodeDecoder):
        raise ConfigError(f"{source}: terms are for a code_decoder, whose encoder's states are to be had")
    if isinstance(trained.table, NgramTable):
        raise ConfigError(f"{source}: terms are for identifiers of documents, not for {trained.table.scheme}")
    if isinstance(trained.table, ViewsTable) and trained.table.combined != "max":
        raise ConfigError(
            f'{source}: its views are combined by "{trained.table.combined}", and terms go with the best view of a document: build the '
            "identifiers with `--set combine=max`, and train on them"
        )
    check_out(out, (*(path.name for path in source.iterdir()), TERMS, CHECKPOINT, BEST))
    seed_everything(config.training.seed)
    head, facts, progress = learn_terms(dataset, trained, config, out, resume, str(inputs))
    copy_model(source, out, without=(RERANK,))  # a head learnt with other terms
    head.save(out / TERMS)
    write_json(
        out / TERMS / "training.json",
        {**asdict(progress), "measure": f"{facts['terms_measure']}, all documents scored"},
    )
    spent = round(progress.earlier_seconds + time.monotonic() - begun, 1)
    all_facts = before["facts"] | facts | {"terms_seconds": spent, "seconds": before["facts"]["seconds"] + spent}
    manifest = write_manifest(out, STAGE, settings, inputs, config.training.seed, **all_facts)
    discard_checkpoint(out)
    return manifest


def learn_terms(
    dataset: Dataset, trained: TrainedModel, config: TermConfig, folder: Path, resume: bool, made_of: str
) -> tuple[TermHead, dict[str, Any], Any]:
    """A head for a trained model, facts about it, and the progress of its training."""
    model, table = trained.model, trained.table
    assert not isinstance(table, NgramTable)
    by_id = {document.doc_id: document for document in dataset.corpus}
    corpus = [by_id[doc_id] for doc_id in table.tokens]
    numbered = DocIDTable("documents", {doc_id: (i,) for i, doc_id in enumerate(table.tokens)}, len(table))
    examples, dev = make_examples(dataset, numbered, config.examples, config.dev_queries)
    step = max(1, -(-len(examples) // config.max_examples))
    right, examples = RightTargets.of(examples).every(step), examples[::step]
    counts = TermCounts.of(corpus, config.sets.lexicon, config.sets.min_documents)
    identifiers = identifiers_of_each(table)
    state_size = int(model.encoder.config.hidden_size)

    def trainee_of(sets: TermSets) -> TermTrainee:
        head = TermHead(sets, state_size, config.hidden).to(model.device)
        return TermTrainee(head, model, identifiers)

    sets, weight = TermSets.weigh(counts, config.sets), 0.0
    if dev.queries:
        bench = _DevBench(trainee_of(sets), dev)
        chosen, weight = bench.choose(config.sets, counts) if config.tune else (config.sets, bench.best(sets).weight)
        sets = TermSets.weigh(counts, chosen)
    trainee = trainee_of(sets)
    bench = _DevBench(trainee, dev)
    before = _searched(trained, trainee.untrained(sets).eval(), dev, weight)
    objective = TermObjective(trainee, right, weight if config.joint else 0.0)
    progress = train(
        trainee, objective, examples, lambda: bench.best().figure, config.training, folder, resume, made_of
    )
    now = _searched(trained, trainee.head.eval(), dev, bench.best().weight) if progress.best_step else before
    learnt = progress.best_step > 0 and (now.figure > before.figure or not dev.queries)
    found = now if learnt else before
    facts = {
        "terms": len(sets.terms),
        "terms_entries": len(sets.documents),
        "terms_bytes": trainee.head.nbytes,
        "terms_start": asdict(sets.settings),
        "terms_examples": len(examples),
        "terms_measure": f"{DEV_MEASURE} on {dev.name}",
        "terms_start_dev": before.figure,
        "terms_best_dev": found.figure,
        "terms_learnt": learnt,
        "terms_exhaustive_dev": {"start": progress.history[0]["dev"], "best": progress.best},
        "sequence_weight": found.head.sequence_weight,
        "sequence_weight_curve": {f"{weight:g}": value for weight, value in found.curve.items()},
    }
    return found.head, facts, progress


@dataclass(frozen=True)
class _Searched:
    """A head with the weight of sequences that the search of the dev queries likes best, and what it finds with each tried."""

    head: TermHead
    curve: dict[float, float]

    @property
    def figure(self) -> float:
        """The dev figure of the search as it will be; 0 without dev queries."""
        return self.curve.get(self.head.sequence_weight, 0.0)


def _searched(trained: TrainedModel, head: TermHead, dev: DevSet, start: float) -> _Searched:
    """`head` with its weight, climbed from `start` to the best of its neighbours; 1 without dev queries."""
    curve: dict[float, float] = {}
    if not dev.queries:
        return _Searched(head, curve)
    assert isinstance(trained.search, GenerativeSettings)
    search = replace(trained.search, num_beams=min(trained.search.num_beams, 20), terms=True)
    retriever = make_searcher(trained.model, trained.table, search, head)

    def figure(place: int) -> float:
        weight = _WEIGHTS[place]
        if weight not in curve:
            head.sequence_weight = weight
            run = retriever.search(dev.queries, k=10)
            curve[weight] = round(evaluate(run, dev.qrels, [DEV_MEASURE]).means[DEV_MEASURE], 6)
        return curve[weight]

    place = _WEIGHTS.index(start)
    for step in (-1, 1):
        while 0 <= place + step < len(_WEIGHTS) and figure(place + step) > figure(place):
            place += step
    head.sequence_weight = _WEIGHTS[place]
    return _Searched(head, curve)


@dataclass(frozen=True)
class Tried:
    """What the dev queries' best documents are worth: with sequences at the best weight, query by query, and by terms alone."""

    weight: float
    values: np.ndarray  # (queries,)
    alone: float

    @property
    def figure(self) -> float:
        """The mean over the queries."""
        return round(float(self.values.mean()), 6)


def best_of_equals(tried: Mapping[TermSetSettings, Tried]) -> TermSetSettings:
    """Of the settings no worse than the best, but for noise, those whose terms find most alone; the first of several."""
    best = max(tried.values(), key=lambda one: one.figure)
    return max((one for one in tried if as_good(tried[one].values, best.values)), key=lambda one: tried[one].alone)


class _DevBench:
    """The dev queries, read once: figures of terms with sequences at several weights, by exhaustive scoring."""

    def __init__(self, trainee: TermTrainee, dev: DevSet) -> None:
        self.trainee, self.dev = trainee, dev
        parts = [trainee.ask([query.text for query in batch]) for batch in _batches(dev.queries)]
        self.asked = [asked for asked, _ in parts]
        self.sequences = [trainee.sequence_scores(pooled) for _, pooled in parts]

    @torch.no_grad()
    def best(self, sets: TermSets | None = None) -> Tried:
        """At the weight that is best; of `sets` before any training, or of the trainee's head as it is."""
        head = self.trainee.head
        if sets is not None:
            head = self.trainee.untrained(sets)
        terms = [head(asked) for asked in self.asked]
        found = {weight: self._values(terms, weight) for weight in _WEIGHTS}
        weight = max(found, key=lambda one: round(float(found[one].mean()), 6))
        return Tried(weight, found[weight], float(found[0.0].mean()))

    def choose(self, start: TermSetSettings, counts: TermCounts) -> tuple[TermSetSettings, float]:
        """Settings chosen one after another, and the weight that goes with them."""
        settings, tried = start, {start: self.best(TermSets.weigh(counts, start))}
        for name, values in _GRID.items():
            for value in values:
                changed = (
                    {name: value} if name != "boosts" else dict(zip(("title_boost", "text_boost"), value, strict=True))
                )
                one = replace(settings, **changed)
                if one not in tried:
                    tried[one] = self.best(TermSets.weigh(counts, one))
            settings = best_of_equals(tried)
        return settings, tried[settings].weight

    def _values(self, terms: Sequence[torch.Tensor], weight: float) -> np.ndarray:
        """Shape (queries,): the measure of each."""
        ids = self.trainee.head.sets.doc_ids
        rankings = {}
        queries = iter(self.dev.queries)
        for scores, sequences in zip(terms, self.sequences, strict=True):
            best = (scores + weight * sequences).topk(min(10, len(ids)), dim=1)
            for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                ranked = {ids[place]: value for place, value in zip(places, values, strict=True)}
                rankings[next(queries).query_id] = Run.rank(ranked, 10)
        found = evaluate(Run("terms", rankings), self.dev.qrels, [DEV_MEASURE]).per_query[DEV_MEASURE]
        return np.array([found[query] for query in self.dev.qrels])


def _batches(queries: Sequence[Query]) -> list[Sequence[Query]]:
    return [queries[start : start + 64] for start in range(0, len(queries), 64)]
