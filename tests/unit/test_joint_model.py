"""The joint model, untrained: its cache is the sequence, its constraint holds, and its three faces agree."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from genir.errors import ArtefactError, ConfigError, DataError
from genir.models.causal_scoring import positions_of
from genir.protocols import IdentifierWriter, Retriever
from genir.records import Document, Query
from rag.answering import answer
from rag.joint.answerer import JointAnswerer
from rag.joint.config import JointSettings, LessonSettings, LossWeights
from rag.joint.copying import CopyLimit
from rag.joint.decoding import answer_logits, begin
from rag.joint.model import JointModel
from rag.reading import Reader
from tests.tiny_causal_networks import tiny_causal
from tests.tiny_joint import SETTINGS, TOWNS, Table, tiny_joint, tokenizer, town
from tests.tiny_text_models import save_byte_tokenizer

QUESTIONS = ["who rules town3 ?", "which river crosses town11 ?", "town5"]


def whole_states(model: JointModel, ids: list[int]) -> torch.Tensor:
    """States (T, D) of one sequence, read from scratch."""
    row = torch.tensor([ids])
    mask = torch.ones_like(row)
    writer = model.writer
    with torch.inference_mode():
        return model.causal.states(model.causal.network, writer.embed(row), mask, positions_of(mask), keep=len(ids))[0]


def test_search_and_reading_are_one_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_joint()
    both = JointAnswerer(model)
    queries = [Query("a", "who rules town3 ?"), Query("b", " "), Query("c", "which river crosses town5 ?")]
    found = both.search(queries, 3).rankings
    assert found == model.search(queries, 3).rankings
    best = [[model.passages[one.doc_id] for one in found[query.query_id][:1]] for query in queries]
    texts = [query.text for query in queries]
    expected = model.read(texts, best)
    other = model.read(texts[:1], [[model.passages["d7"]]])
    with monkeypatch.context() as patch:
        patch.setattr(JointModel, "_answers", lambda *_: pytest.fail("reads again"))
        assert both.read(texts, best) == expected
    assert both.read(texts[:1], [[model.passages["d7"]]]) == other  # another passage than it found
    assert both.written(["d3"]) == model.written(["d3"])
    assert both.with_settings(num_beams=1).model.settings.num_beams == 1


def test_a_passage_without_an_identifier_is_read_without_one() -> None:
    model = tiny_joint()
    changed = replace(town(3), doc_id="d3~changed")
    [reading] = model.read(["who rules town3 ?"], [[changed]])
    assert reading.abstained or reading.text in changed.text


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_the_cache_is_the_sequence(own_tokens: bool) -> None:
    """Prompts read once, searched, and read on behind: the states are those of every whole sequence read from scratch."""
    model = tiny_joint(own_tokens)
    writer = model.writer
    prompts = writer.prompts(QUESTIONS)
    passages = [town(3), town(11), town(5)]
    next_token, continuation = begin(writer, prompts)
    first = next_token(torch.zeros(3, dtype=torch.int64), None, None)
    parents = torch.tensor([0, 0, 1, 2, 2])
    next_token(first.argmax(1)[parents], parents, None)  # a step of the search must leave the prompts as they were
    behind = [
        writer.identifier(model.docids.tokens_of(passage.doc_id)) + evidence.ids
        for passage, evidence in zip(passages, writer.evidence(passages, QUESTIONS), strict=True)
    ]
    states = continuation.read(behind)
    again = continuation.read([[5, 6], [7], [8, 9, 10]])
    for row, (prompt, more, last) in enumerate(zip(prompts, behind, ([5, 6], [7], [8, 9, 10]), strict=True)):
        scratch = whole_states(model, [*prompt, *more, *last])
        torch.testing.assert_close(states[row], scratch[-1 - len(last)], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(again[row], scratch[-1], atol=1e-5, rtol=1e-4)


def test_the_answer_is_greedy_over_the_whole_sequence() -> None:
    """Without the copying constraint every token is the likeliest behind the sequence so far, read from scratch."""
    model = tiny_joint(settings=replace(SETTINGS, copy=False))
    writer = model.writer
    [generation] = model.generate(QUESTIONS[:1])
    [evidence] = writer.evidence([model.passages[generation.ranking[0].doc_id]], QUESTIONS[:1])
    ids = writer.prompts(QUESTIONS[:1])[0] + writer.identifier(generation.docid_tokens) + evidence.ids
    written: list[int] = []
    logprobs: list[float] = []
    while len(written) < SETTINGS.max_new_tokens and (not written or written[-1] != writer.end):
        with torch.inference_mode():
            share = answer_logits(model.causal, whole_states(model, ids + written)[-1]).log_softmax(0)
        written.append(int(share.argmax()))
        logprobs.append(float(share.max()))
    assert generation.reading.text == writer.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert generation.reading.confidence == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_only_identifiers_of_the_constraint_are_written(own_tokens: bool) -> None:
    model = tiny_joint(own_tokens).with_settings(num_beams=20)
    queries = [Query(text, text) for text in [*QUESTIONS, " "]]
    run = model.search(queries, 20)
    identifiers = {doc_id: model.docids.tokens_of(doc_id) for doc_id in model.passages}
    scores = model.causal.score(QUESTIONS, list(identifiers.values()))
    for row, text in enumerate(QUESTIONS):
        found = {one.doc_id: one.score for one in run.rankings[text]}
        assert found == pytest.approx(dict(zip(identifiers, scores[row].tolist(), strict=True)), abs=1e-4)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert run.rankings[" "] == ()


def test_one_generation_is_its_search_and_its_reading() -> None:
    model = tiny_joint()
    generations = model.generate(QUESTIONS, k=3)
    run = model.search([Query(text, text) for text in QUESTIONS], 3)
    readings = model.read(QUESTIONS, [[model.passages[one.ranking[0].doc_id]] for one in generations])
    for text, one, reading in zip(QUESTIONS, generations, readings, strict=True):
        assert [doc.doc_id for doc in one.ranking] == [doc.doc_id for doc in run.rankings[text]]
        assert [doc.score for doc in one.ranking] == pytest.approx([doc.score for doc in run.rankings[text]], abs=1e-4)
        assert one.docid_tokens == model.docids.tokens_of(one.ranking[0].doc_id)
        assert replace(one.reading, confidence=0.0) == replace(reading, confidence=0.0)
        assert one.reading.confidence == pytest.approx(reading.confidence, abs=1e-4)


def test_copied_answers_stand_in_the_passage_or_are_abstentions() -> None:
    model = tiny_joint()
    for one, passage in zip(
        model.read(QUESTIONS, [[town(3)], [town(11)], [town(5)]]), map(town, (3, 11, 5)), strict=True
    ):
        if one.abstained:
            assert one.text == "I do not know"
        else:
            assert one.span is not None
            assert one.text == passage.text[slice(*one.span)]


def test_it_is_a_retriever_a_reader_and_a_writer_of_identifiers() -> None:
    model = tiny_joint()
    assert isinstance(model, Retriever)
    assert isinstance(model, Reader)
    assert isinstance(model, IdentifierWriter)
    assert model.written(["d9"]) == {"d9": ((2, 1), "2-1")}
    [found] = answer("who rules town3 ?", model, model, model.passages, 2)
    assert len(found.passages) == 2
    for citation in found.citations:
        assert citation.docid_tokens == model.docids.tokens_of(citation.doc_id)


def test_nothing_to_read_from_is_an_abstention() -> None:
    model = tiny_joint()
    blank, closed = model.generate([" "]), model.read(["who rules town3 ?"], [[]])
    assert blank[0].ranking == ()
    assert blank[0].reading.abstained
    assert closed[0].abstained
    assert closed[0].text == "I do not know"
    assert model.generate([]) == []
    assert model.read([], []) == []


def test_a_passage_with_no_words_is_no_fault() -> None:
    model = tiny_joint()
    readings = model.read(["who rules town3 ?"] * 2, [[Document("d3", "")], [Document("d3", "!!! ...")]])
    assert readings[0].abstained


def test_a_collision_is_ranked_by_doc_id_and_read_once() -> None:
    model = tiny_joint()
    assert isinstance(model.docids, Table)
    model.docids.tokens["a"] = model.docids.tokens["d3"]
    model.passages = {**model.passages, "a": Document("a", "lord7 rules .", "a")}
    found = model.with_settings(num_beams=20).search([Query("q", "who rules ?")], 21).rankings["q"]
    names = [one.doc_id for one in found]
    assert names.index("d3") == names.index("a") + 1


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_other_architectures_write_on_behind_their_own_cache(kind: str) -> None:
    """GPT-2 shares prompts by learned positions; a sliding window is kept one row a beam."""
    model = tiny_joint(own_tokens=False)
    causal = model.causal
    network = tiny_causal(kind)
    network.resize_token_embeddings(len(causal.tokenizer))
    other = JointModel(
        type(causal)(network, causal.tokenizer, causal.config, None, None),
        model.constraint, model.docids, model.passages, replace(SETTINGS, max_passage_tokens=8),
    )  # fmt: skip
    writer = other.writer
    prompts = writer.prompts(QUESTIONS[:2])
    _, continuation = begin(writer, prompts)
    states = continuation.read([[5, 6, 7], [8]])
    for row, more in enumerate(([5, 6, 7], [8])):
        torch.testing.assert_close(states[row], whole_states(other, prompts[row] + more)[-1], atol=1e-4, rtol=1e-3)
    assert other.generate(QUESTIONS)[0].ranking


def test_a_network_that_caps_its_logits_needs_identifiers_of_text() -> None:
    model = tiny_joint()
    causal = type(model.causal)(tiny_causal("cohere"), model.causal.tokenizer, model.causal.config, 8, 7)
    with pytest.raises(
        ConfigError, match="scales or caps its logits, so that answers need identifiers in its own text"
    ):
        JointModel(causal, model.constraint, model.docids, model.passages).writer  # noqa: B018


def test_saving_and_loading(tmp_path: Path) -> None:
    model = tiny_joint()
    model.save(tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    assert not list(tmp_path.rglob("*.pt"))
    loaded = JointModel.load(tmp_path, lambda _: model.constraint, model.docids, model.passages)
    assert loaded.settings == model.settings
    for one, other in zip(model.generate(QUESTIONS), loaded.generate(QUESTIONS), strict=True):
        assert [doc.doc_id for doc in one.ranking] == [doc.doc_id for doc in other.ranking]
        assert one.reading.text == other.reading.text


def test_a_folder_without_its_own_tokenizer_is_refused(tmp_path: Path) -> None:
    model = tiny_joint()
    model.save(tmp_path)
    save_byte_tokenizer(tmp_path / "network")
    with pytest.raises(ArtefactError, match=r"its tokenizer has 260 tokens, with ids up to 259, but its network knows"):
        JointModel.load(tmp_path, lambda _: model.constraint, model.docids, model.passages)
    (tmp_path / "network" / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match=r"network/tokenizer\.json is missing; train the model again"):
        JointModel.load(tmp_path, lambda _: model.constraint, model.docids, model.passages)


def test_faults_say_what_to_do(tmp_path: Path) -> None:
    model = tiny_joint()
    with pytest.raises(
        ArtefactError, match=r"config.json: no such file; expected a folder that a joint model was saved"
    ):
        JointModel.load(tmp_path, lambda _: model.constraint, model.docids, model.passages)
    model.save(tmp_path)
    (tmp_path / "joint.json").write_text(json.dumps({"beams": 3}))
    with pytest.raises(ArtefactError, match=r"not a joint model.*unknown key 'beams'"):
        JointModel.load(tmp_path, lambda _: model.constraint, model.docids, model.passages)
    with pytest.raises(ConfigError, match="k = 0: expected at least 1"):
        model.search([Query("q", "who")], 0)
    lost = JointModel(model.causal, model.constraint, model.docids, {}, SETTINGS)
    with pytest.raises(DataError, match=r"the model found 'd.*', which is not among the 0 passages"):
        lost.generate(["who rules town3 ?"])
    long = model.with_settings(max_passage_tokens=24, max_new_tokens=80)
    with pytest.raises(ConfigError, match=r"a sequence of question, .* but the network has 96 positions; lower"):
        long.generate(["who rules town3 ?"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JointSettings(num_beams=0), "every number to be 1 or more"),
        (lambda: JointSettings(unknown=" "), "unknown is empty"),
        (lambda: LossWeights(identifier=0, answer=0), "not both 0"),
        (lambda: LessonSettings(unanswerable=2), "unanswerable in 0..1"),
    ],
)
def test_impossible_settings(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


# --- copying ----------------------------------------------------------------------------------------------------------


def limit(text: str, question: str = "who ?") -> CopyLimit:
    words = tokenizer()
    return CopyLimit(text, question, words, 1, words("i do not know")["input_ids"])


def test_an_answer_is_spelt_and_placed_as_in_the_passage() -> None:
    text = "It is ruled by the old Lord3 ."
    one = limit(text)
    ids = tokenizer()("lord3")["input_ids"]
    assert ids[0] in one([])
    assert 1 in one(ids)
    place = one.place(ids)
    assert place is not None
    assert text[slice(*place)] == "Lord3"
    assert one.place([]) is None
    assert one.place(tokenizer()(TOWNS[0])["input_ids"]) is None


def test_ignorance_is_one_more_legal_run() -> None:
    words = tokenizer()
    unknown = words("i do not know")["input_ids"]
    one = limit("town3 is old .")
    assert unknown[0] in one([])
    for n in range(1, len(unknown)):
        assert one(unknown[:n]) == {unknown[n]}
    assert one(unknown) == {1}
    assert one.place(unknown) is None


def test_what_copies_and_ignorance_both_begin_with_leaves_both_open() -> None:
    words = tokenizer()
    one = limit("i rules town3 .")
    i, do, rules = words("i do rules")["input_ids"]
    one.copying.starts = [0]  # an idle word, which begins an answer only where there is no other
    assert one([]) == {i}
    assert one([i]) == {do, rules, 1}
    assert one([i, do]) != one([i, rules])
    assert one.place([i]) == (0, 1)


def test_tokens_of_single_bytes_copy_words_with_their_space(tmp_path: Path) -> None:
    save_byte_tokenizer(tmp_path, eos_token="[SEP]")
    bytes_of = AutoTokenizer.from_pretrained(tmp_path)
    text = "It is Oslo."
    one = CopyLimit(text, "where?", bytes_of, 3, bytes_of(" I do not know")["input_ids"])
    ids = bytes_of(" Oslo")["input_ids"]
    for n, token in enumerate(ids):
        assert token in one(ids[:n])
    assert 3 in one(ids)
    place = one.place(ids)
    assert place is not None
    assert text[slice(*place)] == "Oslo"
