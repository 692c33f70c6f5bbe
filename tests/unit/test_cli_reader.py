"""`genir train-reader span` end to end on four documents: what is learnt from, what is left out, the folder, faults, resumption."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments.commands.reader import reader_app
from experiments.reading import make_reader
from experiments.span.learning import read_config, train_span
from experiments.span.questions import HeldOut, choose_questions
from genir.errors import ArtefactError, ConfigError, DataError
from genir.formats import write_dataset
from genir.manifest import read_manifest
from genir.records import Dataset, Document, Qrels, Query
from rag.span.reader import SpanReader
from rag.span.training import SpanConfig
from tests.reader_questions import CORPUS, QUESTIONS
from tests.tiny_span_reader import save_word_encoder

QUICK = (
    *("max_length=64", "stride=8", "max_question_tokens=16", "max_answer_tokens=6", "alone=0.5"),
    *("training.batch_size=2", "training.precision=float32", "training.evaluate_every=1"),
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    queries = {name: Query(name, text, answers) for name, text, answers, *_ in QUESTIONS}
    judged: dict[str, dict[str, dict[str, int]]] = {}
    for name, _, _, doc_id, split in QUESTIONS:
        judged.setdefault(split, {})[name] = {doc_id: 1}
    return Dataset("north", CORPUS, queries, {split: Qrels(of) for split, of in judged.items()})


@pytest.fixture(scope="module")
def data(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "north"
    write_dataset(dataset, folder)
    return folder


def run(data: Path, out: Path, encoder: Path, *options: object, settings: Sequence[str] = QUICK) -> Result:
    chosen = [part for setting in settings for part in ("--set", setting)]
    arguments = ["span", "--data", data, "--out", out, "--encoder", encoder, *chosen, *options]
    return CliRunner().invoke(reader_app, list(map(str, arguments)))


def test_the_folder_is_a_reader(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "reader"
    done = run(data, out, encoder)
    assert done.exit_code == 0, done.output
    assert "F1 of 1 dev questions with their passage" in done.output
    names = {path.name for path in out.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "span_reader.json",
        "tokenizer.json",
        "training.json",
        "manifest.json",
    } <= names
    assert not names & {"checkpoint.safetensors", "best.safetensors"}
    manifest = read_manifest(out, "span reader", "")
    facts = manifest["facts"]
    assert facts["left_out"] == {}
    assert facts["examples"] == 4 + facts["unanswerable"]
    assert set(manifest["inputs"]) == {
        "corpus",
        "queries",
        "qrels/train",
        "qrels/dev",
        "start",
    }  # the test split is not read
    assert json.loads((out / "training.json").read_text())["history"][0]["step"] == 0
    reader = make_reader(f"span:{out}", "cpu")
    assert isinstance(reader, SpanReader)
    assert reader.settings.temperature == facts["calibration"]["temperature"]
    assert reader.settings.max_length == 64
    again = run(data, out, encoder)
    assert again.exit_code == 0
    assert "reused" in again.output + again.stderr


def test_a_reader_learns_on(data: Path, encoder: Path, tmp_path: Path) -> None:
    assert run(data, tmp_path / "first", encoder, settings=(*QUICK, "storage=float32")).exit_code == 0
    done = run(data, tmp_path / "second", tmp_path / "first", settings=(*QUICK, "training.epochs=0"))
    assert done.exit_code == 0, done.output
    first, second = (read_manifest(tmp_path / name, "span reader", "")["facts"] for name in ("first", "second"))
    assert second["start_dev"] == pytest.approx(first["best_dev"], abs=1e-6)


def test_a_reader_is_packed(data: Path, encoder: Path, tmp_path: Path) -> None:
    assert (
        run(data, tmp_path / "wide", encoder, settings=(*QUICK, "storage=float32", "training.epochs=0")).exit_code == 0
    )
    arguments = ["pack", "--reader", str(tmp_path / "wide"), "--out", str(tmp_path / "packed")]
    done = CliRunner().invoke(reader_app, arguments)
    assert done.exit_code == 0, done.output
    wide, packed = (read_manifest(tmp_path / name, "span reader", "") for name in ("wide", "packed"))
    assert packed["facts"] == wide["facts"]
    named = {**wide["config"], "encoder": encoder.name, "storage": "int8"}  # no path of a machine
    assert packed["config"] == named
    assert packed["outputs"]["model.safetensors"] < wide["outputs"]["model.safetensors"]
    assert SpanReader.load(tmp_path / "packed").settings == SpanReader.load(tmp_path / "wide").settings
    again = CliRunner().invoke(reader_app, arguments)
    assert str(again.exception).startswith(
        f"{tmp_path / 'packed'}: holds a finished reader of other inputs or settings"
    )
    assert CliRunner().invoke(reader_app, [*arguments, "--replace"]).exit_code == 0
    itself = CliRunner().invoke(reader_app, [*arguments[:-1], str(tmp_path / "wide")])
    assert itself.exit_code == 0, itself.output


def test_a_finished_reader_is_lost_only_where_asked_for(data: Path, encoder: Path, tmp_path: Path) -> None:
    quick = (*QUICK, "training.epochs=0")
    assert run(data, tmp_path, encoder, settings=quick).exit_code == 0
    weights = (tmp_path / "model.safetensors").read_bytes()
    other = (*quick, "training.seed=1")
    refused = run(data, tmp_path, encoder, settings=other)
    assert str(refused.exception) == (
        f"{tmp_path}: holds a finished reader of other inputs or settings, or one that lacks a file; "
        "give the name of a new folder, or --replace to lose it"
    )
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert run(data, tmp_path, encoder, "--replace", settings=other).exit_code == 0
    assert (tmp_path / "model.safetensors").read_bytes() != weights


def test_what_another_data_set_asks_is_left_out(dataset: Dataset, data: Path, encoder: Path, tmp_path: Path) -> None:
    other = Dataset(
        "other",
        (Document("x", "the OSLO is capital of Norway, KING lies in Oslo!", "Oslo"), Document("y", "Nothing.", "")),
        {"p": Query("p", "Which?", ("x",)), "r": Query("r", "where is the coast", ("y",))},
        {"dev": Qrels({"p": {"x": 1}}), "test": Qrels({"r": {"y": 1}})},
    )
    write_dataset(other, tmp_path / "other")
    done = run(data, tmp_path / "out", encoder, "--exclude", tmp_path / "other")
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "out", "span reader", "")
    assert manifest["facts"]["left_out"] == {"with a passage of other": 1, "asked in other": 1}
    assert "excluded other/qrels/test" in manifest["inputs"]
    write_dataset(replace(other, qrels={}), tmp_path / "bare")
    with pytest.raises(DataError, match=r"--exclude .*: has no qrels/dev.tsv or qrels/test.tsv: nothing to leave out"):
        HeldOut.read(tmp_path / "bare")
    everything = HeldOut("all", frozenset(), HeldOut.read(data).passages)
    kept, _, _ = choose_questions(dataset, [everything])
    assert [query.query_id for query, _ in kept] == ["q1", "q2", "q4"]  # b2 and a3 hold dev and test questions


def test_questions_are_drawn_and_held_out(dataset: Dataset) -> None:
    kept, dev, _ = choose_questions(dataset, [], max_questions=2, seed=1)
    assert len(kept) == 2
    assert [query.query_id for query, _ in dev] == ["q5"]
    kept, dev, _ = choose_questions(replace(dataset, qrels={"train": dataset.qrels["train"]}), [])
    assert [query.query_id for query, _ in dev] == ["q1"]
    assert [query.query_id for query, _ in kept] == ["q2", "q3", "q4"]
    with pytest.raises(
        DataError, match=r"north: no training question to learn from \(none has answers and a passage\)"
    ):
        choose_questions(replace(dataset, qrels={"dev": dataset.qrels["dev"]}), [])


def test_faults(data: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train-reader: unknown key 'max_lenght': did you mean 'max_length'\?"):
        read_config(None, ["max_lenght=3"])
    with pytest.raises(
        ConfigError, match=r"setting 'trainin.epochs': unknown table 'trainin': did you mean 'training'\?"
    ):
        read_config(None, ["trainin.epochs=3"])
    assert read_config(None, ["training.epochs=3"], "one", 5.0).training.max_minutes == 5.0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    config = SpanConfig(encoder=str(encoder))
    with pytest.raises(ArtefactError, match=r"already holds other things \(notes.txt\)"):
        train_span(data, config, tmp_path / "mine")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "checkpoint.safetensors").write_text("")
    with pytest.raises(ArtefactError, match="holds an unfinished training; go on with --resume"):
        train_span(data, config, tmp_path / "cut")
    with pytest.raises(ArtefactError, match="broken checkpoint"):
        train_span(data, replace_lengths(config), tmp_path / "cut", resume=True)


def replace_lengths(config: SpanConfig) -> SpanConfig:
    """The same for the tiny encoder."""
    return replace(config, max_length=64, stride=8, max_question_tokens=16, max_answer_tokens=6)


def test_help_says_how_to_use_what_is_made() -> None:
    shown = CliRunner().invoke(reader_app, ["span", "--help"]).output
    assert "--exclude" in shown
    assert "--max-minutes" in shown
