"""Figures of a span reader: arms, SQuAD 2.0's unanswerable questions, the curve, the file."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from experiments.reader_evaluation import Asked, evaluate, figures, oracle, retrieved, score, unanswerable
from genir.errors import DataError
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from rag.reading import Reading
from rag.span.reader import SpanReader
from tests.tiny_span_reader import save_word_encoder, tiny_reader

CORPUS = (Document("a", "Oslo is the capital of Norway.", "Oslo"), Document("b", "The Nile lies in Egypt.", "Nile"))
QUERIES = {"p": Query("p", "what is the capital", ("Oslo",)), "q": Query("q", "where is the nile", ("Egypt",))}
NORTH = Dataset(
    "north", CORPUS, QUERIES, {"test": Qrels({"p": {"a": 1}, "q": {"b": 1}}), "bare": Qrels({"p": {"b": 0}})}
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SpanReader:
    return tiny_reader(save_word_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def second(tmp_path: Path) -> Path:
    folder = tmp_path / "second"
    write_dataset(NORTH, folder)
    lines = [
        {
            "_id": "p",
            "text": "what is the capital",
            "answers": ["Oslo"],
            "answerable": True,
            "context_id": "a",
            "split": "test",
        },
        {
            "_id": "u",
            "text": "where is the sea",
            "answers": [],
            "answerable": False,
            "context_id": "a",
            "split": "test",
        },
        {"_id": "v", "text": "where is rome", "answers": [], "answerable": False, "context_id": "b", "split": "train"},
    ]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_arms(second: Path) -> None:
    assert [one.passages for one in oracle(NORTH, "test")] == [(CORPUS[0],), (CORPUS[1],)]
    assert [one.passages[0].doc_id for one in retrieved(NORTH, "test", 1)] == ["a", "b"]
    assert [
        (one.query.query_id, one.query.answers, one.passages[0].doc_id) for one in unanswerable(second, "test")
    ] == [
        ("p", ("Oslo",), "a"),
        ("u", (), "a"),
    ]
    with pytest.raises(DataError, match="north: no question of split 'bare' has answers and a passage"):
        oracle(NORTH, "bare")
    with pytest.raises(DataError, match="split 'train' has not both answerable and unanswerable questions"):
        unanswerable(second, "train")
    write_dataset(NORTH, second.parent / "first")
    with pytest.raises(
        DataError,
        match=r"queries.jsonl:1: KeyError\('context_id'\): expected `answerable`, `split` and the `context_id`",
    ):
        unanswerable(second.parent / "first", "test")


def read(reader: SpanReader, asked: list[Asked]) -> list[Reading]:
    return reader.read([one.query.text for one in asked], [one.passages for one in asked])


def test_what_is_withheld_is_what_the_reader_itself_withholds(reader: SpanReader, second: Path) -> None:
    asked = [*oracle(NORTH, "test"), *unanswerable(second, "test")]
    always = read(reader, asked)
    for threshold in (0.0, sorted(one.confidence for one in always)[2], 1.0):
        itself = score(read(reader.with_settings(min_confidence=threshold), asked), asked)
        assert {name: values for name, values in itself.items() if name != "confidence"} == {
            name: values for name, values in score(always, asked, threshold).items() if name != "confidence"
        }


def test_scores_under_both_rules(reader: SpanReader, second: Path) -> None:
    asked = unanswerable(second, "test")
    silent = score(read(reader, asked), asked, threshold=1.0)
    assert silent["refusal"] == {"u": 1.0}
    assert silent["over-refusal"] == {"p": 1.0}
    assert silent["F1"] == {"p": 0.0, "u": 1.0}
    made = figures(reader.with_settings(min_confidence=1.0), {"own": asked})["own"]
    assert made["always"]["coverage"]["mean"] == 1.0
    assert made["abstaining"]["coverage"]["mean"] == 0.0
    assert [point["coverage"] for point in made["risk_coverage"]] == [0.5, 1.0]
    assert made["risk_coverage"][-1]["risk"] == made["always"]["hallucination"]["mean"]


def test_an_answer_that_is_right_scores_one(reader: SpanReader) -> None:
    [[found]] = reader.candidates(["what is the capital"], [[CORPUS[0]]], most=1)
    asked = [Asked(Query("p", "what is the capital", (found.text,)), (CORPUS[0],))]
    values = score(read(reader, asked), asked)
    assert (values["EM"]["p"], values["F1"]["p"]) == (1.0, 1.0)
    assert values["confidence"]["p"] == pytest.approx(found.probability)


def test_the_file(reader: SpanReader, second: Path, tmp_path: Path) -> None:
    reader.save(tmp_path / "reader")
    write_dataset(NORTH, tmp_path / "data")
    app, out = Typer(), tmp_path / "figures.json"
    app.command()(evaluate)
    arguments = [
        "--reader",
        tmp_path / "reader",
        "--data",
        tmp_path / "data",
        "--unanswerable",
        second,
        "-k",
        1,
        "--out",
        out,
    ]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.output.splitlines()] == [
        "oracle",
        "bm25, 1 passages",
        "second, own passage",
    ]
    written = json.loads(out.read_text())
    assert set(written["oracle"]["always"]["F1"]) == {"mean", "low", "high"}
    assert set(written["inputs"]) == {"reader", "dataset", "second"}
