"""The search stage: any retriever by name over a data folder, and the TREC run it writes, with a manifest beside it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docids.ngram import NgramTable
from docids.views import ViewsTable
from experiments.identifiers import Identifiers, load_identifiers, make_searcher
from experiments.registry import GENERATIVE, RETRIEVERS, model_loaders, option_of
from experiments.training.dense import training_seconds
from experiments.training.model import MADE_BY, STAGE, check_same_corpus
from genir.config import from_mapping
from genir.devices import Precision, pick_device, runs_in_bfloat16
from genir.embedding import DEFAULT_ENCODER, TextEncoder
from genir.errors import ArtefactError, ConfigError, unknown_name
from genir.formats import write_run
from genir.manifest import read_manifest, sha256_of, write_json
from genir.models.term_head import TermHead
from genir.protocols import Retriever
from genir.records import Dataset, DocIDTokens, Query, Run
from retrievers.bm25 import BM25Retriever, BM25Settings
from retrievers.dense import DenseRetriever
from retrievers.fusion import HybridRetriever
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.index_files import read_json
from retrievers.ngram import NgramRetriever, NgramSettings
from retrievers.tfidf import TfidfRetriever
from retrievers.tuning import TunedHybrid, tune_hybrid
from retrievers.views import ViewsSettings

DEV_DEPTH = 100
SHOWN_NGRAMS = 3
TERMS, RERANK = "terms", "rerank"  # folders within a model's


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, loaded: the model, its identifiers, the titles of its documents, and how it is to be searched."""

    model: Any
    table: Identifiers
    titles: Mapping[str, str]
    search: GenerativeSettings | NgramSettings
    manifest: Mapping[str, Any]
    terms: TermHead | None = None  # what `genir train-terms` added

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
        table = load_identifiers(folder / "docids")
        try:
            model = loaders[architecture](folder, saved).to(pick_device(device)).eval()
            search = _search_settings(table, manifest["config"], str(folder))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                f"{folder / 'config.json'}: incomplete, or not of this version ({error!r}); train the model again"
            ) from None
        model.precision = precision
        terms = TermHead.load(folder / TERMS).to(model.device) if (folder / TERMS).is_dir() else None
        return cls(model, table, read_json(folder / "titles.json"), search, manifest, terms)

    def retriever(self, changed: Mapping[str, Any] | None = None) -> GenerativeRetriever | NgramRetriever:
        """Constrained search with the settings it was trained with, less those that are `changed`.

        Raises ConfigError for a setting that the search of n-grams does not have.
        """
        return make_searcher(self.model, self.table, replace(self.search, **self._checked(changed or {})), self.terms)

    def answer_rows(self, question: str, k: int, changed: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The best k documents for one question, each with the identifier that the model wrote, or with the n-grams as text."""
        searcher = self.retriever(changed)
        if isinstance(searcher, NgramRetriever):
            [found] = searcher.write([question])
            ranking, held = Run.rank(searcher.score(found), k), searcher.evidence(found)
            key, why = "ngrams", {one.doc_id: self._texts(held[one.doc_id][:SHOWN_NGRAMS]) for one in ranking}
        else:
            answered = searcher.answer(question, k)
            ranking = tuple(one for one, _ in answered)
            key, why = "docid_tokens", {one.doc_id: " ".join(map(str, tokens)) for one, tokens in answered}
        return [
            {"rank": rank, "score": one.score, "doc_id": one.doc_id, "title": self.titles.get(one.doc_id, ""),
             key: why[one.doc_id]}
            for rank, one in enumerate(ranking, 1)
        ]  # fmt: skip

    def _texts(self, ngrams: Sequence[DocIDTokens]) -> str:
        return " | ".join(self.model.tokenizer.batch_decode(list(map(list, ngrams))))

    def _checked(self, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        if "views" in changed and not isinstance(self.table, ViewsTable):
            raise ConfigError(
                f"--views: for a model whose documents have several identifiers, not for {self.table.scheme}; build some with "
                "`genir docids build --scheme views`"
            )
        foreign = [option_of(name) for name in changed if not hasattr(self.search, name)]
        if foreign:
            raise ConfigError(
                f"{', '.join(foreign)}: not for a model of n-grams, whose scores are log-probabilities put together by SEAL's "
                "formulas; of the decoding options it takes --num-beams"
            )
        return changed


def _search_settings(table: Identifiers, config: Mapping[str, Any], where: str) -> GenerativeSettings | NgramSettings:
    """How a model was set to be searched, by the configuration in its manifest."""
    if isinstance(table, NgramTable):
        return from_mapping(NgramSettings, config["ngram"]["search"], where)
    settings = from_mapping(GenerativeSettings, config["search"], where)
    return ViewsSettings.of(settings, table.combined) if isinstance(table, ViewsTable) else settings


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
) -> Built:
    """Make the retriever `name` over a data set. `decoding` changes settings of the generative retriever's search.

    `bm25` are its settings, the usual ones without. Raises ConfigError for an unknown name or a missing model.
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
        dense = DenseRetriever(TextEncoder(encoder, device=device, cache_dir=cache)).build(dataset.corpus)
        trained = training_seconds(encoder)
        seconds = time.monotonic() - begun + trained
        settings = {**asdict(dense.settings), "training_seconds": trained}
        return Built(dense, seconds, dense.nbytes, _weight_bytes(dense.encoder.load()[1]), settings)
    if name == "hybrid":
        return _build_hybrid(dataset, data, encoder, cache, device, bm25)
    raise unknown_name("retriever", name, [one for one in RETRIEVERS if one != "none"])


def load_model_for(name: str, model: Path | None, device: str) -> TrainedModel:
    """The model folder that `--retriever NAME` searches, `generative` or `ngram`.

    Raises ConfigError where there is none, or where `ngram` is asked of a model that writes other identifiers.
    """
    if model is None:
        raise ConfigError(f"the {name} retriever needs a trained model: give --model DIR (made by `genir train`)")
    trained = TrainedModel.load(model, device)
    if name == "ngram" and not isinstance(trained.table, NgramTable):
        raise ConfigError(
            f"{model}: writes {trained.table.scheme} identifiers, not n-grams: search it with --retriever generative, or train one "
            "on identifiers of `genir docids build --scheme ngram`"
        )
    return trained


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


def _build_hybrid(
    dataset: Dataset, data: Path, encoder: str, cache: Path | None, device: str, bm25: BM25Settings | None
) -> Built:
    """BM25 and dense, weight and normalisation tuned on dev; half and half, min-max, where there is no dev split."""
    first = build_retriever("bm25", dataset, data, bm25=bm25)
    second = build_retriever("dense", dataset, data, encoder=encoder, cache=cache, device=device)
    begun = time.monotonic()
    tuned: TunedHybrid | None = None
    if dataset.qrels.get("dev"):
        queries = dataset.split("dev")
        runs = [built.retriever.search(queries, DEV_DEPTH) for built in (first, second)]
        tuned = tune_hybrid(runs[0], runs[1], dataset.qrels["dev"])
    hybrid = HybridRetriever(first.retriever, second.retriever, **({} if tuned is None else tuned.as_settings()))
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
