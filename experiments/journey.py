"""The whole journey on atlas: every stage in turn, each reused where it is finished, and a report at the end.

data/ -> docids/ -> model/ -> runs/*.trec -> metrics.json -> reader/ -> grounding.json, answers.jsonl -> report.html
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from docids.table import DocIDTable
from experiments.atlas import Atlas, build_atlas
from experiments.data_stage import build_docids, write_data
from experiments.grounding import ground, grounding_table, side_by_side
from experiments.report import write_report
from experiments.retrieval import build_retriever, search_split
from experiments.scoring import compare_runs, metrics_table
from experiments.tables import show
from experiments.training.model import train_model
from experiments.training.model_config import ModelConfig
from genir.embedding import DEFAULT_ENCODER
from genir.errors import ArtefactError, DataError
from genir.formats import dataset_sha256, read_answers, read_run, write_dataset
from genir.manifest import MANIFEST, is_current, sha256_of, write_json, write_manifest
from genir.records import Dataset
from rag.small_reader.training import ReaderConfig
from retrievers.index_files import read_json

SYSTEMS = ("bm25", "dense", "hybrid", "generative")
DEPTH = 40
MEASURES = ("Success@1", "R@10", "RR@10", "nDCG@10")
EXAMPLES = 5
# What the demo writes under --out, beside its cache.
WRITTEN = (
    *("data", "docids", "model", "runs", "metrics.json", "examples.json"),
    *("reader", "grounding", "grounding.json", "answers.jsonl", "report.html"),
)
_DATA_CONFIG = {"source": "atlas", "seed": 0}  # in the manifest of the demo's own data folder


def run_demo(
    out: Path,
    as_json: bool = False,
    *,
    atlas: Atlas | None = None,
    docid_settings: Sequence[str] = (),
    config: ModelConfig | None = None,
    reader: ReaderConfig | None = None,
) -> None:
    """Run or reuse every stage under `out`, print the tables, write report.html.

    The whole atlas, the scheme's own settings, configs/demo.toml and the reader's own configuration unless others are given.
    Raises DataError, before anything is written, where `out` holds what the demo would overwrite but did not make.
    """
    _check_own(out)
    tell = _Teller()
    atlas = atlas or build_atlas()
    data, docids, model = out / "data", out / "docids", out / "model"
    with tell.stage("data", data):
        dataset = _atlas_folder(atlas, data)
    with tell.stage("identifiers", docids):
        build_docids(data, docids, "residual", docid_settings, DEFAULT_ENCODER, out / "cache")
    with tell.stage("training", model):
        train_model(data, docids, config or _demo_config(), model, resume=True, overwrite=True)
    with tell.stage("search", out / "runs"):
        metrics = _search(dataset, data, model, out)
    with tell.stage("examples", out / "examples.json"):
        write_json(out / "examples.json", _examples(dataset, model, out / "runs" / "generative.trec"))
    with tell.stage("grounded answers", out / "grounding"):
        grounding = ground(atlas, data, model, out, reader)
    report = write_report(out)
    if as_json:
        print(
            json.dumps(
                {"metrics": metrics["rows"], "grounding": grounding["rows"], "report": str(report)}, ensure_ascii=False
            )
        )
        return
    rows, columns = metrics_table(metrics)
    show(
        rows, columns, title=f"Retrieval on atlas, {metrics['queries']} test questions (* p < .05 against {SYSTEMS[0]})"
    )
    show(*grounding_table(grounding))
    titles = {document.doc_id: document.title for document in dataset.corpus}
    print("\n".join(side_by_side(list(read_answers(out / "answers.jsonl")), titles)))
    print(_next_steps(out, report))


class _Teller:
    """One line on stderr for every stage: what it is, where it lies, how long it took."""

    @contextmanager
    def stage(self, name: str, path: Path) -> Iterator[None]:
        print(f"{name} -> {path}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        yield
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)


def _demo_config() -> ModelConfig:
    with as_file(files("experiments") / "configs" / "demo.toml") as path:
        return ModelConfig.read(path)


def _check_own(out: Path) -> None:
    """Raise DataError where `out` holds anything that the demo writes, unless its data folder is one that the demo made.

    The demo writes data first: without it, whatever else lies there is somebody's own.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; give the name of a new folder")
    data = out / "data"
    found = "nothing"
    if data.exists():
        try:
            config = read_json(data / MANIFEST)["config"]  # a file that was deleted since is made again
            if config == _DATA_CONFIG:
                return
            source = config.get("source") if isinstance(config, Mapping) else config
            found = f"data of another source ({source})"
        except (ArtefactError, KeyError, TypeError):
            found = "something without a manifest of a data folder"
    there = [name for name in WRITTEN if (out / name).exists()]
    if there:
        raise DataError(
            f"{out}: already holds {', '.join(there)}; expected the demo's own data at {data}, got {found}; "
            "give another --out, or move these away"
        )


def _atlas_folder(atlas: Atlas, data: Path) -> Dataset:
    """Write atlas as a data folder unless the very same one is there, finished."""
    with TemporaryDirectory() as folder:
        fresh = Path(folder) / "data"
        write_dataset(atlas.dataset, fresh)
        inputs = {"dataset": dataset_sha256(fresh)}
    if not is_current(data, "data", _DATA_CONFIG, inputs) or dataset_sha256(data) != inputs["dataset"]:
        write_data(atlas.dataset, data, _DATA_CONFIG)
    return atlas.dataset


def _search(dataset: Dataset, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Runs of all systems on the test split, and their comparison in metrics.json."""
    inputs = {"dataset": dataset_sha256(data), "model": sha256_of(model / MANIFEST)}
    config = {"systems": SYSTEMS, "depth": DEPTH, "measures": MEASURES}
    folder, metrics = out / "runs", out / "metrics.json"
    runs = [folder / f"{name}.trec" for name in SYSTEMS]
    there = all(path.is_file() for path in (*runs, metrics))
    if not there or not is_current(folder, "runs", config, inputs):
        (folder / MANIFEST).unlink(missing_ok=True)  # from here on the folder is unfinished
        for name, path in zip(SYSTEMS, runs, strict=True):
            built = build_retriever(name, dataset, data, model, cache=out / "cache")
            search_split(built, dataset, "test", DEPTH, path, inputs)
        write_json(metrics, compare_runs(runs, data, "test", MEASURES))
        write_manifest(folder, "runs", config, inputs)
    return cast(dict[str, Any], read_json(metrics))


def _examples(dataset: Dataset, model: Path, run: Path) -> list[dict[str, Any]]:
    """For a few test questions, what the model wrote and what else it considered; the report shows them."""
    table = DocIDTable.load(model / "docids")
    titles = {document.doc_id: document.title for document in dataset.corpus}
    rankings = read_run(run).rankings
    questions = dataset.split("test")[:: max(1, len(dataset.qrels["test"]) // EXAMPLES)][:EXAMPLES]
    examples = []
    for question in questions:
        best, *others = (
            {
                "doc_id": one.doc_id,
                "title": titles[one.doc_id],
                "docid_tokens": table.tokens_of(one.doc_id),
                "score": one.score,
            }
            for one in rankings[question.query_id][:4]
        )
        examples.append({"question": question.text, **best, "alternatives": others})
    return examples


def _next_steps(out: Path, report: Path) -> str:
    answering = f"--data {out / 'data'} --model {out / 'model'} --retriever generative --generator {out / 'reader'}"
    return f"""
The report: {report}
Try next:
  genir search --model {out / "model"} "Who wrote Don Quixote?"
  genir answer "What is the capital of Peru?" {answering}
  genir data import YOUR_FOLDER --out mydata      then docids build, train, search, evaluate: see genir --help"""
