"""Whose verdicts questions in Chinese get: the shipped checker reads English, and says "contradicted" of none of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.commands.rag import rag_app
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from tests.evaluated_bridges import fault, rag_eval

CAPITALS = {"秘鲁": "利马", "挪威": "奥斯陆", "日本": "东京", "法国": "巴黎"}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    corpus = tuple(
        Document(f"d{i}", f"{capital}是{country}的首都。", country)
        for i, (country, capital) in enumerate(CAPITALS.items())
    )
    queries = {
        f"q{i}": Query(f"q{i}", f"{country}的首都是哪里？", (capital,))
        for i, (country, capital) in enumerate(CAPITALS.items())
    }
    qrels = {split: Qrels({f"q{i}": {f"d{i}": 1} for i in part}) for split, part in (("dev", (0, 1)), ("test", (2, 3)))}
    write_dataset(Dataset("capitals", corpus, queries, qrels), tmp_path / "capitals")
    return tmp_path


def test_claims_are_judged_by_words_where_nothing_is_named(world: Path) -> None:
    options = ("--data", world / "capitals", "--out", world / "out", "--work", world / "work", "--resamples", 5)
    given = ("--retrievers", "bm25", "--generator", "extractive", "--loss", "fact-conflicting")
    done = CliRunner().invoke(rag_app, ["eval", *map(str, (*options, *given))])
    assert done.exit_code == 0, done.output
    measured = json.loads((world / "out" / "summary.json").read_text())["capitals"]["bm25"]
    assert measured["support (lexical)"]["mean"] == 1
    assert not [measure for measure in measured if measure.startswith("intrinsic")]
    assert json.loads((world / "out" / "capitals.manifest.json").read_text())["config"]["checker"] == "lexical"


def test_the_checker_that_reads_english_is_refused(world: Path) -> None:
    options = ("--retrievers", "bm25", "--generator", "extractive", "--checker", "features")
    told = fault(rag_eval(world, world / "out", *options, data="capitals"))
    assert told == (
        "--checker features: reads English, and the questions of capitals are in another language; give lexical, or embedding:NAME or "
        "nli:NAME with a model of that language"
    )
    assert not (world / "out").exists()
