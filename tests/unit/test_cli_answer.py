"""`genir answer`: wording, examples, conversations and streaming through the command line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments import reading
from experiments.checkers import benchmark
from genir.formats import write_dataset
from genir.records import Dataset
from rag.reading import GeneratorReader, Reader
from rag.verification import Statement, Support
from tests.scripted_generator import CountingGenerator, ScriptedGenerator
from tests.tiny_journey import Journey, genir

NORWAY = "What is the capital of Norway?"


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default generator is the one that needs no weights, whether or not this installation has any."""
    monkeypatch.setattr(reading, "span_ships", lambda: False)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedGenerator:
    """What `--generator scripted` names; any other name is as ever."""
    generator, make_reader = ScriptedGenerator(["Oslo [1]"]), reading.make_reader

    def make(name: str, device: str = "auto") -> Reader:
        return GeneratorReader(generator) if name == "scripted" else make_reader(name, device)

    monkeypatch.setattr(reading, "make_reader", make)
    return generator


def ask(folder: Path, *options: object) -> Any:
    outcome = genir("answer", NORWAY, "--data", folder, *options, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_answer_as_json_has_claims_with_verdicts(tiny_folder: Path) -> None:
    found = ask(tiny_folder)
    [claim] = found["claims"]
    assert (found["text"], claim["text"], claim["verdict"]) == ("Oslo is the capital of Norway.",) * 2 + ("supported",)
    assert claim["citations"][0]["passage"] == 0
    assert found["confidence"] > 0.5


def test_only_an_unsure_answer_is_searched_for(tiny_folder: Path) -> None:
    # closed-book the extractive generator knows nothing: confidence 0, at most any threshold
    sure_of_nothing = ask(tiny_folder, "--search-below", 0)
    assert sure_of_nothing == ask(tiny_folder)
    assert sure_of_nothing["passages"]
    refused = genir("answer", NORWAY, "--data", tiny_folder, "--search-below", ".5", "--stream")
    assert refused.code == 1
    assert "--search-below: which answer stands is known at the end only; leave out --stream" in refused.err


def test_a_sure_answer_is_not_searched_for(tiny_folder: Path, scripted: ScriptedGenerator) -> None:
    scripted.logprobs = (-0.1,)
    found = ask(tiny_folder, "--generator", "scripted", "--search-below", ".5")
    assert (found["text"], found["retriever"], found["passages"]) == ("Oslo", "none", [])


class Doubtful:
    """A checker that sees contradictions everywhere."""

    name = "doubtful"

    def check(self, statements: Sequence[Statement]) -> list[Support]:
        return [Support(0.0, 0.9) for _ in statements]


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_claims_are_judged_by_the_checker_that_is_named(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, stream: tuple[str, ...]
) -> None:
    made = []

    def make(name: str, device: str, cache: Path | None) -> Doubtful:
        made.append(name)
        return Doubtful()

    monkeypatch.setattr(benchmark, "make_checker", make)
    out = genir("answer", NORWAY, "--data", tiny_folder, "--checker", "trained:somewhere", *stream).out
    assert "Oslo is the capital of Norway.\n  contradicted .00\n    [Oslo]  (d1" in out
    assert made == ["trained:somewhere"]


def test_the_default_generator_is_span_where_it_ships_and_can_read_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [reading.default_generator(one) for one in (NORWAY, "日本的首都是哪里？")] == ["extractive"] * 2
    monkeypatch.setattr(reading, "span_ships", lambda: True)
    assert [reading.default_generator(one) for one in (NORWAY, "日本的首都是哪里？")] == ["span", "extractive"]


def test_a_model_is_the_default_retriever(finished: Journey) -> None:
    """`--model` without `--retriever` was ignored."""
    where, model = ("Where is Oslo?", "--data", finished.data, "--json"), ("--model", finished.model)
    found = [json.loads(genir("answer", *where, *more).out) for more in (model, ("--retriever", "bm25"))]
    assert [one["retriever"] for one in found] == ["generative", "bm25"]


def test_a_conversation_is_printed_turn_by_turn(tiny_folder: Path) -> None:
    outcome = genir("answer", NORWAY, "--data", tiny_folder, "--follow-up", "And of Peru?", "--follow-up", "Why?")
    assert outcome.out.splitlines()[:7] == [
        "Oslo is the capital of Norway.",
        "  supported 1.00",
        "    [Oslo]  (d1, characters 0 to 30)",
        "",
        "> And of Peru?",
        "Lima is the capital of Peru.",
        "  (searched for: What is the capital of Peru?)",
    ]
    found = ask(tiny_folder, "--follow-up", "And of Peru?")
    searched = [("q1", ""), ("q2", "What is the capital of Peru?")]
    assert [(one["query_id"], one["search_query"]) for one in found] == searched


def test_a_stream_is_the_text_then_the_sources(tiny_folder: Path, scripted: ScriptedGenerator) -> None:
    plain = genir("answer", NORWAY, "--data", tiny_folder, "--generator", "scripted")
    streamed = genir("answer", NORWAY, "--data", tiny_folder, "--generator", "scripted", "--stream")
    assert streamed.out == plain.out
    assert plain.out.startswith("Oslo\n  supported 1.00\n    [Oslo] Oslo is the capital of Norway.  (d1, ")
    lines = genir(
        "answer", NORWAY, "--data", tiny_folder, "--generator", "scripted", "--stream", "--json"
    ).out.splitlines()
    *pieces, answer = map(json.loads, lines)
    assert "".join(piece["piece"] for piece in pieces) == answer["text"] == "Oslo"


def test_wording_and_language(tiny_folder: Path, scripted: ScriptedGenerator, tmp_path: Path) -> None:
    ask(tiny_folder, "--generator", "scripted", "--template", "labelled")
    ask(tiny_folder, "--generator", "scripted", "--language", "zh")
    genir("answer", "日本的首都是哪里？", "--data", tiny_folder, "--generator", "scripted")
    own = tmp_path / "own.toml"
    own.write_text('grounded = "E {passages} Q {question}"\nclosed_book = "Q {question}"\n')
    ask(tiny_folder, "--generator", "scripted", "--template", own)
    ask(tiny_folder, "--generator", "scripted", "--template", own, "--retriever", "none")
    begun = [prompt[:5] for prompt in scripted.prompts]
    assert begun == ["### T", "请只根据下", "请只根据下", "E [1]", "Q Wha"]
    assert genir("answer", "谁画了格尔尼卡？", "--data", tiny_folder).out.startswith("我不知道\n")


@pytest.mark.parametrize("way", ["similar", "random"])
def test_worked_examples_come_from_the_train_split(tiny_folder: Path, scripted: ScriptedGenerator, way: str) -> None:
    options = ("--data", tiny_folder, "--generator", "scripted", "--shots", 1, "--shots-by", way, "-k", 1)
    outcome = genir("answer", "What is the capital of Peru?", *options)
    assert (outcome.code, outcome.err) == (0, "2 of 2 train questions can be worked examples\n")
    assert ("Answer: Oslo [1]" in scripted.prompts[0]) or way == "random"
    genir("answer", NORWAY, *options)
    assert "Answer: 东京 [1]" in scripted.prompts[1]  # the question itself is no example


def test_a_generator_condenses_where_it_is_told_to(tiny_folder: Path, scripted: ScriptedGenerator) -> None:
    scripted.replies = ["Oslo [1]", "What is the capital of Peru?", "Lima"]
    _, found = ask(tiny_folder, "--generator", "scripted", "--condense", "generator", "--follow-up", "And there?")
    assert (found["text"], found["search_query"]) == ("Lima", "What is the capital of Peru?")
    assert "Answer: Oslo" in scripted.prompts[2]


def test_claims_that_are_not_supported_are_named(tiny_folder: Path, scripted: ScriptedGenerator) -> None:
    scripted.replies = ["Oslo is the capital. Vikings sail ships in it."]
    out = genir("answer", NORWAY, "--data", tiny_folder, "--generator", "scripted").out
    assert "  unsupported .00: Vikings sail ships in it.\n" in out
    assert "  supported 1.00: Oslo is the capital.\n    [Oslo] Oslo is the capital of Norway.  (d1, " in out


@pytest.mark.parametrize("name", ["nosuch", "./nosuch", "hf:nosuch"])
def test_a_generator_that_is_not_there_is_told_where_nothing_is_found_too(tiny_folder: Path, name: str) -> None:
    outcome = genir("answer", "Xyzzy?", "--data", tiny_folder, "--generator", name)
    assert (outcome.code, outcome.out) == (1, "")
    assert "nosuch" in outcome.fault


@pytest.mark.parametrize(
    ("name", "message"), [("nli:nosuch", "NLI model 'nosuch': "), ("embedding:nosuch", "encoder 'nosuch': ")]
)
def test_so_is_a_checker(tiny_folder: Path, name: str, message: str) -> None:
    outcome = genir("answer", "Xyzzy?", "--data", tiny_folder, "--checker", name)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.fault.startswith(message)


FAULTS = [
    (("--checker", "magic"), "unknown checker 'magic': known: embedding, features, lexical, nli, trained"),
    (("--checker", "nli"), "checker 'nli': expected nli:NAME_OR_DIR"),
    (("--template", "plane"), "unknown template 'plane': did you mean 'plain'?"),
    (("--template", "no.toml"), "no.toml: no such configuration file"),
    (("--template", "plain"), "--template: for language models only; the generator extractive reads without a prompt"),
    (("--shots", 2), "--shots: for language models only; the generator extractive reads without a prompt"),
    (("--shots-by", "luck"), "unknown way to choose --shots-by 'luck': known: random, similar"),
    (("--language", "fr"), "unknown language 'fr': known: en, zh"),
    (("--condense", "magic"), "unknown way to --condense 'magic': known: generator, rules"),
    (("--condense", "generator"), "--condense generator: the generator extractive rewrites no questions; use rules"),
    (("--follow-up", " "), "the question is empty: expected some text"),
]


def test_no_example_is_collected_for_a_reader_without_a_prompt(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.demonstrations.collect_shots", lambda *_: pytest.fail("examples were read"))
    outcome = genir("answer", NORWAY, "--data", tiny_folder, "--shots", 3)
    assert outcome.fault.startswith("--shots: for language models only; ")
    assert "worked examples" not in outcome.err


@pytest.mark.parametrize(("options", "message"), FAULTS)
def test_faults_are_one_line(tiny_folder: Path, options: tuple[object, ...], message: str) -> None:
    assert genir("answer", NORWAY, "--data", tiny_folder, *options).fault.startswith(message)


def test_a_template_without_its_place_is_one_line(
    tiny_folder: Path, tmp_path: Path, scripted: ScriptedGenerator
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('grounded = "{passages}"\nclosed_book = "{question}"\n')
    fault = genir("answer", NORWAY, "--data", tiny_folder, "--generator", "scripted", "--template", own).fault
    assert fault == f"prompt template {own}: 'grounded': expected {{question}} exactly once, got '{{passages}}'"


def test_examples_of_a_data_folder_without_a_train_split(
    tiny_dataset: Dataset, tmp_path: Path, scripted: ScriptedGenerator
) -> None:
    write_dataset(Dataset("bare", tiny_dataset.corpus, {}), tmp_path / "bare")
    fault = genir("answer", NORWAY, "--data", tmp_path / "bare", "--generator", "scripted", "--shots", 1).fault
    assert fault == "--shots 1: bare has no train split to take worked examples from"


def test_what_the_prompt_has_no_room_for_is_told_on_stderr(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = GeneratorReader(CountingGenerator(["Oslo [1]"], context=430))
    monkeypatch.setattr(reading, "make_reader", lambda name, device="auto": small)
    outcome = genir("answer", NORWAY, "--data", tiny_folder, "--generator", "small", "--shots", 3, "-k", 9)
    assert outcome.code == 0, outcome.err
    [told] = outcome.warnings
    assert (
        "worked examples did not fit the prompts of 1 of 1 questions and were left out: give fewer or shorter ones"
        in told
    )
