"""`genir rag eval` of what it cannot evaluate, or only in part: one line each, nothing lost or half-written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import reading
from experiments.rag_evaluation import reading as rag_reading
from genir.errors import ArtefactError, ConfigError, DataError
from genir.records import Dataset, Document, Query
from rag.reading import GeneratorReader
from tests.bridges import Builder, bridges, write_bridges
from tests.evaluated_bridges import fault, named_builder, rag_eval


@pytest.fixture(scope="module", autouse=True)
def builder() -> Iterator[None]:
    """`--generator builder` names the generator without weights."""
    with named_builder():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder."""
    folder = tmp_path_factory.mktemp("world")
    write_bridges(folder / "bridges")
    return folder


BAD = [
    (("--retrievers", "bm25,dens"), "unknown retriever 'dens': did you mean 'dense'"),
    (("--mitigations", "verfy"), "unknown mitigation 'verfy': did you mean 'verify'"),
    (("--conditions", "remove"), "unknown condition 'remove': did you mean 'removed'"),
    (("--generator", "./nowhere"), "--generator ./nowhere: no such folder"),
    (("--checker", "lexcal"), "unknown checker 'lexcal': did you mean 'lexical'"),
    (("--retrievers", "joint"), "the joint retriever is a joint model's own: give --generator joint:DIR"),
    (("--retrievers", "generative"), "the generative retriever needs a trained model: give --model DIR"),
    (("--retrievers", "generative", "--model", "nowhere"), "nowhere: no such folder; make one with `genir train`"),
    (("--split", "tset"), "has no split 'tset' (qrels/tset.tsv); there are: train, dev, test"),
    (("--conditions", "wording"), "condition wording: extractive reads without a prompt"),
    (("--mitigations", "contrast"), "mitigation contrast: changes how a language model writes"),
    (("--retrievers", "none", "--conditions", "poisoned"), "condition poisoned: needs a retriever beside none"),
    (("--retrievers", "oracle", "--conditions", "removed"), "condition removed: needs a retriever that searches"),
    (("--retrievers", "none", "--conditions", "gate"), "condition gate: needs a retriever beside none"),
    (("--signal", "mood"), "unknown signal 'mood'"),
    (("--target", "riks"), "unknown target 'riks': did you mean 'risk'"),
    (
        ("--target", "risk", "--risk", "0"),
        "expected no negative number, a temperature above 0, and a risk above 0, at most 1",
    ),
    (("--samples", "-1"), "samples -1, temperature 0.7"),
    (("--samples", "2"), "--samples 2: extractive cannot be sampled; give a language model"),
    (
        ("--signal", "consistency", "--mitigations", "abstain"),
        "signal consistency: reader 'extractive' cannot be sampled; use confidence or support",
    ),
    (("--entities", "unseen"), "--entities unseen: only atlas tells seen entities from unseen ones"),
    (("--generator", "extractive,extractive"), "'extractive' is given more than once"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_one_line_and_leave_nothing(
    options: tuple[str, ...], message: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = options if "--generator" in options else ("--generator", "extractive", *options)
    done = rag_eval(world, tmp_path / "out", *chosen)
    assert message in fault(done)
    assert not list(tmp_path.iterdir())


def other(world: Path, name: str, dataset: Dataset) -> str:
    """Another data set beside the first."""
    write_bridges(world / name, dataset)
    return name


def test_data_that_cannot_be_evaluated(world: Path, tmp_path: Path) -> None:
    whole = bridges()
    bare = {query_id: Query(query_id, query.text) for query_id, query in whole.queries.items()}
    data = other(world, "bare", replace(whole, queries=bare))
    done = rag_eval(world, tmp_path / "out", "--generator", "extractive", data=data)
    assert isinstance(done.exception, DataError)
    assert "none of the 4 questions of split 'test' has `answers` in queries.jsonl" in fault(done)
    known = {query_id: query for query_id, query in whole.queries.items() if query.answers}
    data = other(world, "known", replace(whole, queries=known))
    (world / data / "queries.jsonl").write_text(
        (world / data / "queries.jsonl").read_text().replace("subject_popularity", "fame")
    )
    for condition, message in (
        ("popularity", "condition popularity: no question of known has a `subject_popularity`"),
        ("unanswerable", "condition unanswerable: every question of known has an answer"),
    ):
        done = rag_eval(world, tmp_path / "out", "--generator", "extractive", "--conditions", condition, data=data)
        assert message in fault(done)
    undevelopped = {split: qrels for split, qrels in whole.qrels.items() if split != "dev"}
    data = other(world, "no-dev", replace(whole, qrels=undevelopped))
    done = rag_eval(world, tmp_path / "out", "--generator", "extractive", "--mitigations", "abstain", data=data)
    assert "mitigation abstain: no-dev has no dev questions to choose the threshold on" in fault(done)
    done = rag_eval(world, tmp_path / "out", "--generator", "extractive", "--conditions", "gate", data=data)
    assert "condition gate: no-dev has no dev questions to choose the threshold on" in fault(done)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_swapped_is_said_before_anything_is_read_or_keeps_the_rest(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bridges()
    lone = [
        replace(one, text=one.text.partition(" in 18")[0] + ".") for one in whole.corpus
    ]  # no other builder, no year
    data = other(world, "lone", replace(whole, corpus=tuple(lone)))
    given = ("--generator", "builder", "--retrievers", "bm25")
    with monkeypatch.context() as patch:
        patch.setattr(rag_reading, "answer", None)  # it must not be asked
        done = rag_eval(world, tmp_path / "out", *given, "--conditions", "removed,push-back", data=data)
    assert "condition push-back: of 4 questions none has a right passage that holds an accepted answer" in fault(done)
    assert not (tmp_path / "out").exists()
    done = rag_eval(world, tmp_path / "out", *given, "--conditions", "poisoned,removed", data=data)
    assert done.exit_code == 0, done.exception
    assert (
        "condition poisoned: nothing that it applies to\ncondition poisoned: no passage that was found" in done.stderr
    )
    assert "(poisoned)" not in done.stdout  # no table without rows
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["lone (poisoned)"] == {}
    assert found["lone"]["bm25"]["coverage"]["mean"] == 1.0
    assert "bm25" in found["lone (removed)"]
    details = json.loads((tmp_path / "out" / "lone.json").read_text())
    assert details["conditions"]["lone (poisoned)"] == {"left_out": {"bm25": 4}, "left_out_of_no_kind": 0}


def test_what_holds_the_answer_is_removed_though_nothing_judges_it(world: Path, tmp_path: Path) -> None:
    """Behind the relevant document stand two more that name the builder: the reader is to see none of the three."""
    whole = bridges()
    also = [
        Document(f"also{i}", f"The oldest bridge of Oslo, {said} Edvard Lund. {'Bridge. ' * i}")
        for i, said in enumerate(("by", "of 1800, built by"))
    ]
    queries = {**whole.queries, "q1": replace(whole.queries["q1"], text="zzz?")}  # nothing is found for it
    data = other(world, "more", replace(whole, corpus=(*whole.corpus, *also), queries=queries))
    given = ("--generator", "extractive", "--retrievers", "bm25", "--conditions", "removed", "-k", 2)
    done = rag_eval(world, tmp_path / "out", *given, data=data)
    assert done.exit_code == 0, done.exception
    lines = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    answers = [line["answer"] for line in lines if line["data"] == "more (removed)"]
    left = {one["query_id"]: [passage["doc_id"] for passage in one["passages"]] for one in answers}
    assert [len(passages) for passages in left.values()] == [2, 0, 2, 2]  # searched deeper, until there are k again
    assert not {"d0", "also0", "also1"} & set(left["q0"])
    about = json.loads((tmp_path / "out" / "more.json").read_text())["conditions"]["more (removed)"]
    found = about["removed_beside_relevant"]["bm25"]
    assert found == {"questions": 1, "documents": 2, "with_fewer_passages": 1}


def test_a_gate_without_a_reader_that_answers_from_memory_says_so(world: Path, tmp_path: Path) -> None:
    given = ("--generator", "extractive", "--retrievers", "bm25", "--conditions", "gate")
    done = rag_eval(world, tmp_path / "out", *given)
    assert done.exit_code == 0, done.exception
    assert "condition gate: extractive left every dev question unanswered closed-book: give a reader" in done.stderr
    assert "(gate)" not in done.stdout


def test_distractors_are_labelled_by_what_was_used(world: Path, tmp_path: Path) -> None:
    given = ("--generator", "builder", "--retrievers", "oracle", "--conditions", "distractors")
    for k, shares in ((2, (0, 100)), (4, (0, 67, 100))):
        done = rag_eval(world, tmp_path / "out", *given, "-k", k)
        assert done.exit_code == 0, done.exception
        found = json.loads((tmp_path / "out" / "summary.json").read_text())["bridges (distractors)"]
        assert list(found) == [f"near-duplicates {share} %" for share in shares]


def test_unanswerable_questions_that_nothing_is_found_for(world: Path, tmp_path: Path) -> None:
    whole = bridges()
    strange = {q: replace(query, text="zzz?") if not query.answers else query for q, query in whole.queries.items()}
    data = other(world, "vain", replace(whole, queries=strange))
    given = ("--generator", "extractive", "--retrievers", "bm25", "--conditions", "unanswerable")
    done = rag_eval(world, tmp_path / "out", *given, data=data)
    assert done.exit_code == 0, done.exception
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["vain (with unanswerable)"]["bm25"]["refusal"]["mean"] == 1.0


def test_abstention_by_other_signals_and_for_a_guaranteed_risk(world: Path, tmp_path: Path) -> None:
    given = ("--generator", "builder", "--retrievers", "bm25", "--mitigations", "abstain")
    for signal in ("support", "consistency"):
        done = rag_eval(world, tmp_path / signal, *given, "--signal", signal)
        assert done.exit_code == 0, done.exception
        found = json.loads((tmp_path / signal / "summary.json").read_text())["bridges"]
        assert found["bm25 + abstain"]["coverage"]["mean"] == 1.0
    calls = json.loads((tmp_path / "consistency" / "bridges.json").read_text())["cost_a_question"]
    assert [calls[row]["calls"] for row in ("bm25", "bm25 + abstain")] == [1.0, 6.0]  # five samples
    done = rag_eval(world, tmp_path / "risk", *given, "--target", "risk", "--risk", 0.1)
    assert done.exit_code == 0, done.exception
    found = json.loads((tmp_path / "risk" / "summary.json").read_text())["bridges"]
    assert found["bm25 + abstain"]["coverage"]["mean"] == 0.0  # two dev questions guarantee nothing


def test_an_empty_run(world: Path, tmp_path: Path) -> None:
    whole = bridges()
    strange = {query_id: replace(query, text=f"zzz {query_id}?") for query_id, query in whole.queries.items()}
    data = other(world, "strange", replace(whole, queries=strange))
    done = rag_eval(world, tmp_path / "out", "--generator", "extractive", "--retrievers", "bm25", data=data)
    assert isinstance(done.exception, DataError)
    assert "retriever bm25: an empty run: it found no passage for any of the 4 questions" in fault(done)
    assert not (tmp_path / "out").exists()


def test_nothing_of_others_is_overwritten(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = rag_eval(world, tmp_path / "file", "--generator", "extractive")
    assert isinstance(done.exception, ArtefactError)
    assert "is a file; give the name of a new folder" in fault(done)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "answers.jsonl").write_text("mine\n")
    assert "already holds other things (answers.jsonl)" in fault(
        rag_eval(world, tmp_path / "demo", "--generator", "extractive")
    )
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "summary.json").write_text("[]")
    assert "not a summary of figures" in fault(rag_eval(world, tmp_path / "list", "--generator", "extractive"))
    assert (tmp_path / "demo" / "answers.jsonl").read_text() == "mine\n"


def test_other_parts_of_a_summary_stay(world: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text('{"checker": {"lexical": {}}}')
    done = rag_eval(world, tmp_path / "out", "--generator", "builder", "--retrievers", "oracle")
    assert done.exit_code == 0, done.exception
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())) == ["checker", "bridges"]


def test_two_readers_of_one_name(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "make_reader", lambda name, device: GeneratorReader(Builder()))
    done = rag_eval(world, tmp_path / "out", "--generator", "one,two")
    assert isinstance(done.exception, ConfigError)
    assert "--generator one: another one is called 'builder' in tables, too" in fault(done)
