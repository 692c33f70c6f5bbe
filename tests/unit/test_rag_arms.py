"""Runs of an evaluation: kept, reused, and played back with the identifiers that a generative retriever writes."""

import json
from pathlib import Path

import pytest

from experiments.rag_evaluation.arms import InOrder, Searcher, ranked
from experiments.rag_evaluation.questions import choose_questions
from experiments.rag_evaluation.settings import GroundingConfig
from genir.errors import ConfigError
from genir.formats import read_run
from genir.records import Dataset, Qrels, Query, ScoredDoc
from rag.answering import answer
from rag.evaluation import OracleRetriever
from rag.generators.extractive import ExtractiveGenerator
from rag.mitigations.cost import Cost
from tests.bridges import bridges, write_bridges
from tests.small_library import DOCUMENTS, generative_retriever

DATASET = bridges()
ASKED = DATASET.split("test")


@pytest.fixture
def searcher(tmp_path: Path) -> Searcher:
    return Searcher(DATASET, write_bridges(tmp_path / "bridges"), tmp_path / "work", DATASET.qrels["test"])


def test_a_run_is_written_once_and_read_again(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    first = searcher.run("bm25", ASKED, 4)
    [path] = (searcher.work / "runs").glob("bm25-*.trec")
    assert read_run(path).rankings == first
    assert [first[f"q{i}"][0].doc_id for i in range(4)] == ["d0", "d1", "d2", "d3"]
    again = Searcher(DATASET, searcher.data, searcher.work, searcher.relevant)
    monkeypatch.setattr(again, "built", None)  # it must not be asked
    assert again.run("bm25", ASKED, 4) == first
    assert searcher.run("bm25", ASKED[:2], 4).keys() == {"q0", "q1"}
    assert len(list((searcher.work / "runs").glob("bm25-*.trec"))) == 2


def test_the_ends_of_the_scale_hang_on_judgements_and_seed(searcher: Searcher) -> None:
    oracle = searcher.run("oracle", ASKED, 3)
    assert oracle["q2"] == (ScoredDoc("d2", 1.0),)
    drawn = searcher.run("random", ASKED, 3)
    assert all(f"d{i}" not in [one.doc_id for one in drawn[f"q{i}"]] for i in range(4))
    other = Searcher(DATASET, searcher.data, searcher.work, searcher.relevant, seed=1)
    assert other.run("random", ASKED, 3) != drawn


def test_an_order_without_scores_survives_a_run_file() -> None:
    judged = OracleRetriever(Qrels({"q": {"z": 1, "a": 1}}))
    assert InOrder(judged).search([Query("q", "?")], 5).rankings["q"] == ranked(["z", "a"])
    assert InOrder(judged).name == "oracle"


def test_playback_finds_what_it_is_given_whatever_the_words(searcher: Searcher) -> None:
    playback = searcher.playback("bm25", {"q0": ranked(["d5", "d6"])})
    found = playback.search([Query("q0", "something else"), Query("q9", "unknown")], 1).rankings
    assert found == {"q0": ranked(["d5"]), "q9": ()}


def test_played_back_citations_carry_the_identifiers_that_were_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = Dataset("small", DOCUMENTS, {})
    searcher = Searcher(dataset, tmp_path, tmp_path, Qrels({}))
    monkeypatch.setattr(searcher, "live", lambda name: generative_retriever())
    playback = searcher.playback("generative", {"q1": ranked(["lima"])})
    [found] = answer("What is the capital of Peru?", playback, ExtractiveGenerator(), dataset.documents())
    assert [citation.docid_tokens for citation in found.citations] == [(0, 4)]
    assert found.retriever == "generative"


def test_a_run_costs_what_it_cost_when_it_was_made(searcher: Searcher) -> None:
    searcher.run("bm25", ASKED, 4)
    made = searcher.cost("bm25", ASKED, 4)
    assert made.searches == len(ASKED)
    [beside] = (searcher.work / "runs").glob("bm25-*.json")
    told = json.loads(beside.read_text())
    assert 0 < made.seconds == told["cost"]["search_seconds"]
    told["cost"]["search_seconds"] = 5.5  # by a slower machine, once
    beside.write_text(json.dumps(told))
    again = Searcher(DATASET, searcher.data, searcher.work, searcher.relevant)
    again.run("bm25", ASKED, 4)
    assert again.cost("bm25", ASKED, 4) == Cost(searches=4, seconds=5.5)


def test_unanswerable_questions_of_other_splits_are_not_asked(tmp_path: Path) -> None:
    data = write_bridges(tmp_path / "bridges")
    path = data / "queries.jsonl"
    lines = path.read_text().splitlines()
    more = {"u0": '"split": "dev", ', "u1": '"split": "test", "context_id": "d3", '}
    changed = [
        line.replace("{", "{" + next((more[one] for one in more if f'"_id": "{one}"' in line), ""), 1) for line in lines
    ]
    path.write_text("\n".join(changed) + "\n")
    found = choose_questions(data, DATASET, GroundingConfig())
    assert [query.query_id for query in found.unanswerable] == ["u1"]
    assert found.relevant.relevant("u1") == ("d3",)  # what it was written against
    assert found.popularity == {"q0": 5.0, "q1": 50.0, "q2": 500.0, "q3": 5.0}
    named = choose_questions(data, DATASET, GroundingConfig(split="dev"))
    assert (named.name, named.dev) == ("bridges (dev)", ())


def test_a_model_must_be_named(searcher: Searcher) -> None:
    searcher.check(["bm25", "oracle"])
    with pytest.raises(ConfigError, match="the ngram retriever needs a trained model: give --model DIR"):
        searcher.check(["ngram"])
