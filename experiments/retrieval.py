"""The search stage: any retriever by name over a data folder, and the TREC run it writes, with a manifest beside it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.registry import GENERATIVE, RETRIEVERS
from experiments.trained_model import load_model_for
from experiments.training.dense import fields_read, training_seconds
from experiments.training.model import check_same_corpus
from genir.devices import runs_in_bfloat16
from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ConfigError, unknown_name
from genir.formats import write_run
from genir.manifest import sha256_of, write_json
from genir.protocols import Retriever
from genir.records import Dataset, Fields, Query, Run
from retrievers.best_passage import BestPassageRetriever, passage_corpus
from retrievers.bm25 import BM25Retriever, BM25Settings
from retrievers.dense import DenseRetriever
from retrievers.fusion import HybridRetriever
from retrievers.index_files import read_json
from retrievers.ngram import NgramRetriever
from retrievers.tfidf import TfidfRetriever
from retrievers.tuning import MEASURE, TunedHybrid, tune_hybrid

DEV_DEPTH = 100


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
    bm25: BM25Settings | None = None,
    fields: Fields | None = None,
) -> Built:
    """Make the retriever `name` over a data set. `decoding` changes settings of the generative retriever's search.

    `bm25` are its settings, the usual ones without; `fields` are what a dense one reads, without it what its encoder learnt to read.
    Raises ConfigError for an unknown name or a missing model.
    """
    begun = time.monotonic()
    if name in GENERATIVE:
        return _build_generative(name, data, model, decoding, device)
    if name in ("bm25", "tfidf"):
        retriever = BM25Retriever(**asdict(bm25 or BM25Settings())) if name == "bm25" else TfidfRetriever()
        lexical = retriever.build(dataset.corpus)
        seconds = time.monotonic() - begun
        return Built(lexical, seconds, _saved_bytes(lexical), 0, asdict(lexical.settings))
    if name == "dense":
        texts = TextEncoder(encoder, device=device, cache_dir=cache)
        dense = DenseRetriever(texts, fields=fields or fields_read(encoder)).build(dataset.corpus)
        trained = training_seconds(encoder)
        seconds = time.monotonic() - begun + trained
        settings = {**asdict(dense.settings), "training_seconds": trained}
        return Built(dense, seconds, dense.nbytes, _weight_bytes(dense.encoder.load()[1]), settings)
    if name == "hybrid":
        first = build_retriever("bm25", dataset, data, bm25=bm25)
        second = build_retriever("dense", dataset, data, encoder=encoder, cache=cache, device=device)
        if dataset.qrels.get("dev"):
            return build_hybrid(first, second, dataset)[0]
        halves = HybridRetriever(first.retriever, second.retriever)
        return fuse(halves, first, second, 0.0, {"tuned_on": "nothing: no dev split"})
    raise unknown_name("retriever", name, [one for one in RETRIEVERS if one != "none"])


def build_passages(texts: Mapping[str, Sequence[str]], encoder: str) -> Built:
    """Dense retrieval over {doc_id: its passages}, of which the best counts."""
    begun = time.monotonic()
    dense = DenseRetriever(TextEncoder(encoder)).build(passage_corpus(texts))
    most = max(map(len, texts.values()))
    trained = training_seconds(encoder)
    seconds = time.monotonic() - begun + trained
    settings = {**asdict(dense.settings), "training_seconds": trained, "passages": sum(map(len, texts.values()))}
    weights = _weight_bytes(dense.encoder.load()[1])
    return Built(BestPassageRetriever(dense, most), seconds, dense.nbytes, weights, settings)


def _build_generative(
    name: str, data: Path, model: Path | None, decoding: Mapping[str, Any] | None, device: str
) -> Built:
    """A trained model's own search: by its prefix tree, or, where its identifiers are n-grams, by the FM-index."""
    trained = load_model_for(name, model, device)
    assert model is not None
    check_same_corpus(trained.manifest, sha256_of(data / "corpus.jsonl"), model, data)
    searcher = trained.retriever(decoding)
    # The model is the index: what building cost is what training cost, that of the encoder it started from included.
    started_from = trained.manifest["config"].get("code_decoder", {}).get("encoder", "")
    own_encoder = started_from if trained.manifest["config"].get("architecture") == "code_decoder" else ""
    seconds = float(trained.manifest["facts"]["seconds"]) + (training_seconds(own_encoder) if own_encoder else 0.0)
    index_bytes = searcher.index.nbytes if isinstance(searcher, NgramRetriever) else searcher.nbytes
    ahead = {} if isinstance(searcher, NgramRetriever) else {"look_ahead": searcher.looks_ahead}
    precision = "bfloat16" if runs_in_bfloat16(trained.model.device, trained.model.precision) else "float32"
    settings = {**asdict(searcher.settings), **asdict(searcher.decoding), **ahead, "precision": precision}
    return Built(searcher, seconds, index_bytes, _weight_bytes(trained.model), settings)


def build_hybrid(
    first: Built, second: Built, dataset: Dataset, measure: str = MEASURE, found: Run | None = None
) -> tuple[Built, TunedHybrid]:
    """Two retrievers as one, weight and normalisation tuned on dev; `found` is what the first finds there, if that is known."""
    queries, qrels = dataset.split("dev"), dataset.qrels["dev"]
    begun = time.monotonic()
    runs = [found or first.retriever.search(queries, DEV_DEPTH), second.retriever.search(queries, DEV_DEPTH)]
    best = tune_hybrid(runs[0], runs[1], qrels, measure)
    seconds = time.monotonic() - begun
    on_dev = {"tuned_on": f"dev: {measure} {best.value:.4f} of {len(queries)} queries"}
    hybrid = HybridRetriever(first.retriever, second.retriever, **best.as_settings())
    return fuse(hybrid, first, second, seconds, on_dev), best


def fuse(hybrid: HybridRetriever, first: Built, second: Built, seconds: float, about: Mapping[str, str]) -> Built:
    """A hybrid of two, with the cost of both and the `seconds` of its own."""
    return Built(
        hybrid,
        first.build_seconds + second.build_seconds + seconds,
        first.index_bytes + second.index_bytes,
        first.weight_bytes + second.weight_bytes,
        {**asdict(hybrid.settings), **about, "first": dict(first.settings), "second": dict(second.settings)},
    )


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
    begun = time.perf_counter()
    run = built.retriever.search(queries, k)
    cost = {
        "build_seconds": round(built.build_seconds, 2),
        "search_seconds": round(time.perf_counter() - begun, 6),
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


def is_searched(path: Path, made_of: Mapping[str, str]) -> bool:
    """Whether the run is there and was searched with the same data and model (`inputs` of `search_split`)."""
    beside = path.with_suffix(".json")
    return path.is_file() and beside.is_file() and read_json(beside)["inputs"] == dict(made_of)


def search_one(retriever: Retriever, question: str, k: int) -> Run:
    """A run of one question, under the query_id "question"."""
    return retriever.search([Query("question", question)], k)


def _weight_bytes(model: Any) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _saved_bytes(retriever: BM25Retriever | TfidfRetriever) -> int:
    with TemporaryDirectory() as folder:
        retriever.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
