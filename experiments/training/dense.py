"""The stage `genir train-dense`: a data folder -> a fine-tuned encoder, a Hugging Face folder that `--encoder DIR` takes anywhere.

Invariants: nothing of the dev or test split is learnt from; the encoder as it was before competes with every later state on dev, so
the result is never below its start there, whichever of `shares` is kept. A data set without a dev split is measured on every tenth
training query, which is then left out of training.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data_stage import tell_reused
from experiments.registry import configured
from experiments.training.folder import TrainingFolder, fingerprint
from experiments.training.shares import keep_the_least, mean
from genir.config import from_mapping
from genir.devices import pick_device, seed_everything
from genir.embedding import TextEncoder, encoder_fingerprint
from genir.errors import DataError
from genir.formats import CORPUS, QRELS, QUERIES, load_dataset
from genir.manifest import (
    MANIFEST,
    is_current,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from genir.measures import evaluate
from genir.protocols import Retriever
from genir.pseudo_queries import PseudoQueryConfig, make_pseudo_queries
from genir.records import Dataset, Document, Fields, Qrels, Query
from genir.sampling import spread
from genir.training import discard_checkpoint, train
from retrievers.bi_encoder import BiEncoder, LiveEncoder
from retrievers.bm25 import BM25Retriever
from retrievers.dense import DenseRetriever
from retrievers.dense_training import ContrastiveObjective, DenseConfig, TrainingSet, make_training_set
from retrievers.hard_negatives import mine
from retrievers.index_files import read_json

STAGE = "dense encoder"
MADE_BY = "genir train-dense"
# What an encoder's folder may hold before its manifest is written: a saved model, and the tokenizers' files.
_FOLDER = TrainingFolder(
    STAGE,
    "encoder",
    (
        *("config.json", "model.safetensors", "training.json", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt"),
        *("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja"),
    ),
)
_CONFUSED = 20  # documents that BM25 ranks highest for a dev query belong to the dev pool


@dataclass(frozen=True)
class Questions:
    """Queries with what they should find."""

    queries: tuple[Query, ...]
    qrels: Qrels

    def take(self, queries: Sequence[Query]) -> "Questions":
        """Some of them."""
        judged = {query.query_id: self.qrels.judgements[query.query_id] for query in queries}
        return Questions(tuple(queries), Qrels(judged))


def read_config(path: Path | None, settings: Sequence[str] = (), encoder: str | None = None) -> DenseConfig:
    """The configuration in a TOML file, or the defaults, with KEY=VALUE settings ("training.epochs=2") and an encoder over it.

    Raises ConfigError for unknown keys, with a suggestion, and for values that cannot be.
    """
    values = configured(path, settings)
    if encoder is not None:
        values["encoder"] = encoder
    return from_mapping(DenseConfig, values, "train-dense" if path is None else str(path))


def train_dense(
    data: Path, config: DenseConfig, out: Path, resume: bool = False, cache: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Run the stage unless `out` is current; returns its manifest.

    `cache` keeps embeddings between runs. Raises DataError where there is nothing to learn from, ArtefactError for an `out` that holds
    something else, an unfinished training that is not to be resumed or a finished one that is not to be overwritten.
    """
    dataset = load_dataset(data, _splits(data))
    inputs = _inputs(data, config)
    if is_current(out, STAGE, config, inputs, config.training.seed):
        return tell_reused(out, read_manifest(out, STAGE, MADE_BY))
    _FOLDER.check(out, resume, overwrite)
    begun = time.monotonic()
    seed_everything(config.training.seed)
    asked, dev = _training_and_dev(dataset, config)
    corpus = [Document(one.doc_id, one.read(config.fields)) for one in dataset.corpus]
    model = BiEncoder(config.encoder, config.passage_tokens, config.query_tokens).to(pick_device(config.device))
    data_set, mining_seconds = _training_set(model, corpus, asked, config, cache)
    pool = _dev_pool(corpus, dev, config.dev_documents)
    values = _dev_values(model, dev, pool, config)
    objective = ContrastiveObjective(model, data_set, config.scale, config.hard_negatives)
    made_of = fingerprint(config, inputs, [asdict(group) for group in data_set.groups])
    examples = data_set.examples()
    progress = train(model, objective, examples, lambda: mean(values()), config.training, out, resume, made_of)
    kept: dict[str, Any] = {"share": 1.0}
    if progress.best_step and set(config.shares) != {1.0}:
        kept = keep_the_least(model, values, progress.history[0]["dev"], config)
    facts = {
        "documents": len(corpus),
        "passages": len(data_set.passages),
        "cut_passages": sum(len(row) >= config.passage_tokens for row in data_set.passages),
        "pairs": data_set.pairs,
        "groups": len(data_set.groups),
        "measure": f"{config.dev_measure} of {len(dev.queries)} dev queries among {len(pool)} documents",
        "start_dev": progress.history[0]["dev"],
        "best_dev": progress.best,
        **kept,
        "mining_seconds": round(mining_seconds, 1),
        "seconds": round(progress.earlier_seconds + time.monotonic() - begun, 1),
    }
    _FOLDER.clear(out)
    model.save(out)
    write_json(
        out / "training.json", {**asdict(progress), "measure": facts["measure"], "seconds_of_all": facts["seconds"]}
    )
    manifest = write_manifest(out, STAGE, config, inputs, config.training.seed, **facts)
    discard_checkpoint(out)
    return manifest


def training_seconds(encoder: str) -> float:
    """What fine-tuning an encoder cost, from its manifest; 0 for one that `genir train-dense` did not make, or that is gone."""
    manifest = Path(encoder) / MANIFEST
    if not manifest.is_file():
        return 0.0
    made = read_json(manifest)
    return float(made["facts"]["seconds"]) if made.get("stage") == STAGE else 0.0


def fields_read(encoder: str) -> Fields:
    """What an encoder has learnt to read of a document, from its manifest; titles and texts for one that we did not train."""
    manifest = Path(encoder) / MANIFEST
    made = read_json(manifest) if manifest.is_file() else {}
    return "title" if made.get("stage") == STAGE and made["config"].get("fields") == "title" else "title+text"


def _splits(data: Path) -> list[str]:
    """The splits that training may see. Others are not even read."""
    return [split for split in ("train", "dev") if (data / QRELS / f"{split}.tsv").is_file()]


def _inputs(data: Path, config: DenseConfig) -> dict[str, str]:
    files = [data / CORPUS, data / QUERIES, *(data / QRELS / f"{split}.tsv" for split in _splits(data))]
    read = {path.relative_to(data).with_suffix("").as_posix(): sha256_of(path) for path in files if path.is_file()}
    return {**read, "pretrained": encoder_fingerprint(config.encoder)}


def _training_and_dev(dataset: Dataset, config: DenseConfig) -> tuple[Questions, Questions]:
    """What to learn from, pseudo-queries included, and what to measure on."""
    train_qrels = dataset.qrels.get("train", Qrels({}))
    if not train_qrels and not config.pseudo_queries:
        raise DataError(
            f"{dataset.name}: has no training queries ({QRELS}/train.tsv); add some, or set pseudo_queries to 4, say, to learn from "
            "queries made of the documents"
        )
    queries = list(dataset.split("train")) if train_qrels else []
    judged = dict(train_qrels.judgements)
    if config.pseudo_queries:
        made = make_pseudo_queries(dataset.corpus, PseudoQueryConfig(config.pseudo_queries, seed=config.training.seed))
        for number, one in enumerate(made):
            query = Query(f"pseudo-query {number}", one.text)
            queries.append(query)
            judged[query.query_id] = {one.doc_id: 1}
    asked = Questions(tuple(queries), Qrels(judged))
    if dataset.qrels.get("dev"):
        dev = Questions(dataset.split("dev"), dataset.qrels["dev"])
    else:
        held = asked.queries[::10]
        left = [query for place, query in enumerate(asked.queries) if place % 10]
        asked, dev = asked.take(left), asked.take(held)
    return _at_most(asked, config.max_pairs, config.training.seed), dev.take(spread(dev.queries, config.dev_queries))


def _at_most(asked: Questions, pairs: int, seed: int) -> Questions:
    """Queries drawn at random, in their own order, whose relevant documents are at most `pairs`; all of them for 0."""
    if not pairs:
        return asked
    chosen, left = set(), pairs
    for query in random.Random(seed).sample(asked.queries, len(asked.queries)):
        left -= len(asked.qrels.relevant(query.query_id))
        if left < 0:
            break
        chosen.add(query.query_id)
    return asked.take([query for query in asked.queries if query.query_id in chosen])


def _training_set(
    model: BiEncoder, corpus: Sequence[Document], asked: Questions, config: DenseConfig, cache: Path | None
) -> tuple[TrainingSet, float]:
    """The groups with their mined negatives, and the seconds that mining took."""
    begun = time.monotonic()
    mined: Mapping[str, Sequence[str]] = {}
    if config.hard_negatives:
        miners: list[Retriever] = []
        for name in config.mined_by:
            if name == "bm25":
                miners.append(BM25Retriever().build(corpus))
            else:
                encoder = TextEncoder(config.encoder, device=config.device, cache_dir=cache)
                miners.append(DenseRetriever(encoder).build(corpus))
        mined = mine(asked.queries, asked.qrels, miners, config.mining_depth)
    seconds = time.monotonic() - begun
    return make_training_set(model, corpus, asked.queries, asked.qrels, mined, config), seconds


def _dev_pool(corpus: Sequence[Document], dev: Questions, most: int) -> list[Document]:
    """The whole corpus, or about `most` documents: the relevant ones, then those that BM25 confuses with them, then others.

    A measure is higher in a smaller pool; it is for comparing one training's states with each other.
    """
    if len(corpus) <= most:
        return list(corpus)
    run = BM25Retriever().build(corpus).search(dev.queries, _CONFUSED)
    kept = dict.fromkeys(doc_id for query in dev.queries for doc_id in dev.qrels.judgements[query.query_id])
    for wanted in (
        (one.doc_id for ranking in run.rankings.values() for one in ranking),
        (document.doc_id for document in corpus),
    ):
        for doc_id in wanted:
            if len(kept) >= most:
                break
            kept[doc_id] = None
    return [document for document in corpus if document.doc_id in kept]


def _dev_values(
    model: BiEncoder, dev: Questions, pool: Sequence[Document], config: DenseConfig
) -> Callable[[], np.ndarray]:
    """A function that searches the dev queries with the encoder as it is and returns `dev_measure` of each, shape (queries,)."""
    retriever = DenseRetriever(LiveEncoder(model, precision=config.training.precision))

    def values() -> np.ndarray:
        model.eval()
        run = retriever.build(pool).search(dev.queries, 100)
        model.train()
        (found,) = evaluate(run, dev.qrels, [config.dev_measure]).per_query.values()
        return np.array([found[query] for query in dev.qrels])

    return values
