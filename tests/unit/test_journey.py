"""The whole demo, and the comparison of identifier schemes, on a small atlas with models of random weights."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import genir.embedding
from experiments.atlas import Atlas, build_atlas
from experiments.experiment_schemes import run as compare_schemes
from experiments.journey import DEPTH, WRITTEN, run_demo
from experiments.training.examples import ExamplesConfig
from experiments.training.model_config import ModelConfig, ObjectiveConfig
from genir.errors import DataError
from genir.formats import read_answers, write_dataset
from genir.manifest import MANIFEST, write_manifest
from genir.models.code_decoder import CodeDecoderConfig
from genir.records import Dataset
from genir.training import TrainingConfig
from rag.small_reader.training import ReaderConfig
from retrievers.generative import GenerativeSettings
from tests.tiny_text_models import save_tiny_bert

ARMS = ["closed-book", "generative", "bm25", "dense", "oracle", "random"]
SMALL_CODES = ("levels=3", "codes=8")
MODEL = ModelConfig(
    code_decoder=CodeDecoderConfig(heads=2, feedforward=16, max_text_tokens=128),
    objective=ObjectiveConfig(prefixes=(1,), hard_negatives=2),
    examples=ExamplesConfig(passages=0, pseudo_query_weight=0.0),
    training=TrainingConfig(epochs=1, batch_size=32, precision="float32"),
    search=GenerativeSettings(num_beams=DEPTH),
    dev_queries=10,
    device="cpu",
)
READER = ReaderConfig(
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    vocab_size=400,
    steps=4,
    tokens_per_step=200,
    precision="float32",
)


@pytest.fixture(autouse=True)
def tiny_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random BERT stands in for the default encoder, everywhere."""
    folder = str(save_tiny_bert(tmp_path / "bert"))
    monkeypatch.setattr(genir.embedding, "resolve_encoder", lambda _: folder)


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    """The first rows of two tables: 31 articles with questions of every split, some about unseen entities."""
    tables, packaged = tmp_path / "tables", files("experiments.atlas")
    for kind in ("bone", "constellation"):
        rows = (packaged / "facts" / f"{kind}.tsv").read_text("utf-8").splitlines(keepends=True)
        wording = (packaged / "wording" / f"{kind}.toml").read_text("utf-8")
        for name, text in ((f"facts/{kind}.tsv", "".join(rows[:17])), (f"wording/{kind}.toml", wording)):
            (tables / name).parent.mkdir(parents=True, exist_ok=True)
            (tables / name).write_text(text, "utf-8")
    return build_atlas(tables=tables)


def run_small(out: Path, atlas: Atlas, as_json: bool = False) -> None:
    run_demo(out, as_json, atlas=atlas, docid_settings=SMALL_CODES, config=MODEL, reader=READER)


def manifests(out: Path) -> dict[str, bytes]:
    return {path.parent.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob(MANIFEST)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_from_tables_to_a_report_and_again(
    tmp_path: Path, atlas: Atlas, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(atlas.dataset.qrels[split] for split in ("train", "dev", "test"))
    assert atlas.select("test", "unseen")
    assert atlas.unanswerable
    out = tmp_path / "demo"
    run_small(out, atlas)

    said = capsys.readouterr()
    assert "Retrieval on atlas" in said.out
    assert "Answers of one reader" in said.out
    assert f"The report: {out / 'report.html'}" in said.out
    assert f"training -> {out / 'model'}\n" in said.err
    assert all((out / name).exists() for name in WRITTEN)
    assert {path.stem for path in (out / "runs").glob("*.trec")} == {"bm25", "dense", "hybrid", "generative"}
    check_answers(out, atlas)
    check_examples(out, atlas)

    made = manifests(out)
    assert set(made) == {"data", "docids", "model", "runs", "reader", "grounding"}
    metrics, examples = ((out / name).read_bytes() for name in ("metrics.json", "examples.json"))
    (out / "examples.json").unlink()
    run_small(out, atlas, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"] == json.loads(metrics)["rows"]
    assert [row["arm"] for row in printed["grounding"]] == ARMS
    assert printed["report"] == str(out / "report.html")
    assert (manifests(out), (out / "examples.json").read_bytes()) == (made, examples)

    for lost in ("metrics.json", "grounding.json", "data/queries.jsonl"):
        (out / lost).unlink()
    run_small(out, atlas)
    again = json.loads((out / "metrics.json").read_text())
    assert again["rows"] == json.loads(metrics)["rows"]
    unchanged = set(made) - {"data", "runs", "grounding"}
    assert {name: manifests(out)[name] for name in unchanged} == {name: made[name] for name in unchanged}


def check_answers(out: Path, atlas: Atlas) -> None:
    """Every arm answers every question, and an answer's source is a sentence of a document that holds it."""
    questions = len(atlas.select("test", "unseen"))
    grounding = json.loads((out / "grounding.json").read_text())
    assert ([row["arm"] for row in grounding["rows"]], grounding["questions"]) == (ARMS, questions)
    answers = list(read_answers(out / "answers.jsonl"))
    assert len(answers) == len(ARMS) * questions
    texts = {document.doc_id: document.text for document in atlas.dataset.corpus}
    cited = [(one, citation) for one in answers for citation in one.citations]
    assert cited
    for answer, citation in cited:
        assert texts[citation.doc_id][citation.start : citation.end] == citation.text
        assert citation.text in {sentence.text for sentence in atlas.sentences[citation.doc_id]}
        assert answer.text in citation.text
        assert citation.doc_id in {passage.doc_id for passage in answer.passages}


def check_examples(out: Path, atlas: Atlas) -> None:
    """What the model wrote for a few test questions is its own run, best first."""
    examples = json.loads((out / "examples.json").read_text())
    assert len(examples) == 5
    asked = {query.text for query in atlas.dataset.split("test")}
    for example in examples:
        scores = [example["score"], *(other["score"] for other in example["alternatives"])]
        assert example["question"] in asked
        assert len(example["docid_tokens"]) == 3
        assert (len(scores), scores) == (4, sorted(scores, reverse=True))


def test_another_atlas_replaces_the_demos_own_data(tmp_path: Path, atlas: Atlas) -> None:
    out = tmp_path / "demo"
    write_dataset(atlas.dataset, out / "data")
    write_manifest(out / "data", "data", {"source": "atlas", "seed": 0}, {"dataset": "of an earlier version"})
    run_small(out, atlas)
    assert json.loads((out / "data" / MANIFEST).read_text())["facts"]["documents"] == len(atlas.dataset.corpus)


def test_the_demo_leaves_a_folder_of_other_data_untouched(tmp_path: Path, tiny_dataset: Dataset) -> None:
    out = tmp_path / "mine"
    write_dataset(tiny_dataset, out / "data")
    (out / "docids").mkdir()
    (out / "docids" / "docids.jsonl").write_text("{}\n")
    before = contents(out)
    with pytest.raises(DataError) as refused:
        run_demo(out)
    assert str(refused.value) == (
        f"{out}: already holds data, docids; expected the demo's own data at {out / 'data'}, "
        "got something without a manifest of a data folder; give another --out, or move these away"
    )
    write_manifest(out / "data", "data", {"source": "my.json", "words": None}, {})
    with pytest.raises(DataError, match=r"got data of another source \(my\.json\); give another --out"):
        run_demo(out)
    (out / "data" / MANIFEST).unlink()
    assert contents(out) == before


def test_the_demo_leaves_a_model_without_data_untouched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"already holds model; expected the demo's own data at .*data, got nothing; "):
        run_demo(tmp_path)
    assert not (tmp_path / "data").exists()


def test_the_demo_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is a file; give the name of a new folder"):
        run_demo(tmp_path / "file")


def test_schemes_compared_with_their_start_and_with_chance(tmp_path: Path, tiny_dataset: Dataset) -> None:
    data, out, work = tmp_path / "data", tmp_path / "out", tmp_path / "work"
    dataset = replace(tiny_dataset, name="data")
    write_dataset(dataset, data)
    settings = dict.fromkeys(("residual", "random"), ("levels=2", "codes=2"))
    scored = compare_schemes(data, out, MODEL, work, ("residual", "random"), settings)

    systems = ["bm25", "dense", "hybrid", "residual", "residual-untrained", "random"]
    summary = json.loads((out / "summary.json").read_text())["data"]
    assert list(summary) == systems
    for name, measures in summary.items():
        assert list(measures) == scored["measures"]
        for figures in measures.values():
            assert figures["low"] <= figures["mean"] <= figures["high"]
            assert (figures["p"] is None) == (name == "bm25")
    about = json.loads((out / "metrics.json").read_text())["systems"]
    assert list(about) == ["residual", "residual-untrained", "random"]
    assert len(about["residual-untrained"]["history"]) == 1
    assert len(about["residual"]["history"]) > 1
    assert set(json.loads((out / "per_query.json").read_text())) == set(systems)
    assert (out / "report.html").is_file()

    made = contents(work)
    assert compare_schemes(data, out, MODEL, work, ("residual", "random"), settings)["rows"] == scored["rows"]
    assert contents(work) == made
