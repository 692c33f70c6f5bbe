"""The retrievers of an evaluation, and their runs: every ranking that an arm reads lies in a TREC file, reused where it is current.

So a second evaluation of the same questions builds no index and loads no model, and anybody can look at what a reader was given.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from experiments.rag_evaluation.questions import only
from experiments.registry import GENERATIVE
from experiments.retrieval import Built, build_retriever, is_searched, search_split
from experiments.training.model import MADE_BY, STAGE, check_same_corpus
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError
from genir.formats import read_run
from genir.manifest import MANIFEST, read_manifest, sha256_of
from genir.protocols import IdentifierWriter, Retriever
from genir.records import Dataset, DocIDTokens, Qrels, Query, Run, ScoredDoc
from rag.evaluation import OracleRetriever, RandomRetriever
from rag.joint.model import JointModel
from rag.mitigations.cost import Cost
from retrievers.index_files import read_json

JOINT = "joint"
Rankings = Mapping[str, tuple[ScoredDoc, ...]]


@dataclass(frozen=True)
class Playback:
    """A retriever whose rankings are given, by query_id, whatever the question's words; one without a ranking finds nothing."""

    name: str
    rankings: Rankings

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """The first k of each."""
        return Run(self.name, {query.query_id: self.rankings.get(query.query_id, ())[:k] for query in queries})


@dataclass(frozen=True)
class WritingPlayback(Playback):
    """The same, of a retriever that writes identifiers; it is asked for them only when they are wanted."""

    live: Callable[[], Retriever]

    def written(self, doc_ids: Sequence[str]) -> Mapping[str, tuple[DocIDTokens, str]]:
        """See IdentifierWriter."""
        retriever = self.live()
        return retriever.written(doc_ids) if isinstance(retriever, IdentifierWriter) else {}


@dataclass
class Searcher:
    """Searches by any arm over one data set and keeps the runs below `work`. `relevant` is what the oracle returns; `joint` is the joint
    model of a folder, where there is one, which is an arm of its own.
    """

    dataset: Dataset
    data: Path
    work: Path
    relevant: Qrels
    model: Path | None = None
    encoder: str = DEFAULT_ENCODER
    cache: Path | None = None
    device: str = "auto"
    seed: int = 0
    joint: tuple[JointModel, Path] | None = None
    _built: dict[str, Built] = field(default_factory=dict)

    def check(self, names: Sequence[str]) -> None:
        """Raise ConfigError or ArtefactError where an arm cannot be made, before anything is searched."""
        if JOINT in names and self.joint is None:
            raise ConfigError(
                "the joint retriever is a joint model's own: give --generator joint:DIR (made by `genir train-joint`), or leave it out of "
                "--retrievers"
            )
        needing = [name for name in names if name in GENERATIVE]
        if not needing:
            return
        if self.model is None:
            raise ConfigError(
                f"the {needing[0]} retriever needs a trained model: give --model DIR (made by `genir train`), or leave it out of "
                "--retrievers"
            )
        check_same_corpus(
            read_manifest(self.model, STAGE, MADE_BY), sha256_of(self.data / "corpus.jsonl"), self.model, self.data
        )

    def run(self, name: str, queries: Sequence[Query], depth: int) -> Rankings:
        """The rankings of an arm, at least `depth` documents deep where it finds so many."""
        return read_run(self._searched(name, queries, depth)).rankings

    def cost(self, name: str, queries: Sequence[Query], depth: int) -> Cost:
        """What the search behind `run` took when it was made, however often it is reused: one search a question, its seconds without
        those of building the index.
        """
        told = read_json(self._searched(name, queries, depth).with_suffix(".json"))["cost"]
        return Cost(searches=told["queries"], seconds=told["search_seconds"])

    def _searched(self, name: str, queries: Sequence[Query], depth: int) -> Path:
        """The run file, searched now unless it is current."""
        made_of = {
            "dataset": sha256_of(self.data / "corpus.jsonl"),
            "asked": self._asked(name, queries),
            "depth": str(depth),
        }
        if name in GENERATIVE and self.model is not None:
            made_of["model"] = sha256_of(self.model / MANIFEST)
        if name == JOINT and self.joint is not None:
            made_of["model"] = sha256_of(self.joint[1] / MANIFEST)
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:8]
        path = self.work / "runs" / f"{name}-{digest}.trec"
        if not is_searched(path, made_of):
            search_split(self.built(name), only(self.dataset, queries, self.relevant), "asked", depth, path, made_of)
        return path

    def playback(self, name: str, rankings: Rankings) -> Playback:
        """What answers by these rankings; its citations have the identifiers that a generative retriever writes."""
        writes = name in (*GENERATIVE, JOINT)
        return WritingPlayback(name, rankings, lambda: self.live(name)) if writes else Playback(name, rankings)

    def live(self, name: str) -> Retriever:
        """The retriever itself."""
        return self.built(name).retriever

    def built(self, name: str) -> Built:
        """The retriever, built once."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> Built:
        if name == "oracle":
            return Built(InOrder(OracleRetriever(self.relevant)), 0.0, 0, 0, {})
        if name == "random":
            doc_ids = tuple(document.doc_id for document in self.dataset.corpus)
            return Built(InOrder(RandomRetriever(doc_ids, self.relevant, self.seed)), 0.0, 0, 0, {"seed": self.seed})
        if name == JOINT:
            assert self.joint is not None
            model, _ = self.joint
            return Built(model, 0.0, 0, 0, asdict(model.settings))
        return build_retriever(
            name, self.dataset, self.data, self.model, encoder=self.encoder, cache=self.cache, device=self.device
        )

    def _asked(self, name: str, queries: Sequence[Query]) -> str:
        """What a run hangs on beside its index: the questions; for the two ends what is relevant; the seed and the encoder."""
        told: list[object] = [(query.query_id, query.text) for query in queries]
        if name in ("oracle", "random"):
            told += [self.seed, [self.relevant.relevant(query.query_id) for query in queries]]
        if name in ("dense", "hybrid"):
            told.append(self.encoder)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class InOrder:
    """A retriever of equal scores whose order is meant: scores fall with the rank, so that a run file keeps it."""

    inner: Retriever

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    def search(self, queries: Sequence[Query], k: int) -> Run:
        """See Retriever; the score of rank r, from 0, is 1 / (1 + r)."""
        found = self.inner.search(queries, k).rankings
        return Run(
            self.name, {query_id: ranked([one.doc_id for one in ranking]) for query_id, ranking in found.items()}
        )


def ranked(doc_ids: Sequence[str]) -> tuple[ScoredDoc, ...]:
    """A ranking of documents that have an order and no score."""
    return tuple(ScoredDoc(doc_id, 1 / (1 + rank)) for rank, doc_id in enumerate(doc_ids))
