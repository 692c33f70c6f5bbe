"""Pseudo-queries for training: made without a model, written by one, and filtered by a retriever; each is a switch.

What took long (a trained query writer, the queries that a model wrote) is kept under a name that holds a digest of everything that it
was made from, so that a resumed training, or another one of the same material, finds it again.

Invariant: a query writer of ours is trained on the training split alone.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.training.dense import fields_read
from genir.embedding import DEFAULT_ENCODER, TextEncoder, encoder_fingerprint
from genir.errors import ArtefactError, ConfigError
from genir.manifest import write_json
from genir.protocols import Retriever
from genir.pseudo_queries import PseudoQuery, PseudoQueryConfig, make_pseudo_queries
from genir.query_generation import HuggingFaceQueryGenerator, Sampling, keep_consistent
from genir.query_writer import CONFIG, QueryWriter, QueryWriterConfig
from genir.query_writer_training import train_writer
from genir.records import Dataset, Document
from retrievers.bm25 import BM25Retriever
from retrievers.dense import DenseRetriever


@dataclass(frozen=True)
class GeneratorConfig:
    """Which model writes queries: none, one of ours ("trained" on the training split), or a Hugging Face doc2query model.

    `model` is that model's hub name or folder. For "trained" it may be the folder of a query writer that is there already.
    """

    source: Literal["none", "trained", "hugging-face"] = "none"
    model: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    writer: QueryWriterConfig = field(default_factory=QueryWriterConfig)

    def __post_init__(self) -> None:
        if self.source == "none" and self.model:
            raise ConfigError(
                f'generator model is {self.model!r}, but its source is "none": set hugging-face or trained'
            )
        if self.source == "hugging-face" and not self.model:
            raise ConfigError(
                'generator source "hugging-face" needs model: the hub name or folder of a doc2query model'
            )

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> fingerprint of the weights that it starts from."""
        if self.source == "none":
            return {}
        return {"query_generator": encoder_fingerprint(self.model or self.writer.encoder)}


@dataclass(frozen=True)
class ConsistencyConfig:
    """Keep a pseudo-query only where `retriever` ranks its own document among the first `within`."""

    retriever: Literal["none", "bm25", "dense"] = "none"
    within: int = 10
    encoder: str = DEFAULT_ENCODER

    def __post_init__(self) -> None:
        if self.within < 1:
            raise ConfigError(f"consistency within = {self.within}: expected 1 or more")


def gather_pseudo_queries(
    dataset: Dataset,
    model_free: PseudoQueryConfig | None,
    generator: GeneratorConfig,
    consistency: ConsistencyConfig,
    work: Path,
    device: str = "auto",
) -> tuple[list[PseudoQuery], dict[str, Any]]:
    """Pseudo-queries of every kind asked for, and facts about them; `work` keeps what took long."""
    made = make_pseudo_queries(dataset.corpus, model_free) if model_free is not None else []
    facts: dict[str, Any] = {}
    if generator.source != "none":
        written, about = _generate(dataset, generator, work, device)
        made += written
        facts |= about
    facts["made"] = dict(Counter(one.kind for one in made))
    if consistency.retriever != "none" and made:
        retriever = lexical_or_dense(consistency.retriever, dataset.corpus, consistency.encoder, work, device)
        filtered = keep_consistent(made, retriever, consistency.within)
        facts |= {"dropped": filtered.dropped, "documents_without": filtered.documents_without}
        print(
            f"consistency: {retriever.name} finds the document of {len(filtered.kept)} of {len(made)} pseudo-queries among its "
            f"first {consistency.within}; the others are dropped ({filtered.documents_without} documents have none left)",
            file=sys.stderr,
        )
        made = filtered.kept
    return made, facts


def lexical_or_dense(name: str, corpus: Sequence[Document], encoder: str, cache: Path, device: str) -> Retriever:
    """BM25, or a dense index by `encoder`, over a corpus."""
    if name == "bm25":
        return BM25Retriever().build(corpus)
    encoder = encoder or DEFAULT_ENCODER
    texts = TextEncoder(encoder, device=device, cache_dir=cache)
    return DenseRetriever(texts, fields=fields_read(encoder)).build(corpus)


def _generate(
    dataset: Dataset, config: GeneratorConfig, work: Path, device: str
) -> tuple[list[PseudoQuery], dict[str, Any]]:
    pairs = _training_pairs(dataset) if config.source == "trained" and not config.model else []
    made_of = [
        asdict(config),
        config.inputs,
        [(document.doc_id, document.title, document.text) for document in dataset.corpus],
        [(document.doc_id, question) for document, question in pairs],
    ]
    digest = digest_of(made_of)
    kept = work / f"generated-{digest}.json"
    if kept.is_file():
        return _read(kept)
    facts: dict[str, Any] = {}
    if config.source == "hugging-face":
        written = HuggingFaceQueryGenerator(config.model, device=device).generate(dataset.corpus, config.sampling)
    else:
        writer, facts = _writer(pairs, config, work / f"query-writer-{digest}", device)
        written = writer.generate(dataset.corpus, config.sampling)
    work.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"facts": facts, "queries": [(one.doc_id, one.text) for one in written]})
    return written, facts


def _writer(
    pairs: Sequence[tuple[Document, str]], config: GeneratorConfig, folder: Path, device: str
) -> tuple[QueryWriter, dict[str, Any]]:
    """The query writer of a folder, or one that is trained now and kept in `folder`."""
    if config.model:
        return QueryWriter.load(Path(config.model)), {}
    facts_file = folder / "facts.json"
    if (folder / CONFIG).is_file() and facts_file.is_file():
        return QueryWriter.load(folder), json.loads(facts_file.read_text(encoding="utf-8"))
    writer, about = train_writer(pairs, config.writer, device)
    facts = {"query_writer": asdict(about)}
    writer.save(folder)
    write_json(facts_file, facts)
    print(
        f"query writer: {about.pairs} pairs, {about.loss_before:.2f} nats a token before training, {about.loss_after:.2f} now; "
        f"{folder.name}, which --cache keeps",
        file=sys.stderr,
    )
    return writer, facts


def _training_pairs(dataset: Dataset) -> list[tuple[Document, str]]:
    documents = dataset.documents()
    if "train" not in dataset.qrels:
        return []
    qrels = dataset.qrels["train"]
    return [
        (documents[doc_id], query.text)
        for query in dataset.split("train")
        for doc_id in qrels.relevant(query.query_id)
        if doc_id in documents
    ]


def _read(path: Path) -> tuple[list[PseudoQuery], dict[str, Any]]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return [PseudoQuery(doc_id, text, "generated") for doc_id, text in saved["queries"]], saved["facts"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: not readable ({error!r}); delete it, and it will be made again") from None


def digest_of(value: object) -> str:
    """A short name for plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
