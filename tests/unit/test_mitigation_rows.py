"""Mitigations by name, and the rows that they make one behind another: by hand, then end to end on a tiny library."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from experiments.commands import rag_options
from experiments.rag_evaluation.mitigation_rows import reads_anew, revise, rows_of
from experiments.rag_evaluation.mitigation_steps import MITIGATIONS, Kit, make_signal, make_steps, parse_mitigations
from genir.errors import ConfigError, DataError
from genir.protocols import Retriever, SamplingParams
from genir.records import Answer, Claim, Dataset, Document, Query, ScoredDoc
from rag.abstention import Threshold
from rag.answering import answer
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.mitigations.abstaining import Abstention
from rag.mitigations.cost import Cost, Meter
from rag.mitigations.step import Mitigation, apply
from rag.mitigations.tools import Tools
from rag.mitigations.verify_and_edit import VerifyAndEdit
from rag.reading import GeneratorReader, Reader
from tests.contracts.test_generators import tiny_llama, tiny_tokenizer
from tests.scripted_generator import ScriptedGenerator
from tests.scripted_reader import ScriptedReader, ScriptedRetriever


def answer_measured(
    queries: Sequence[Query], retriever: Retriever, reader: Reader, documents: Mapping[str, Document], k: int
) -> tuple[list[Answer], Cost]:
    """The answers, and what they cost."""
    meter = Meter()
    return answer(queries, meter.retriever(retriever), meter.reader(reader), documents, k), meter.spent


def test_names_are_parsed_in_order() -> None:
    assert parse_mitigations("abstain, verify,edit") == ("abstain", "verify", "edit")
    assert parse_mitigations("none") == parse_mitigations("") == ()
    with pytest.raises(ConfigError, match="unknown mitigation 'verfy': did you mean 'verify'"):
        parse_mitigations("abstain,verfy")
    with pytest.raises(ConfigError, match="'copy' is given more than once"):
        parse_mitigations("copy,copy")
    assert rows_of(()) == {}
    assert rows_of(("copy",)) == {"copy": ("copy",)}
    assert list(rows_of(("copy", "abstain"))) == ["copy", "abstain", "copy+abstain"]


def test_all_steps_run_in_an_order_that_makes_sense_whatever_order_they_are_given_in() -> None:
    assert list(rows_of(("abstain", "copy"))) == ["abstain", "copy", "copy+abstain"]
    given = tuple(reversed(MITIGATIONS))
    *alone, contrast, copy_decode = rows_of(given)
    assert alone == [*given]
    assert contrast == "contrast+verify-and-edit+verify+edit+copy+abstain"
    assert copy_decode == contrast.replace("contrast", "copy-decode")  # the second would undo the first
    assert list(rows_of(("abstain", "contrast")))[-1] == "contrast+abstain"
    [option] = get_args(rag_options.Mitigations)[1:]
    assert f"separated by commas: {', '.join(MITIGATIONS)}." in option.help


def test_what_is_withdrawn_stays_withdrawn_in_the_row_of_all_steps() -> None:
    """Verify-and-Edit reads abstentions again: behind `abstain` it would answer what was withdrawn."""
    dev = tuple(Query(f"d{i}", f"{i}?", ("right",)) for i in range(3))
    dev_answers = tuple(
        Answer(query.query_id, query.text, text, confidence=sure)
        for query, text, sure in zip(dev, ("right", "wrong", "wrong"), (0.8, 0.45, 0.3), strict=True)
    )
    reader = ScriptedReader(
        {"d": "right", "2?": "wrong"}, confidence=0.1
    )  # dev says: whatever it reads anew is not to be trusted
    retriever = ScriptedRetriever({query.text: ["d"] for query in (*QUERIES, *dev)})
    answers, _ = answer_measured(QUERIES, retriever, reader, DOCUMENTS, k=1)
    kit = replace(KIT, tools=Tools(reader, retriever, k=1), dev=dev, dev_answers=dev_answers, wanted=0.3)
    rows = {row: revise(steps, answers, kit).answers for row, steps in rows_of(("abstain", "verify-and-edit")).items()}
    assert all(answer.abstained for answer in rows["abstain"])
    assert not any(answer.abstained for answer in rows["verify-and-edit"])
    assert all(answer.abstained for answer in rows["verify-and-edit+abstain"])
    undone = apply(make_steps(("abstain", "verify-and-edit"), kit), answers, DOCUMENTS)
    assert not any(answer.abstained for answer in undone)


def test_verify_and_edit_alone_takes_passages_away() -> None:
    """The invariant of `rag.mitigations.step`, with its exception."""
    documents = {**DOCUMENTS, "e": Document("e", "This is right, too.")}
    reader = ScriptedReader({"d": "right", "e": "right"}, confidence=0.1)
    found = {QUERIES[0].text: ["e"], "?": ["e"]}
    answers = [
        Answer(
            "0", QUERIES[0].text, "wrong", claims=(Claim("wrong", 0, 5),), passages=(ScoredDoc("d", 1.0),),
            retriever="scripted",
        )
    ]  # fmt: skip
    kit = replace(KIT, tools=Tools(reader, ScriptedRetriever(found), k=1), documents=documents)
    for name in ("verify", "edit", "copy", "abstain"):
        [revised] = apply(make_steps([name], kit), answers, documents)
        assert [one.doc_id for one in revised.passages][:1] == ["d"], name
    [revised] = replace(VerifyAndEdit(kit.counted)).revise(answers, documents)
    assert [one.doc_id for one in revised.passages] == ["e"]
    assert [one.passage for one in revised.citations] == [0]


QUERIES = tuple(Query(str(i), f"Question {i}?", ("right",)) for i in range(4))
DOCUMENTS = {"d": Document("d", "This is right.")}
TEXTS = ("right", "right", "wrong", "wrong")
ANSWERS = [
    Answer(query.query_id, query.text, text, confidence=0.9 - 0.2 * i)
    for i, (query, text) in enumerate(zip(QUERIES, TEXTS, strict=True))
]
DEV = tuple(Query(f"d{i}", "?", ("right",)) for i in range(2))
DEV_ANSWERS = (Answer("d0", "?", "right", confidence=0.8), Answer("d1", "?", "wrong", confidence=0.45))
KIT = Kit(Tools(ScriptedReader({})), DOCUMENTS, DEV, DEV_ANSWERS, wanted=0.5)


def test_a_row_is_revised_by_what_dev_says_and_costs_its_steps_alone() -> None:
    found = revise(("abstain",), ANSWERS, KIT)
    # The dev answers say: from .8 on. One of four is left.
    assert [one.abstained for one in found.answers] == [False, True, True, True]
    assert (found.cost, found.calls) == (Cost(), ((),) * 4)
    assert [reads_anew(steps) for steps in ((), ("abstain",), ("contrast", "abstain"))] == [False, False, True]


def test_steps_are_tuned_on_what_the_steps_before_left() -> None:
    documents = {"d": Document("d", "It is right.")}
    dev = tuple(replace(answer, passages=(ScoredDoc("d", 1.0),)) for answer in DEV_ANSWERS)
    swapped = (replace(dev[0], confidence=0.3), dev[1])  # the wrong one, which copying withdraws, is the surer
    kit = replace(KIT, documents=documents, dev_answers=swapped)
    [alone] = make_steps(["abstain"], kit)
    _, behind = make_steps(["copy", "abstain"], kit)
    assert isinstance(alone, Abstention)
    assert isinstance(behind, Abstention)
    assert (alone.threshold.value, behind.threshold.value) == (0.3, 0.3)
    assert (alone.threshold.coverage, behind.threshold.coverage) == (1.0, 0.5)
    assert (alone.threshold.risk, behind.threshold.risk) == (0.5, 0.0)


def test_abstention_is_tuned_for_the_loss_and_for_refusal() -> None:
    dev = (*DEV, Query("vain", "?"))
    answers = (
        *(replace(one, text=f"It is {one.text}.") for one in DEV_ANSWERS),
        Answer("vain", "?", "x", confidence=0.6),
    )
    kit = replace(KIT, dev=dev, dev_answers=answers)
    [exact] = make_steps(["abstain"], kit)
    [facts] = make_steps(["abstain"], replace(kit, loss="fact-conflicting"))
    assert isinstance(exact, Abstention)
    assert isinstance(facts, Abstention)
    assert (exact.threshold.risk, facts.threshold.risk) == (1.0, 0.0)  # no sentence is an exact match
    assert (facts.threshold.value, facts.threshold.coverage, facts.threshold.unanswerable) == (0.8, 0.5, 1)


def test_faults_say_what_to_do() -> None:
    with pytest.raises(
        DataError, match=r"abstain: no dev answers .*; give a data set with a dev split, or leave abstain out"
    ):
        make_steps(["abstain"], replace(KIT, dev=(), dev_answers=()))
    with pytest.raises(ConfigError, match="unknown mitigation 'pray'"):
        make_steps(["pray"], KIT)
    with pytest.raises(
        ConfigError, match="mitigation contrast: changes how a language model writes, and 'scripted' is"
    ):
        make_steps(["contrast"], KIT)
    with pytest.raises(ConfigError, match="verify-and-edit: needs a retriever"):
        make_steps(["verify-and-edit"], KIT)
    with pytest.raises(ConfigError, match="signal consistency: reader 'scripted' cannot be sampled"):
        make_signal("consistency", KIT)
    with pytest.raises(ConfigError, match="unknown signal 'mood'"):
        make_signal("mood", KIT)


def test_verify_and_edit_learns_on_dev_whom_to_doubt() -> None:
    reader = ScriptedReader({"d": "right"})
    retriever = ScriptedRetriever({"?": ["d"]})
    kit = replace(KIT, tools=Tools(reader, retriever))
    [step] = make_steps(["verify-and-edit"], kit)
    assert [answer.text for answer in step.revise(DEV_ANSWERS, DOCUMENTS)] == ["right", "right"]
    assert isinstance(step, VerifyAndEdit)
    assert step.threshold == 0.45
    [untuned] = make_steps(["verify-and-edit"], replace(kit, dev_answers=()))
    assert isinstance(untuned, VerifyAndEdit)
    assert untuned.threshold == 0.5


def test_a_saved_threshold_makes_the_same_step(tmp_path: Path) -> None:
    [step] = make_steps(["abstain"], KIT)
    assert isinstance(step, Abstention)
    step.threshold.save(tmp_path / "threshold.json")
    assert Abstention(Threshold.load(tmp_path / "threshold.json")) == step


def test_end_to_end_on_a_tiny_library(tiny_dataset: Dataset) -> None:
    from retrievers.bm25 import BM25Retriever

    documents, queries = tiny_dataset.documents(), tuple(tiny_dataset.queries.values())
    retriever = BM25Retriever().build(tiny_dataset.corpus)
    reader = ExtractiveGenerator()
    dev = queries[:2]
    answers, cost = answer_measured(queries, retriever, reader, documents, k=2)
    dev_answers, _ = answer_measured(dev, retriever, reader, documents, k=2)
    assert (cost.calls, cost.searches) == (sum(bool(one.passages) for one in answers), len(queries))
    kit = Kit(Tools(reader, retriever, k=2), documents, dev, tuple(dev_answers))
    names = ("verify", "edit", "copy", "verify-and-edit", "abstain")
    rows = {row: revise(steps, answers, kit) for row, steps in rows_of(names).items()}
    assert list(rows) == [*names, "verify-and-edit+verify+edit+copy+abstain"]
    for row in rows.values():
        assert [one.query_id for one in row.answers] == [query.query_id for query in queries]
        for one in row.answers:
            assert one.abstained or one.claims
            assert all(one.text[claim.start : claim.end] == claim.text for claim in one.claims)
            for citation in one.citations:
                assert documents[citation.doc_id].text[citation.start : citation.end] == citation.text
                assert one.passages[citation.passage].doc_id == citation.doc_id
    assert rows["copy"].answers == tuple(answers)  # a reader that quotes has copied already
    assert rows["verify"].cost.calls > 0
    assert rows["copy"].cost.calls == 0
    assert not any(calls for row in rows.values() for calls in row.calls)  # a reader without prompts


def test_every_step_on_a_language_model() -> None:
    generator = HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny")
    reader = GeneratorReader(generator, params=SamplingParams(max_new_tokens=8))
    retriever = ScriptedRetriever({query.text: ["d"] for query in QUERIES})
    answers, cost = answer_measured(QUERIES, retriever, reader, DOCUMENTS, k=1)
    assert cost.tokens > 0
    assert cost.words == 0
    kit = Kit(Tools(reader, retriever, k=1), DOCUMENTS, QUERIES, tuple(answers))
    steps = {name: make_steps([name], kit)[0] for name in MITIGATIONS}
    assert all(isinstance(step, Mitigation) and step.name == name for name, step in steps.items())
    contrasted = revise(("contrast",), answers, kit)
    assert contrasted.cost.calls == 2 * len(QUERIES)  # both prompts of a question
    assert contrasted.cost.tokens > cost.tokens
    for query, (told, bare) in zip(QUERIES, contrasted.calls, strict=True):
        assert (query.text in told.prompt, query.text in bare.prompt) == (True, True)
        assert ("This is right." in told.prompt, "This is right." in bare.prompt) == (True, False)
    [copied, *_] = apply([steps["copy-decode"]], answers, DOCUMENTS)
    assert copied.abstained or copied.text in DOCUMENTS["d"].text


def test_a_generator_that_stops_at_once_goes_through_every_step() -> None:
    reader = GeneratorReader(ScriptedGenerator([""]))
    retriever = ScriptedRetriever({query.text: ["d"] for query in QUERIES})
    answers, _ = answer_measured(QUERIES, retriever, reader, DOCUMENTS, k=1)
    assert all(answer.abstained for answer in answers)
    kit = Kit(Tools(reader, retriever, k=1), DOCUMENTS, QUERIES, tuple(answers))
    for steps in rows_of(("verify", "edit", "verify-and-edit", "copy", "abstain")).values():
        assert all(one.abstained for one in revise(steps, answers, kit).answers)


class Echo(ScriptedGenerator):
    """Plans a question where it is asked to, else says the last word of its prompt's question."""

    def _reply(self, prompt: str) -> str:
        self.prompts.append(prompt)
        number = max(i for i in range(4) if f"Question {i}" in prompt)
        return f"1. Is Question {number} sub?" if "verif" in prompt.casefold() else f"reply {number}"


@pytest.mark.parametrize("step", ["verify", "edit", "verify-and-edit"])
def test_every_call_of_a_step_is_kept_with_the_answer_that_it_was_made_for(step: str) -> None:
    generator = Echo([])
    reader = GeneratorReader(generator)
    found = {query.text: ["d"] for query in QUERIES} | {f"Is Question {i} sub?": ["d"] for i in range(4)}
    retriever = ScriptedRetriever(found)
    answers, _ = answer_measured(QUERIES, retriever, reader, DOCUMENTS, k=1)
    answers[2] = Answer("2", QUERIES[2].text, "I do not know.", abstained=True, retriever="scripted")
    generator.prompts.clear()
    row = revise((step,), answers, Kit(Tools(reader, retriever, k=1), DOCUMENTS))
    asked = [call.prompt for calls in row.calls for call in calls]
    assert sorted(asked) == sorted(generator.prompts)
    assert len(asked) == row.cost.calls
    for number, calls in enumerate(row.calls):
        assert bool(calls) == (number != 2 or step == "verify-and-edit")
        for call in calls:
            assert f"Question {number}" in call.prompt
            assert f"{number}" in call.reply


def test_replies_drawn_for_a_signal_are_calls_of_the_step() -> None:
    reader = GeneratorReader(ScriptedGenerator(["right"]))
    retriever = ScriptedRetriever({query.text: ["d"] for query in QUERIES})
    answers, _ = answer_measured(QUERIES, retriever, reader, DOCUMENTS, k=1)
    kit = Kit(Tools(reader, retriever, k=1), DOCUMENTS, QUERIES, tuple(answers), signal="consistency", samples=3)
    row = revise(("abstain",), answers, kit)
    assert row.cost.calls == 3 * len(QUERIES)  # and none of those that tuning took
    for query, calls in zip(QUERIES, row.calls, strict=True):
        assert [(query.text in call.prompt, call.reply) for call in calls] == [(True, "right")] * 3
