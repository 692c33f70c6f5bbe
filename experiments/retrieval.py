"""The search stage: any retriever by name over a data folder, and the TREC run it writes, with a manifest beside it."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docids.table import DocIDTable
from experiments.learning import MADE_BY, STAGE, check_same_corpus
from experiments.registry import RETRIEVERS, model_loaders
from genir.config import from_mapping
from genir.devices import Precision, pick_device, runs_in_bfloat16
from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ArtefactError, ConfigError, unknown_name
from genir.formats import write_run
from genir.manifest import read_manifest, sha256_of, write_json
from genir.protocols import Retriever
from genir.records import Dataset, Query, Run
from retrievers.bm25 import BM25Retriever
from retrievers.dense import DenseRetriever
from retrievers.fusion import HybridRetriever, Tuned, tune
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.index_files import read_json
from retrievers.tfidf import TfidfRetriever

DEV_DEPTH = 100


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, loaded: the model, its identifiers, the titles of its documents, and how it is to be searched."""

    model: Any
    table: DocIDTable
    titles: Mapping[str, str]
    search: GenerativeSettings
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: Precision = "auto") -> "TrainedModel":
        """Raises ArtefactError where the folder is unfinished, broken, or no model."""
        manifest = read_manifest(folder, STAGE, MADE_BY)
        saved = read_json(folder / "config.json")
        loaders = model_loaders()
        architecture = saved.get("architecture") if isinstance(saved, dict) else None
        if architecture not in loaders:
            raise ArtefactError(
                f"{folder / 'config.json'}: unknown architecture {architecture!r}; train the model again"
            )
        try:
            model = loaders[architecture](folder, saved).to(pick_device(device)).eval()
            search = from_mapping(GenerativeSettings, manifest["config"]["search"], str(folder))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"{folder / 'config.json'}: incomplete, or not of this version ({error!r}); train the model again"
            ) from None
        model.precision = precision
        return cls(model, DocIDTable.load(folder / "docids"), read_json(folder / "titles.json"), search, manifest)

    def retriever(self, changed: Mapping[str, Any] | None = None) -> GenerativeRetriever:
        """Constrained search with the settings it was trained with, less those that are `changed`."""
        return GenerativeRetriever(self.model, self.table, replace(self.search, **(changed or {})))


@dataclass(frozen=True)
class Built:
    """A retriever ready to search, with what it cost to make."""

    retriever: Retriever
    build_seconds: float
    index_bytes: int  # prefix tree, postings, vectors
    weight_bytes: int  # the parameters of the model that search runs
    settings: Mapping[str, Any]


def build_retriever(
    name: str,
    dataset: Dataset,
    data: Path,
    model: Path | None = None,
    decoding: Mapping[str, Any] | None = None,
    encoder: str = DEFAULT_ENCODER,
    cache: Path | None = None,
    device: str = "auto",
) -> Built:
    """Make the retriever `name` over a data set. `decoding` changes settings of the generative retriever's search.

    Raises ConfigError for an unknown name or a missing model.
    """
    begun = time.monotonic()
    if name == "generative":
        if model is None:
            raise ConfigError(
                "the generative retriever needs a trained model: give --model DIR (made by `genir train`)"
            )
        trained = TrainedModel.load(model, device)
        check_same_corpus(trained.manifest, sha256_of(data / "corpus.jsonl"), model, data)
        generative = trained.retriever(decoding)
        # The model is the index: what building cost is what training cost.
        seconds = float(trained.manifest["facts"]["seconds"])
        weights = _weight_bytes(trained.model)
        precision = "bfloat16" if runs_in_bfloat16(trained.model.device, trained.model.precision) else "float32"
        settings = {**asdict(generative.settings), **asdict(generative.decoding), "precision": precision}
        return Built(generative, seconds, generative.constraint.nbytes, weights, settings)
    if name in ("bm25", "tfidf"):
        lexical = (BM25Retriever() if name == "bm25" else TfidfRetriever()).build(dataset.corpus)
        seconds = time.monotonic() - begun
        return Built(lexical, seconds, _saved_bytes(lexical), 0, asdict(lexical.settings))
    if name == "dense":
        dense = DenseRetriever(TextEncoder(encoder, device=device, cache_dir=cache)).build(dataset.corpus)
        seconds = time.monotonic() - begun
        return Built(dense, seconds, dense.nbytes, _weight_bytes(dense.encoder.load()[1]), asdict(dense.settings))
    if name == "hybrid":
        return _build_hybrid(dataset, data, encoder, cache, device)
    raise unknown_name("retriever", name, [one for one in RETRIEVERS if one != "none"])


def _build_hybrid(dataset: Dataset, data: Path, encoder: str, cache: Path | None, device: str) -> Built:
    """BM25 and dense, their weight tuned on dev; half and half where there is no dev split."""
    first = build_retriever("bm25", dataset, data)
    second = build_retriever("dense", dataset, data, encoder=encoder, cache=cache, device=device)
    begun = time.monotonic()
    tuned: Tuned | None = None
    if dataset.qrels.get("dev"):
        queries = dataset.split("dev")
        runs = [built.retriever.search(queries, DEV_DEPTH) for built in (first, second)]
        tuned = tune(runs[0], runs[1], dataset.qrels["dev"])
    hybrid = HybridRetriever(first.retriever, second.retriever, 0.5 if tuned is None else tuned.weight)
    seconds = first.build_seconds + second.build_seconds + time.monotonic() - begun
    settings = {**asdict(hybrid.settings), "tuned_on": "dev" if tuned else "nothing: no dev split"}
    return Built(hybrid, seconds, first.index_bytes + second.index_bytes, second.weight_bytes, settings)


def check_question(question: str) -> None:
    """Raise ConfigError for a question without text, or with bytes that are no text (a terminal's, in another encoding)."""
    if not question.strip():
        raise ConfigError("the question is empty: expected some text")
    try:
        question.encode()
    except UnicodeEncodeError:
        raise ConfigError("the question is not valid UTF-8: type it in a UTF-8 terminal") from None


def check_run_path(path: Path) -> None:
    """Raise ConfigError where no run, with its settings beside it, can be written to `path`."""
    if path.is_dir() or path.suffix == ".json":
        fault = "is a folder" if path.is_dir() else "is the name of the settings beside a run"
        raise ConfigError(
            f"--out {path}: {fault}; give the name of a TREC file, e.g. {path.with_suffix('') / 'run.trec'}"
        )


def search_split(
    built: Built, dataset: Dataset, split: str, k: int, out: Path, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Search a split's queries and write the run (TREC) and, beside it, `<run>.json`: settings, cost and inputs.

    Returns the cost: build_seconds, search_seconds, queries, bytes (index and weights), index_bytes.
    """
    queries = dataset.split(split)
    begun = time.monotonic()
    run = built.retriever.search(queries, k)
    cost = {
        "build_seconds": round(built.build_seconds, 2),
        "search_seconds": round(time.monotonic() - begun, 2),
        "queries": len(queries),
        "bytes": built.index_bytes + built.weight_bytes,
        "index_bytes": built.index_bytes,
    }
    settings = out.with_suffix(".json")
    settings.unlink(missing_ok=True)  # those of an earlier run say nothing of this one
    write_run(run, out)
    about = {"retriever": built.retriever.name, "k": k, "split": split, "settings": dict(built.settings)}
    write_json(settings, {**about, "cost": cost, "inputs": dict(inputs)})
    return cost


def search_one(retriever: Retriever, question: str, k: int) -> Run:
    """A run of one question, under the query_id "question"."""
    return retriever.search([Query("question", question)], k)


def _weight_bytes(model: Any) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _saved_bytes(retriever: BM25Retriever | TfidfRetriever) -> int:
    with TemporaryDirectory() as folder:
        retriever.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
