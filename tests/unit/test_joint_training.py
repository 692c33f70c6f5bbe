"""What the joint model learns: sequences by hand, the loss by hand, what is masked, and twenty towns learnt by heart."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.joint.settings import JointConfig
from genir.errors import ConfigError
from genir.models.causal_config import CausalConfig, LlamaShape
from genir.records import Document, Query
from genir.training import TrainingConfig, train
from rag.joint.config import LessonSettings, LossWeights
from rag.joint.lessons import JointLesson, make_lessons
from rag.joint.model import JointModel
from rag.joint.start import start_causal
from rag.joint.training import JointLearner, JointObjective, examples_of, sequence_losses, write_sequences
from rag.small_reader.start import start_with_copying
from tests.tiny_joint import SHAPE, save_tokenizer, tiny_joint, town, towns
from tests.unit.test_joint_model import whole_states

LESSONS = [
    JointLesson("who rules town3 ?", "d3", town(3), "Lord3"),
    JointLesson("which river crosses town9 ?", "d9", town(9), "river9"),
    JointLesson("who rules town5 ?", "d5"),
    JointLesson("who rules town4 ?", "d6", town(6), None, learns_identifier=False, kind="unanswerable"),
]


def test_a_sequence_by_hand() -> None:
    model = tiny_joint()
    words = model.writer.tokenizer
    [one, _, alone, unknown], left_out = write_sequences(model.writer, LESSONS, model.docids)
    told = "town3. town3 is ruled by the old lord3 . river3 crosses town3 ."
    parts = [
        words("who rules town3 ?")["input_ids"],
        [len(words) + token for token in (3, 0, 7)],  # d3 is (3, 0), 7 is the identifiers' end
        [
            *words(told)["input_ids"],
            1,
            *words("who rules town3 ?")["input_ids"],
            1,
        ],  # no token for a new line: the end's
        [*words("lord3")["input_ids"], 1],
    ]
    assert one.ids == [token for part in parts for token in part]
    assert (one.prompt, one.identifier, one.evidence, one.answer) == tuple(map(len, parts))
    assert (alone.evidence, alone.answer) == (0, 0)
    assert unknown.ids[-unknown.answer :] == [*words("i do not know")["input_ids"], 1]
    assert left_out == {}


def test_a_passage_cannot_break_out_of_its_place() -> None:
    """Words of the tokenizer's own for special tokens are text like any other there."""
    writer = tiny_joint().writer
    [evidence] = writer.evidence([Document("d3", "the old [END] river3 [END] .", "town3")], ["who rules [END] ?"])
    assert evidence.ids.count(writer.end) == 2  # behind the passage, and behind the question


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_the_loss_by_hand(own_tokens: bool) -> None:
    """Token by token from states read from scratch, against the padded batch."""
    model = tiny_joint(own_tokens)
    causal, weights = model.causal.eval(), LossWeights(identifier=0.5, answer=2.0, first=3.0)
    sequences, _ = write_sequences(model.writer, LESSONS, model.docids)
    with torch.inference_mode():
        losses = sequence_losses(model.writer, *causal.pad([one.ids for one in sequences]), sequences, weights)
    for loss, one in zip(losses.tolist(), sequences, strict=True):
        states = whole_states(model, one.ids)
        expected = 0.0
        if one.learns_identifier:
            for at in range(one.prompt, one.prompt + one.identifier):
                token = one.ids[at] - (model.writer.text_vocabulary if own_tokens else 0)
                with torch.inference_mode():
                    share = causal.project(causal.network, states[at - 1]).log_softmax(0)
                expected -= 0.5 * float(share[token]) / one.identifier
        for place in range(one.answer):
            at = len(one.ids) - one.answer + place
            with torch.inference_mode():
                share = causal.network.lm_head(states[at - 1]).log_softmax(0)
            expected -= 2.0 * (3.0 if place == 0 else 1.0) * float(share[one.ids[at]]) / (3.0 + one.answer - 1)
        assert loss == pytest.approx(expected, rel=1e-4)


def test_switches_leave_their_part_out() -> None:
    model = tiny_joint()
    sequences, _ = write_sequences(model.writer, LESSONS, model.docids)
    batch = model.causal.eval().pad([one.ids for one in sequences])

    def losses(**weights: float) -> torch.Tensor:
        return sequence_losses(model.writer, *batch, sequences, LossWeights(**weights)).detach()

    reader, retriever = losses(identifier=0.0), losses(answer=0.0)
    torch.testing.assert_close(losses(), reader + retriever)
    assert reader[2] == 0  # no answer
    assert retriever[3] == 0  # an identifier that is read only


def test_nothing_but_identifier_and_answer_is_predicted() -> None:
    """The gradient reaches the output rows of every token (softmax), but pulls only the targets' up."""
    model = tiny_joint()
    lesson = [JointLesson("who rules town3 ?", "d3", town(3), "Lord3")]
    sequences, _ = write_sequences(model.writer, lesson, model.docids)
    batch = model.causal.eval().pad([one.ids for one in sequences])
    head = model.causal.network.lm_head.weight
    head.requires_grad_(True)
    # A bias is the easiest to read: its gradient is (probability - target), summed over the predicted places.
    bias = torch.zeros(len(head), requires_grad=True)
    model.causal.network.lm_head.bias = torch.nn.Parameter(bias)
    loss = sequence_losses(model.writer, *batch, sequences, LossWeights(first=1.0)).sum()
    [gradient] = torch.autograd.grad(loss, [model.causal.network.lm_head.bias])
    targets = sequences[0].ids[-sequences[0].answer :]
    assert set((gradient < 0).nonzero()[:, 0].tolist()) == set(targets)
    assert float(gradient.sum()) == pytest.approx(0.0, abs=1e-5)


def test_padding_changes_no_loss() -> None:
    model = tiny_joint()
    sequences, _ = write_sequences(model.writer, LESSONS, model.docids)
    together = sequence_losses(
        model.writer, *model.causal.pad([one.ids for one in sequences]), sequences, LossWeights()
    )
    for number, one in enumerate(sequences):
        alone = sequence_losses(model.writer, *model.causal.pad([one.ids]), [one], LossWeights())
        torch.testing.assert_close(alone[0], together[number], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_learnt_teaches_its_identifier_alone() -> None:
    model = tiny_joint().with_settings(max_passage_tokens=6, max_new_tokens=4)
    sequences, left_out = write_sequences(model.writer, LESSONS, model.docids)
    assert left_out == {"beyond max_passage_tokens": 2, "longer than max_new_tokens": 1}
    assert not any(one.answer for one in sequences)
    # An unlearnt identifier without an answer teaches nothing, and is no example.
    assert [example.target for example in examples_of(LESSONS, sequences)] == [0, 1, 2]


def test_lessons_of_questions() -> None:
    passage = Document("d", "Oslo is in Norway. Its mayor is Kim Lee. Oslo is old.", "Oslo")
    other = Document("e", "Lima is in Peru.", "Lima")
    asked = [
        (Query("q1", "Who is the mayor of Oslo?", ("Kim Lee",)), passage),
        (Query("q2", "Where is Oslo?", ("Norway",)), passage),
        (Query("q3", "Where is Lima?", ("South America",)), other),  # not in its passage
    ]
    settings = LessonSettings(invented=2, unanswerable=1.0)
    lessons = make_lessons(asked, settings, seed=3)
    assert lessons == make_lessons(asked, settings, seed=3)
    plain = [one for one in lessons if one.kind == "query"]
    assert [one.answer for one in plain] == ["Kim Lee", "Norway", None]
    assert plain[2].passage is None
    made = [one for one in lessons if one.kind == "invented"]
    assert len(made) == 4
    for one in made:
        assert not one.learns_identifier
        assert one.doc_id == "d"
        assert one.passage is not None
        assert one.answer is not None
        assert one.answer in one.passage.text
        for true in ("Oslo", "Kim Lee", "Norway"):
            assert true not in one.question + one.passage.text + one.passage.title
    for one in (one for one in lessons if one.kind == "unanswerable"):
        assert one.answer is None
        assert not one.learns_identifier
        assert one.passage is not None
        assert not ("mayor" in one.question and "Kim Lee" in one.passage.text)
    only = make_lessons(asked, replace(settings, invented=0, unanswerable=0.0), answers_of={"q2"})
    assert [(one.answer, one.passage is None) for one in only] == [(None, True), ("Norway", False), (None, True)]


def test_a_llama_from_nothing_has_tied_copying_weights(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path)
    config = CausalConfig(tokenizer=str(folder), llama=SHAPE, max_text_tokens=12)
    causal = start_causal(config, 8, 7)
    network = causal.network
    assert network.lm_head.weight is network.model.embed_tokens.weight
    assert len(set(network.model.embed_tokens.weight[:, 0].tolist())) == 1  # the constant that position heads read
    plain = start_causal(config, 8, 7, copying=False).network
    assert plain.lm_head.weight is not plain.model.embed_tokens.weight
    grouped = replace(config, llama=LlamaShape(**{**vars(SHAPE), "num_key_value_heads": 1}))
    with pytest.raises(ConfigError, match="copying_start needs a key head for every query head, got 1 and 2"):
        start_causal(grouped, 8, 7)


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_twenty_towns_are_learnt_by_heart(own_tokens: bool, tmp_path: Path) -> None:
    """Identifiers and answers together, by the project's training loop."""
    model = tiny_joint(own_tokens, tie_word_embeddings=True, rope_theta=1e6)
    start_with_copying(model.causal.network, seed=0)
    dataset = towns()
    documents = dataset.documents()
    train_split = dataset.qrels["train"]
    asked = [(query, documents[train_split.relevant(query.query_id)[0]]) for query in dataset.split("train")]
    lessons = make_lessons(asked, LessonSettings(invented=0, unanswerable=0.0))
    sequences, _ = write_sequences(model.writer, lessons, model.docids)
    config = TrainingConfig(epochs=80, batch_size=20, fresh_learning_rate=1e-2, precision="float32", evaluate_every=80)

    def right() -> float:
        generations = model.generate([query.text for query, _ in asked], 1)
        model.causal.train()
        return sum(
            one.ranking[0].doc_id == passage.doc_id and one.reading.text == query.answers[0]
            for one, (query, passage) in zip(generations, asked, strict=True)
        ) / len(asked)

    learner, objective = JointLearner(model.writer, sequences), JointObjective(model.writer, sequences, LossWeights())
    progress = train(learner, objective, examples_of(lessons, sequences), right, config, tmp_path)
    assert progress.history[0]["dev"] < 0.2
    assert progress.best == 1.0


def test_a_trained_network_learns_through_adapters(tmp_path: Path) -> None:
    """The network's own weights stay; its adapters and the identifiers' rows learn both parts of the loss."""
    pytest.importorskip("peft", reason="peft is the extra lora")
    plain = tiny_joint()
    plain.causal.network.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    config = CausalConfig(source=str(tmp_path), max_text_tokens=12, lora_rank=2)
    model = JointModel(start_causal(config, 8, 7), plain.constraint, plain.docids, plain.passages, plain.settings)
    sequences, _ = write_sequences(model.writer, LESSONS, model.docids)
    learner = JointLearner(model.writer, sequences)
    learns = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert {name for name in learns if "lora_" not in name} == {"causal.own_embedding.weight"}
    batch = learner.pad([one.ids for one in sequences])
    losses = sequence_losses(model.writer, *batch, sequences, LossWeights())
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert all(
        float(p.grad.norm()) > 0 for name, p in learner.named_parameters() if "lora_B" in name and p.grad is not None
    )
    assert model.generate(["who rules town3 ?"])[0].ranking


def test_the_configuration_for_squad_small() -> None:
    config = JointConfig.read(Path(__file__).parents[2] / "experiments/configs/joint-squad-small.toml")
    assert (config.max_questions, config.dev_queries, config.causal.max_text_tokens) == (3500, 60, 40)
    assert (config.training.epochs, config.training.batch_size, config.training.evaluate_every) == (1, 16, 400)
    assert (config.lessons.invented, config.examples.pseudo_queries.per_document) == (0, 1)


def test_the_configuration_that_the_figures_on_atlas_come_from() -> None:
    config = JointConfig.read(Path(__file__).parents[2] / "experiments/configs/joint-atlas.toml")
    shape = config.causal.llama
    assert (shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads) == (128, 4, 2)
    assert (config.max_questions, config.dev_queries, config.training.epochs) == (8500, 100, 1)
    assert (config.training.fresh_learning_rate, config.loss.first, config.sequence.copy) == (1.5e-3, 3.0, True)
    assert (config.examples.passage_weight, config.examples.pseudo_query_weight) == (0.0, 0.0)
