"""What `genir search` does: one question's ranking as rows, or a split's run as a file, by any retriever, reranked or not.

Invariant: options that cannot go together are refused before anything is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.registry import GENERATIVE, option_of
from experiments.reranking import RerankChoice, rerank
from experiments.retrieval import (
    Built,
    build_retriever,
    check_question,
    check_run_path,
    search_one,
    search_split,
)
from experiments.trained_model import load_model_for
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError
from genir.formats import load_dataset
from genir.manifest import sha256_of
from genir.records import Dataset

COLUMNS = ("rank", "score", "doc_id", "title")


def given_decoding(retriever: str, **named: object) -> dict[str, object]:
    """The settings of the generative search that were given. Raises ConfigError for another retriever."""
    decoding = {name: value for name, value in named.items() if value is not None}
    if decoding and retriever not in GENERATIVE:
        given = ", ".join(map(option_of, decoding))
        raise ConfigError(f"{given}: for the generative retriever only; --retriever is {retriever}")
    return decoding


def check_model_is_searched(retriever: str, model: Path | None) -> None:
    """Raise ConfigError for a model that this retriever would leave unread."""
    if model is not None and retriever not in GENERATIVE:
        raise ConfigError(f"--model {model}: --retriever {retriever} searches no model; leave one of the two out")


def given_reranker(kind: str | None, depth: int | None, weight: float | None) -> RerankChoice | None:
    """What the options about reranking say. Raises ConfigError where there is nothing to rerank with."""
    if kind is not None:
        return RerankChoice.parse(kind, 50 if depth is None else depth, weight)
    given = {"--rerank-depth": depth, "--rerank-weight": weight}
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(f"{', '.join(named)}: goes with --rerank KIND, which is not given")
    return None


def check_asked(question: str | None, split: str | None, k: int, out: Path | None) -> None:
    """Raise ConfigError unless one question is asked, or a split with a file to write."""
    if k < 1:
        raise ConfigError(f"-k {k}: expected at least 1 document a query")
    if (question is None) == (split is None):
        raise ConfigError("give either one question, or --data DIR --split NAME --out FILE")
    if question is not None:
        check_question(question)
    elif out is None:
        raise ConfigError("--out FILE is needed to search a split, e.g. --out runs/generative.trec")
    else:
        check_run_path(out)


@dataclass(frozen=True)
class Search:
    """A retriever by name, what it is made of, and how it is to search."""

    retriever: str
    model: Path | None = None
    data: Path | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)
    reranker: RerankChoice | None = None
    encoder: str = DEFAULT_ENCODER
    cache: Path | None = None
    device: str = "auto"

    def rows(self, question: str, k: int) -> list[dict[str, Any]]:
        """The best k documents for one question; with what the model wrote for each, where a model alone is searched.

        Raises ConfigError where a data folder or a model is needed and not given.
        """
        if self.retriever in GENERATIVE and self.model is not None and self.data is None and self.reranker is None:
            return load_model_for(self.retriever, self.model, self.device).answer_rows(question, k, self.decoding)
        dataset, _, built = self._built()
        documents = dataset.documents()
        return [
            dict(zip(COLUMNS, (rank, one.score, one.doc_id, documents[one.doc_id].title), strict=True))
            for rank, one in enumerate(search_one(built.retriever, question, k).rankings["question"], 1)
        ]

    def write_run(self, split: str, k: int, out: Path) -> dict[str, Any]:
        """Search a split's queries, write the run, and return what it cost: see `search_split`."""
        dataset, data, built = self._built(split)
        return search_split(built, dataset, split, k, out, {"corpus": sha256_of(data / "corpus.jsonl")})

    def _built(self, *splits: str) -> tuple[Dataset, Path, Built]:
        if self.reranker is None or self.reranker.kind != "head":
            check_model_is_searched(self.retriever, self.model)
        if self.data is None:
            raise ConfigError("--data DIR is needed here: the folder made by `genir data import`")
        dataset = load_dataset(self.data, splits)
        if self.retriever == "hybrid" or self.reranker is not None:
            dataset = load_dataset(self.data)  # their weights are tuned on dev
        built = build_retriever(
            self.retriever, dataset, self.data, self.model, self.decoding, self.encoder, self.cache, self.device
        )
        if self.reranker is not None:
            built = rerank(built, self.reranker, dataset, self.model, self.device)
        return dataset, self.data, built
