"""The teacher of a training: which ranking it is, asked once for every text that it teaches, and kept as a run.

Any retriever can teach: BM25, a dense encoder (all-MiniLM, or one fine-tuned by folder), a cross-encoder over BM25, or a TREC run of the
training queries from anywhere else.

Invariants: only training texts are asked; documents judged relevant to a text, and those under their identifiers, are never its
negatives.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from docids.table import DocIDTable
from experiments.training.examples import KINDS
from experiments.training.material import digest_of, lexical_or_dense
from genir.distillation import Distance, TeacherTable
from genir.embedding import DEFAULT_ENCODER, encoder_fingerprint
from genir.errors import ConfigError, DataError, unknown_name
from genir.formats import read_run, write_run
from genir.manifest import sha256_of
from genir.protocols import Retriever
from genir.records import Dataset, Query, ScoredDoc
from genir.right_targets import RightTargets
from genir.training import Example
from retrievers.cross_encoder import CrossEncoder
from retrievers.rerank import RerankingRetriever

Source = Literal["none", "bm25", "dense", "cross-encoder", "run"]


@dataclass(frozen=True)
class TeacherConfig:
    """Whose ranking of `depth` documents gives `negatives` at each step, and scores to come near to (`weight` 0: none).

    `model` is the dense encoder or the cross-encoder (hub name or folder), or the TREC file of a "run". `kinds` of examples are
    taught; a run can teach queries alone. `sharpness`: see genir.distillation.Teaching.
    """

    source: Source = "none"
    model: str = ""
    depth: int = 50
    negatives: int = 7
    distance: Distance = "kl"
    weight: float = 1.0
    sharpness: float = 1.0
    kinds: tuple[str, ...] = ("query",)

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise unknown_name("teacher", self.source, get_args(Source))
        if self.distance not in get_args(Distance):
            raise unknown_name("distance", self.distance, get_args(Distance))
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind of example", kind, KINDS)
        if min(self.depth, self.negatives) < 1 or self.weight < 0 or self.sharpness <= 0:
            raise ConfigError(
                f"impossible teacher: {self}; expected depth and negatives >= 1, weight >= 0, sharpness > 0"
            )
        if self.source in ("none", "bm25") and self.model:
            raise ConfigError(
                f"teacher model is {self.model!r}, but its source is {self.source!r}: set one that has a model, or none"
            )
        if self.source == "run" and self.kinds != ("query",):
            raise ConfigError(
                f"teacher kinds are {list(self.kinds)}: a run knows the training queries alone; leave kinds out"
            )
        if self.source in ("cross-encoder", "run") and not self.model:
            wanted = "a hub name or folder" if self.source == "cross-encoder" else "a TREC file of the training queries"
            raise ConfigError(f'teacher source "{self.source}" needs model: {wanted}')

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> fingerprint of what it reads beside the data. Raises DataError where a run is missing."""
        if self.source == "run":
            if not Path(self.model).is_file():
                raise DataError(f"teacher run {self.model}: no such file; give a TREC file of the training queries")
            return {"teacher": sha256_of(Path(self.model))}
        if self.source in ("dense", "cross-encoder"):
            return {"teacher": encoder_fingerprint(self.model or DEFAULT_ENCODER)}
        return {}


def ask_teacher(
    config: TeacherConfig,
    dataset: Dataset,
    table: DocIDTable,
    examples: Sequence[Example],
    work: Path,
    device: str = "auto",
) -> tuple[TeacherTable | None, dict[str, Any]]:
    """What the teacher ranks for the examples, and facts about it; `work` keeps its run."""
    if config.source == "none":
        return None, {}
    taught = [example.kind in config.kinds for example in examples]
    texts = list(dict.fromkeys(example.text for example, one in zip(examples, taught, strict=True) if one))
    from_run = config.source == "run"
    ranked = _from_run(Path(config.model), dataset) if from_run else _searched(config, dataset, texts, work, device)
    index_of = {tokens: index for index, tokens in enumerate(table.identifiers())}
    rankings: list[Mapping[int, float]] = []
    for example, one in zip(examples, taught, strict=True):
        scores: dict[int, float] = {}
        for scored in ranked.get(example.text, ())[: config.depth] if one else ():
            index = index_of[table.tokens_of(scored.doc_id)]
            scores[index] = max(scored.score, scores.get(index, scored.score))
        rankings.append(scores)
    made = TeacherTable.build(rankings, RightTargets.of(examples))
    if not len(made):
        raise DataError(
            f'teacher "{config.source}" ranks nothing for the {len(texts)} training texts; choose another one'
        )
    print(
        f"teacher: {config.source} ranks {len(made)} training texts, {made.found} of them with the right identifier among its "
        f"first {config.depth}",
        file=sys.stderr,
    )
    return made, {"teacher": {"taught": len(made), "with_right": made.found}}


def _searched(
    config: TeacherConfig, dataset: Dataset, texts: Sequence[str], work: Path, device: str
) -> dict[str, tuple[ScoredDoc, ...]]:
    corpus = [(document.doc_id, document.title, document.text) for document in dataset.corpus]
    digest = digest_of([config.source, config.model, config.depth, config.inputs, corpus, list(texts)])
    kept = work / f"teacher-{digest}.trec"
    queries = [Query(f"t{number}", text) for number, text in enumerate(texts)]
    if not kept.is_file():
        write_run(_retriever(config, dataset, work, device).search(queries, config.depth), kept)
    rankings = read_run(kept).rankings
    return {query.text: rankings.get(query.query_id, ()) for query in queries}


def _retriever(config: TeacherConfig, dataset: Dataset, work: Path, device: str) -> Retriever:
    if config.source == "cross-encoder":
        first = lexical_or_dense("bm25", dataset.corpus, "", work, device)
        return RerankingRetriever(first, dataset.corpus, CrossEncoder(config.model, device=device), config.depth)
    return lexical_or_dense(config.source, dataset.corpus, config.model, work, device)


def _from_run(path: Path, dataset: Dataset) -> dict[str, tuple[ScoredDoc, ...]]:
    """Rankings by the text of their query. Raises DataError where the run is not of the training queries or the corpus."""
    rankings = read_run(path).rankings
    queries = dataset.split("train") if "train" in dataset.qrels else ()
    ranked = {query.text: rankings[query.query_id] for query in queries if query.query_id in rankings}
    if not ranked:
        raise DataError(
            f"teacher run {path}: ranks none of the {len(queries)} training queries; search the train split"
        )
    known = {document.doc_id for document in dataset.corpus}
    for ranking in ranked.values():
        for scored in ranking:
            if scored.doc_id not in known:
                raise DataError(f"teacher run {path}: names document {scored.doc_id!r}, which the corpus does not hold")
    return ranked
