"""Every stage from a folder of documents to an answer with its source, for each kind of identifier and model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genir.records import Dataset
from tests.tiny_journey import TRAINING, Journey, genir

WAYS = [
    ("residual", "code_decoder", "ranking"),
    ("product", "code_decoder", "ranking"),
    ("hierarchical", "code_decoder", "cross_entropy"),
    ("numeric", "code_decoder", "ranking"),
    ("title", "code_decoder", "ranking"),
    ("atomic", "seq2seq", "cross_entropy"),
    ("title", "seq2seq", "cross_entropy"),
    ("key-terms", "seq2seq", "cross_entropy"),
    ("random", "seq2seq", "cross_entropy"),
]


@pytest.fixture
def journey(tmp_path: Path, tiny_dataset: Dataset) -> Journey:
    return Journey.begin(tmp_path, tiny_dataset)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("scheme", "architecture", "objective"), WAYS)
def test_from_documents_to_an_answer(journey: Journey, scheme: str, architecture: str, objective: str) -> None:
    built = journey.build(scheme)
    assert built.out.startswith(f"{journey.docids}: {scheme}, 4 documents, 4 identifiers, length ")
    figures = json.loads(genir("docids", "inspect", journey.docids, "--json").out)
    assert (figures["uniqueness"], len(figures["levels"])) == (1.0, figures["length"]["max"])

    trained = journey.train(journey.config(architecture, objective))
    assert trained.code == 0, trained.err
    assert "M parameters, " in trained.out
    assert "RR@10 on dev: " in trained.out
    assert not list(journey.model.glob("*checkpoint*"))

    run = journey.root / "runs" / "generative.trec"
    searched = genir(
        "search", "--model", journey.model, "--data", journey.data, "--split", "test", "-k", 3, "--out", run
    )
    assert searched.out.startswith(f"{run}: 1 queries, ")
    assert [line.split()[0] for line in run.read_text().splitlines()] == ["q3"] * 3
    found = json.loads(genir("search", "--model", journey.model, "Norway's capital?", "-k", 4, "--json").out)
    assert sorted(row["doc_id"] for row in found) == [
        "d1",
        "d2",
        "d3",
        "d4",
    ]  # four beams, four documents: nothing is pruned
    assert [row["rank"] for row in found] == [1, 2, 3, 4]

    answered = json.loads(
        genir(
            "answer",
            "Norway's capital?",
            "--data",
            journey.data,
            "--retriever",
            "generative",
            "--model",
            journey.model,
            "--generator",
            "extractive",
            "--json",
        ).out
    )
    assert (answered["retriever"], answered["generator"]) == ("generative", "extractive")
    assert len(answered["passages"]) == 3


def test_import_inspect_baselines_evaluate_and_answer(journey: Journey, tiny_folder: Path) -> None:
    imported = journey.root / "imported"
    said = genir("data", "import", tiny_folder, "--out", imported)
    assert said.out == f"{imported}: 4 documents, 5 queries, splits {{'train': 2, 'dev': 1, 'test': 1}}\n"
    facts = json.loads(genir("data", "inspect", imported, "--json").out)
    assert facts["documents"]["count"] == 4
    runs = []
    for name in ("bm25", "tfidf", "dense", "hybrid"):
        runs.append(imported.parent / f"{name}.trec")
        options = ("--data", imported, "--split", "test", "--out", runs[-1], "--encoder", journey.encoder)
        assert genir("search", "--retriever", name, *options).code == 0
    table = genir("evaluate", "--data", imported, *runs)
    assert all(path.stem in table.out for path in runs)
    kept = journey.root / "metrics.json"
    rows = json.loads(genir("evaluate", "--data", imported, *runs, "-m", "RR@10", "--out", kept, "--json").out)
    assert {(row["run"], row["measure"]) for row in rows} == {(path.stem, "RR@10") for path in runs}
    assert json.loads(kept.read_text())["per_query"]["bm25"] == {"RR@10": {"q3": 1.0}}

    quoting = ("--data", imported, "--generator", "extractive")
    answer = genir("answer", "Through which country does the Nile flow into the Mediterranean?", *quoting).out
    assert (
        answer
        == "The Nile flows north through Egypt into the Mediterranean Sea.\n  supported 1.00\n    [d3]  (d3, characters 0 to 62)\n"
    )
    closed = genir("answer", "Which way does the Nile flow?", *quoting, "--retriever", "none")
    assert closed.out == "I do not know\n  extractive has no passages to read (--retriever none).\n"


def test_a_second_run_reuses_every_stage(journey: Journey) -> None:
    first = journey.build(), journey.train()
    before = files(journey.docids) | files(journey.model)
    second = journey.build(), journey.train()
    assert [one.out for one in second] == [one.out for one in first]
    assert all(one.err.endswith("from the same inputs and settings, reused\n") for one in second)
    assert files(journey.docids) | files(journey.model) == before


def test_a_changed_setting_is_made_anew_and_nothing_old_stays(journey: Journey) -> None:
    journey.build("residual")
    journey.train()
    assert (journey.docids / "codebooks.safetensors").is_file()
    assert journey.build("atomic").out.startswith(f"{journey.docids}: atomic, ")
    assert sorted(path.name for path in journey.docids.iterdir()) == ["docids.jsonl", "manifest.json", "scheme.json"]
    assert (journey.model / "encoder").is_dir()
    assert journey.train(journey.config("seq2seq", "cross_entropy"), "--replace").code == 0
    assert sorted(path.name for path in journey.model.iterdir()) == [
        *(
            "config.json",
            "docids",
            "manifest.json",
            "network",
            "own_embedding.safetensors",
            "titles.json",
            "training.json",
        ),
    ]
    assert genir("search", "--model", journey.model, "a question").code == 0


def test_changed_training_queries_are_trained_anew(journey: Journey) -> None:
    journey.build()
    journey.train()
    queries = journey.data / "queries.jsonl"
    queries.write_text(queries.read_text().replace("What is the capital of Norway?", "Norway's capital city?"))
    assert "reused" not in journey.train().err


def test_the_same_seed_gives_the_same_weights_and_another_does_not(journey: Journey) -> None:
    journey.build("atomic")
    other = journey.root / "other"
    journey.train()
    journey.train(out=other)
    weights = "model.safetensors"
    assert (journey.model / weights).read_bytes() == (other / weights).read_bytes()
    config = journey.config(more=TRAINING.replace("[training]", "[training]\nseed = 1"))
    journey.train(config, out=journey.root / "seed 1")
    assert (journey.model / weights).read_bytes() != (journey.root / "seed 1" / weights).read_bytes()


def test_help_and_version_import_nothing_heavy() -> None:
    assert genir("--version").out.startswith("genir ")
    for command in (("--help",), ("train", "--help"), ("data", "import", "-h"), ("answer", "-h")):
        assert "Usage: genir" in genir(*command).out
    heavy = "{'torch', 'transformers', 'numpy', 'faiss', 'sklearn'}"
    check = f"import sys, experiments.cli; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).resolve().parents[2])
