"""The whole journey on atlas: every stage in turn, each reused where it is finished, and a report at the end.

data/ -> docids/ -> model/ -> runs/*.trec -> metrics.json -> reader/ -> grounding.json, answers.jsonl -> report.html
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, cast

from experiments.atlas import Atlas, build_atlas
from experiments.data_stage import build_docids, write_data
from experiments.grounding import ground, grounding_table, side_by_side
from experiments.learning import ModelConfig, train_model
from experiments.report import write_report
from experiments.retrieval import TrainedModel, build_retriever, search_split
from experiments.scoring import compare_runs, metrics_table
from experiments.tables import show
from genir.embedding import DEFAULT_ENCODER
from genir.errors import GenirError
from genir.formats import dataset_sha256, read_answers
from genir.manifest import MANIFEST, is_current, read_manifest, sha256_of, write_json, write_manifest
from genir.records import Dataset
from retrievers.index_files import read_json

SYSTEMS = ("bm25", "dense", "hybrid", "generative")
DEPTH = 50
MEASURES = ("Success@1", "R@10", "RR@10", "nDCG@10")
EXAMPLES = 5


def run_demo(out: Path, as_json: bool = False) -> None:
    """Run or reuse every stage under `out`, print the tables, write report.html."""
    tell = _Teller()
    atlas = build_atlas()
    data, docids, model = out / "data", out / "docids", out / "model"
    with tell.stage("data", data):
        dataset = _atlas_folder(atlas, data)
    with tell.stage("identifiers", docids):
        build_docids(data, docids, "residual", [], DEFAULT_ENCODER, out / "cache")
    with tell.stage("training", model), _demo_config() as config:
        train_model(data, docids, ModelConfig.read(config), model, resume=True)
    with tell.stage("search", out / "runs"):
        metrics = _search(dataset, data, model, out)
    with tell.stage("grounded answers", out / "grounding"):
        grounding = ground(atlas, data, model, out)
    with tell.stage("examples", out / "examples.json"):
        _examples(dataset, data, model, out)
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


@contextmanager
def _demo_config() -> Iterator[Path]:
    with as_file(files("experiments") / "configs" / "demo.toml") as path:
        yield path


def _atlas_folder(atlas: Atlas, data: Path) -> Dataset:
    """Write atlas as a data folder unless the same one is there, and check that nobody changed it."""
    config = {"source": "atlas", "seed": 0}
    try:
        manifest = read_manifest(data, "data", "genir demo")
        current = manifest["config"] == config and manifest["inputs"]["dataset"] == dataset_sha256(data)
        current = current and manifest["facts"]["documents"] == len(atlas.dataset.corpus)
    except (GenirError, KeyError):
        current = False
    if not current:
        write_data(atlas.dataset, data, config)
    return atlas.dataset


def _search(dataset: Dataset, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Runs of all systems on the test split, and their comparison in metrics.json."""
    inputs = {"dataset": dataset_sha256(data), "model": sha256_of(model / MANIFEST)}
    config = {"systems": SYSTEMS, "depth": DEPTH, "measures": MEASURES}
    runs = out / "runs"
    if not is_current(runs, "runs", config, inputs):
        for name in SYSTEMS:
            built = build_retriever(name, dataset, data, model, cache=out / "cache")
            search_split(built, dataset, "test", DEPTH, runs / f"{name}.trec", inputs)
        scored = compare_runs([runs / f"{name}.trec" for name in SYSTEMS], data, "test", MEASURES)
        write_json(out / "metrics.json", scored)
        write_manifest(runs, "runs", config, inputs)
    return cast(dict[str, Any], read_json(out / "metrics.json"))


def _examples(dataset: Dataset, data: Path, model: Path, out: Path) -> list[dict[str, Any]]:
    """For a few test questions, what the model wrote and what else it considered; the report shows them."""
    trained = TrainedModel.load(model)
    questions = dataset.split("test")[:: max(1, len(dataset.qrels["test"]) // EXAMPLES)][:EXAMPLES]
    run = trained.retriever().search(questions, k=4)
    examples = []
    for question in questions:
        best, *others = (
            {
                "doc_id": one.doc_id,
                "title": trained.titles[one.doc_id],
                "docid_tokens": trained.table.tokens_of(one.doc_id),
                "score": one.score,
            }
            for one in run.rankings[question.query_id]
        )
        examples.append({"question": question.text, **best, "alternatives": others})
    write_json(out / "examples.json", examples)
    return examples


def _next_steps(out: Path, report: Path) -> str:
    answering = f"--data {out / 'data'} --model {out / 'model'} --retriever generative --generator {out / 'reader'}"
    return f"""
The report: {report}
Try next:
  genir search --model {out / "model"} "Which river flows through Vienna?"
  genir answer "What is the capital of Peru?" {answering}
  genir data import YOUR_FOLDER --out mydata      then docids build, train, search, evaluate: see genir --help"""
