"""`genir rag eval` end to end: eight documents, a generator without weights, every condition and two mitigations."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from experiments.rag_evaluation import reading as rag_reading
from experiments.rag_evaluation.arms import Searcher
from experiments.rag_evaluation.experiment import STAGE
from experiments.retrieval import Built
from rag.mitigations.cost import Meter
from tests.bridges import write_bridges
from tests.evaluated_bridges import BUILDER, named_builder, rag_eval

ARMS = "none,random,bm25,oracle"
CONDITIONS = "poisoned,removed,distractors,push-back,popularity,unanswerable,wording,gate"


@pytest.fixture(scope="module", autouse=True)
def builder() -> Iterator[None]:
    """`--generator builder` names the generator without weights."""
    with named_builder():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and an evaluation with everything in out/."""
    folder = tmp_path_factory.mktemp("world")
    write_bridges(folder / "bridges")
    options = ("--generator", "builder,extractive", "--mitigations", "abstain,copy", "--conditions", CONDITIONS)
    done = rag_eval(folder, folder / "out", "--retrievers", ARMS, "-k", 3, "--samples", 2, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return folder


@pytest.fixture(scope="module")
def summary(world: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world / "out" / "summary.json").read_text())
    return found


def test_what_is_written(world: Path, summary: dict[str, Any]) -> None:
    names = {path.name for path in (world / "out").iterdir()}
    plots = {f"bridges.{plot}.svg" for plot in ("hallucination", "risk-coverage", "reliability")}
    assert names == {
        "summary.json",
        "answers.jsonl",
        "bridges.json",
        "bridges.per_query.json",
        "bridges.manifest.json",
        *plots,
    }
    assert list(summary) == [
        "bridges",
        "bridges (poisoned)",
        "bridges (removed)",
        "bridges (distractors)",
        "bridges (push-back)",
        "bridges (popularity 1 to 10)",
        "bridges (popularity 10 to 100)",
        "bridges (popularity 100 to 1,000)",
        "bridges (with unanswerable)",
        "bridges (wording)",
        "bridges (gate)",
    ]
    manifest = json.loads((world / "out" / "bridges.manifest.json").read_text())
    assert manifest["stage"] == STAGE
    assert manifest["config"]["generators"] == ["builder", "extractive"]
    assert str(world) not in json.dumps(manifest)


def test_the_table_of_arms(summary: dict[str, Any]) -> None:
    base = summary["bridges"]
    first = ["none", "random", "bm25", "oracle"]
    assert list(base)[:8] == [*first, *(f"{arm}, extractive" for arm in first)]
    assert base["oracle"]["EM"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "delta": base["oracle"]["EM"]["delta"]}
    assert base["oracle"]["EM"]["delta"]["against"] == "bm25"
    assert base["none"]["hallucination"]["mean"] == 1.0  # closed-book it guesses
    assert base["none, extractive"]["abstention"]["mean"] == 1.0
    assert base["none, extractive"]["EM"]["delta"]["against"] == "bm25, extractive"
    assert base["random"]["EM"]["mean"] == 0.0
    assert "bm25 + copy + abstain" in base  # whatever order they were given in
    assert base["none + copy"]["hallucination"]["delta"] == {
        "against": "none",
        "mean": -1.0,
        "low": -1.0,
        "high": -1.0,
        "p": 0.125,
        "p_corrected": 1.0,
    }


def test_costs_stand_in_the_summary_and_both_tables_are_shown(world: Path, summary: dict[str, Any]) -> None:
    base = summary["bridges"]
    assert [base[arm]["calls"]["mean"] for arm in ("none", "bm25", "none, extractive")] == [1.0, 1.0, 0.0]
    assert base["bm25 + copy"]["searches"] == {"mean": 1.0}
    assert base["bm25"]["seconds"].keys() == {"mean"}
    assert base["bm25"]["words"]["mean"] > 0
    again = ("--retrievers", "none,bm25", "--generator", "builder", "--mitigations", "copy", "--name", "shown")
    done = rag_eval(world, world / "shown", *again)
    assert done.exit_code == 0, done.exception
    figures, differences = done.stdout.split("shown: ")[1:]
    head = figures.splitlines()[2]
    assert all(column in head for column in ("EM", "hallucination", "coverage", "model calls", "words", "seconds"))
    assert "against" in differences.splitlines()[2]
    [copied] = [line for line in differences.splitlines() if "none + copy" in line]
    assert "-1.000 [-1.000, -1.000]" in copied


def test_conditions_change_what_they_say(world: Path, summary: dict[str, Any]) -> None:
    poisoned = summary["bridges (poisoned)"]["oracle"]
    assert poisoned["flipped"]["mean"] == poisoned["says the substitute"]["mean"] == 1.0
    assert poisoned["EM"]["delta"]["against"] == "oracle, before"
    removed = summary["bridges (removed)"]
    assert list(removed) == ["bm25, whole corpus", "bm25", "bm25, extractive, whole corpus", "bm25, extractive"]
    assert removed["bm25"]["EM"]["mean"] == 0.0
    assert "over-refusal" not in removed["bm25"]
    details = json.loads((world / "out" / "bridges.json").read_text())
    about = details["conditions"]["bridges (removed)"]["removed_beside_relevant"]
    assert about["bm25"] == {"questions": 0, "documents": 0, "with_fewer_passages": 0}
    pushed = summary["bridges (push-back)"]
    assert pushed["oracle, says so"]["right to wrong"]["mean"] == 1.0
    assert pushed["none, says so"]["wrong to right"]["mean"] == 1.0
    vain = summary["bridges (with unanswerable)"]
    assert list(vain) == ["none", "random", "bm25", "none, extractive", "random, extractive", "bm25, extractive"]
    assert vain["none"]["refusal"]["mean"] == 0.0
    assert vain["none, extractive"]["refusal"]["mean"] == 1.0
    shares = [f"near-duplicates {share} %" for share in (0, 50, 100)]
    assert list(summary["bridges (distractors)"]) == [*shares, *(f"{share}, extractive" for share in shares)]
    assert {name.rpartition(", ")[2] for name in summary["bridges (wording)"]} == {"plain", "labelled", "polite"}


def test_retrieve_or_not(world: Path, summary: dict[str, Any]) -> None:
    gate = summary["bridges (gate)"]
    assert list(gate) == [
        f"{arm}, {policy}" for arm in ("random", "bm25", "oracle") for policy in ("never", "always", "adaptive")
    ]
    measures = ("EM", "hallucination", "searches")
    assert [gate["bm25, never"][one]["mean"] for one in measures] == [0.0, 1.0, 0.0]
    assert [gate["bm25, always"][one]["mean"] for one in measures] == [1.0, 0.0, 1.0]
    assert [gate["bm25, adaptive"][one]["mean"] for one in measures] == [1.0, 0.0, 1.0]  # it is equally sure of all
    assert gate["bm25, adaptive"]["EM"]["delta"]["against"] == "bm25, always"
    assert gate["random, adaptive"]["searches"]["mean"] == 0.0  # on dev it never helped
    details = json.loads((world / "out" / "bridges.json").read_text())
    about, cost = details["conditions"]["bridges (gate)"], details["cost_a_question"]
    assert about["cannot_answer_closed_book"] == ["extractive"]
    assert (about["gates"]["bm25"]["score"], about["gates"]["bm25"]["questions"]) == (1.0, 2)
    assert [cost[f"bm25, {one}"]["calls"] for one in ("never", "always", "adaptive")] == [1.0, 1.0, 2.0]
    assert [cost[f"bm25, {one}"]["searches"] for one in ("never", "always", "adaptive")] == [0.0, 1.0, 1.0]


def test_consistency_is_measured_where_a_reader_can_be_sampled(world: Path, summary: dict[str, Any]) -> None:
    base = summary["bridges"]
    found = {measure: base["bm25"][measure]["mean"] for measure in base["bm25"] if "entropy" in measure}
    assert found == {"semantic entropy (text)": 0.0, "semantic entropy (lexical)": 0.0}  # it always says the same
    assert base["bm25"]["unigram inconsistency, average"]["mean"] == pytest.approx(0.693, abs=1e-3)  # of two words
    assert base["none"]["mean log-probability"]["mean"] == pytest.approx(-0.1)
    assert not any("entropy" in measure or "inconsistency" in measure for measure in base["bm25, extractive"])
    details = json.loads((world / "out" / "bridges.json").read_text())
    assert details["conditions"]["bridges"]["cannot_be_sampled"] == ["extractive"]


def test_a_question_costs_its_search_its_reading_and_every_step(world: Path) -> None:
    cost = json.loads((world / "out" / "bridges.json").read_text())["cost_a_question"]
    [run] = [
        told for path in (world / "work" / "runs").glob("bm25-*.json")
        if (told := json.loads(path.read_text()))["cost"]["queries"] == 4
    ]  # fmt: skip
    search = run["cost"]["search_seconds"] / 4
    assert search > 0
    assert [cost[arm]["searches"] for arm in ("none", "bm25", "oracle", "bm25, extractive")] == [0.0, 1.0, 1.0, 1.0]
    assert cost["bm25"]["seconds"] >= search
    for step in ("copy", "abstain", "copy + abstain"):
        row = cost[f"bm25 + {step}"]
        assert (row["calls"], row["searches"]) == (1.0, 1.0)
        assert row["seconds"] >= cost["bm25"]["seconds"]


def test_no_index_is_built_inside_what_is_measured(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With kept runs the index is first needed by a step that searches: its seconds are not the step's."""
    given = ("--generator", "extractive", "--retrievers", "bm25")
    assert rag_eval(tmp_path, tmp_path / "out", *given, data=str(world / "bridges")).exit_code == 0
    clock, build, measuring, built = Meter.clock, Searcher._build, [], []

    @contextmanager
    def watched(meter: Meter) -> Iterator[None]:
        measuring.append(meter)
        with clock(meter):
            yield
        measuring.pop()

    def noted(searcher: Searcher, name: str) -> Built:
        built.append((name, bool(measuring)))
        return build(searcher, name)

    monkeypatch.setattr(Meter, "clock", watched)
    monkeypatch.setattr(Searcher, "_build", noted)
    steps = ("--mitigations", "copy")
    assert rag_eval(tmp_path, tmp_path / "out", *given, *steps, data=str(world / "bridges")).exit_code == 0
    assert built == []  # nothing of it searches
    steps = ("--mitigations", "verify")
    assert rag_eval(tmp_path, tmp_path / "out", *given, *steps, data=str(world / "bridges")).exit_code == 0
    assert built == [("bm25", False)]


def test_every_prompt_and_answer_is_kept(world: Path, summary: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (world / "out" / "answers.jsonl").read_text().splitlines()]
    assert {line["data"] for line in lines} <= set(summary)
    [closed] = [
        line for line in lines if (line["data"], line["arm"], line["answer"]["query_id"]) == ("bridges", "none", "q0")
    ]
    assert "Who built the oldest bridge of Oslo?" in closed["prompt"]
    assert (closed["accepted"], closed["answer"]["text"]) == (["Edvard Lund"], "Gustave Eiffel")
    second = [
        line for line in lines if line["arm"] == "oracle, with a quotation" and line["data"].endswith("(push-back)")
    ]
    assert all("Are you sure? I think it is" in line["prompt"] for line in second)
    assert all("Who built the oldest bridge" in line["prompt"] for line in second)  # the first turn is in view
    assert all(line["prompt"] is None for line in lines if line["arm"].endswith("extractive"))
    prompts = {(line["arm"], line["answer"]["query_id"]): line["prompt"] for line in lines if line["data"] == "bridges"}
    assert prompts["bm25 + copy + abstain", "q0"] == prompts["bm25", "q0"]  # no step asked anything
    assert not any(line["calls"] for line in lines)


def test_the_calls_of_mitigations_are_kept_beside_the_prompt(world: Path, tmp_path: Path) -> None:
    """Their rows had no prompt at all, whatever their steps had asked."""
    given = ("--generator", "builder,extractive", "--retrievers", "bm25", "--mitigations", "verify,copy")
    for name in ("first", "again"):  # made, then kept
        done = rag_eval(world, tmp_path / name, *given, "--name", "asked")
        assert done.exit_code == 0, done.exception
    first, again = ((tmp_path / name / "answers.jsonl").read_text().splitlines() for name in ("first", "again"))
    assert first == again
    told = {(one["arm"], one["answer"]["query_id"]): one for one in map(json.loads, first)}
    for query_id in ("q0", "q1", "q2", "q3"):
        base, verified = told["bm25", query_id], told["bm25 + verify", query_id]
        assert (verified["prompt"], base["calls"]) == (base["prompt"], [])
        assert verified["calls"]
        assert all(call.keys() == {"prompt", "reply"} and call["prompt"] for call in verified["calls"])
        assert base["answer"]["question"] in verified["calls"][0]["prompt"]
        assert told["bm25 + copy", query_id]["calls"] == []
        assert told["bm25, extractive + verify", query_id]["calls"] == []
    cost = json.loads((tmp_path / "again" / "asked.json").read_text())["cost_a_question"]
    asked = sum(len(one["calls"]) for (arm, _), one in told.items() if arm == "bm25 + verify")
    assert cost["bm25 + verify"]["calls"] == 1 + asked / 4


def test_lists_of_readers_without_prompts_are_kept_as_they_were(world: Path, tmp_path: Path) -> None:
    """Where no model is asked a kept list is what it was before calls were kept: no file more."""
    given = ("--generator", "extractive", "--retrievers", "bm25", "--mitigations", "verify", "--limit", 3)
    work = ("--work", tmp_path / "work")
    assert rag_eval(world, tmp_path / "out", *given, *work).exit_code == 0
    lists = sorted((tmp_path / "work" / "answers").iterdir())
    assert {path.name for one in lists for path in one.iterdir()} == {
        "answers.jsonl", "prompts.json", "values.json", "manifest.json",
    }  # fmt: skip


def test_kept_answers_are_measured_anew_where_the_measures_changed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--generator", "extractive", "--retrievers", "bm25", "--limit", 3, "--work", tmp_path / "work")
    assert rag_eval(world, tmp_path / "out", *given).exit_code == 0
    [values, *_] = sorted((tmp_path / "work" / "answers").glob("*/values.json"))
    kept = json.loads(values.read_text())
    monkeypatch.setattr(rag_reading.AnswerStore, "_read", None)  # nothing is read again
    other = kept | {"values": kept["values"] | {"EM": dict.fromkeys(kept["values"]["EM"], 0.25)}}
    values.write_text(json.dumps(other))
    assert rag_eval(world, tmp_path / "kept", *given).exit_code == 0
    assert json.loads(values.read_text()) == other
    monkeypatch.setattr(rag_reading, "measuring_code", lambda: "another version")
    assert rag_eval(world, tmp_path / "again", *given).exit_code == 0
    assert json.loads(values.read_text()) == {"measured_by": "another version", "values": kept["values"]}


def test_details(world: Path) -> None:
    details = json.loads((world / "out" / "bridges.json").read_text())
    assert details["questions"] == {
        "asked": 4, "dev": 2, "dev_unanswerable": 0, "unanswerable": 2, "left_out_without_answer": 0,
    }  # fmt: skip
    assert details["conditions"]["bridges (wording)"]["without_prompt"] == ["extractive"]
    assert details["conditions"]["bridges (poisoned)"]["left_out"]["random"] == 4
    assert details["conditions"]["bridges (poisoned)"]["left_out_of_no_kind"] == 0
    shares = [f"near-duplicates {share} %" for share in (0, 50, 100)]
    assert list(details["conditions"]["bridges (distractors)"]["near_duplicates_missing"]) == shares
    assert details["conditions"]["bridges (with unanswerable)"]["oracle"] is False
    assert details["calibration"]["oracle"]["questions"] == 2
    assert details["calibration"]["none, extractive"] is None
    assert details["cost_a_question"]["bm25"]["calls"] == 1.0
    assert details["risk_coverage"]["oracle"][-1]["coverage"] == 1.0
    values = json.loads((world / "out" / "bridges.per_query.json").read_text())
    assert values["oracle"]["questions"] == ["q0", "q1", "q2", "q3"]
    assert values["oracle"]["EM"] == [1.0, 1.0, 1.0, 1.0]


def test_a_second_run_reads_nothing_again_and_other_data_sets_stay(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "out", tmp_path / "out")
    before = len(BUILDER.prompts)
    options = ("--retrievers", ARMS, "--generator", "builder", "--name", "again", "--samples", 2, "--json")
    done = rag_eval(world, tmp_path / "out", *options)
    assert done.exit_code == 0, done.exception
    assert len(BUILDER.prompts) == before
    both = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert both["bridges"] == json.loads((world / "out" / "summary.json").read_text())["bridges"]
    assert both["again"]["oracle"]["F1"]["mean"] == 1.0
    assert json.loads(done.stdout) == {"again": both["again"]}
    [*old] = (world / "out" / "answers.jsonl").read_text().splitlines()
    now = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert now[: len(old)] == old
    assert len(now) == len(old) + 4 * 4
    costs = [
        json.loads((folder / "out" / f"{name}.json").read_text())["cost_a_question"]["bm25"]
        for folder, name in ((world, "bridges"), (tmp_path, "again"))
    ]
    assert costs[0] == costs[1]  # what is reused costs what it cost when it was made
    monkeypatch.setattr(rag_reading, "answer", None)
    assert rag_eval(world, tmp_path / "out", *options).exit_code == 0
    assert len((tmp_path / "out" / "answers.jsonl").read_text().splitlines()) == len(now)


def test_a_limit_takes_questions_from_all_over_and_dev_is_not_the_test(world: Path, tmp_path: Path) -> None:
    done = rag_eval(world, tmp_path / "out", "--generator", "builder", "--limit", 2, "--retrievers", "oracle")
    assert done.exit_code == 0, done.exception
    lines = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"]["query_id"] for line in lines] == ["q0", "q2"]
