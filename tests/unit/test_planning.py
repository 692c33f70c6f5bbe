"""Terms and planning ahead: the start is BM25, a search with nothing pruned is exhaustive, and training learns terms."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from genir.lexicon import LexiconSettings
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.term_head import TermHead
from genir.objectives import TrainingBatch
from genir.records import Dataset, Query
from genir.right_targets import RightTargets
from genir.term_sets import TermSets, TermSetSettings
from genir.term_training import TermObjective, TermTrainee
from genir.training import Example
from retrievers.bm25 import BM25Retriever
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.planning import PlanningRetriever, UnguidedRetriever
from tests.tiny_text_models import save_tiny_bert

WIDTH = 16
QUESTIONS = [Query("a", "What is the capital of Norway?"), Query("b", "Nile Nile flows"), Query("c", "Pacific coast")]


class Table:
    def __init__(self, tokens: dict[str, tuple[int, ...]]) -> None:
        self.tokens = tokens


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), WIDTH)


def model_of(encoder: Path, vocab_size: int = 9, max_text_tokens: int = 64) -> CodeDecoder:
    torch.manual_seed(0)
    config = CodeDecoderConfig(str(encoder), heads=2, feedforward=32, max_text_tokens=max_text_tokens)
    model = CodeDecoder(config, vocab_size, 3, None).eval()
    torch.nn.init.normal_(model.correction.weight, std=0.5)
    return model


def head_of(dataset: Dataset, disturb: bool = False, **settings: float) -> TermHead:
    torch.manual_seed(1)
    sets = TermSets.build(dataset.corpus, TermSetSettings(**settings))  # type: ignore[arg-type]
    head = TermHead(sets, WIDTH, 8).eval()
    if disturb:
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return head


IDENTIFIERS = {"d1": (0, 1, 2), "d2": (0, 1, 3), "d3": (4, 1, 2), "d4": (0, 5, 2)}


def retriever_of(
    encoder: Path, dataset: Dataset, identifiers: dict[str, tuple[int, ...]], exhaustive: bool = False
) -> PlanningRetriever:
    head = head_of(dataset, disturb=True)
    head.sequence_weight = 3.0
    settings = GenerativeSettings(num_beams=8, batch_size=2, exhaustive=exhaustive)
    return PlanningRetriever(model_of(encoder), Table(identifiers), head, settings)


def test_before_training_the_scores_are_those_of_bm25(encoder: Path, tiny_dataset: Dataset) -> None:
    corpus = tiny_dataset.corpus[:3]
    sets = TermSets.build(corpus, TermSetSettings(lexicon=LexiconSettings(phrases=False)))
    head = TermHead(sets, WIDTH, 8)
    texts = [query.text for query in QUESTIONS]
    model = model_of(encoder)
    _, states = model.begin_with_states(texts)
    scores = head(head.read(texts, model.token_spans(texts), states))
    run = BM25Retriever().build(corpus).search(QUESTIONS, 10)
    for row, query in enumerate(QUESTIONS):
        expected = {one.doc_id: one.score for one in run.rankings[query.query_id]}
        for doc_id, score in zip(sets.doc_ids, scores[row].tolist(), strict=True):
            assert score == pytest.approx(expected.get(doc_id, 0.0), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_with_nothing_pruned_planning_finds_what_exhaustive_scoring_does(
    encoder: Path, tiny_dataset: Dataset, shared: bool, look_ahead: bool
) -> None:
    identifiers = IDENTIFIERS | ({"d2": IDENTIFIERS["d1"]} if shared else {})
    retriever = retriever_of(encoder, tiny_dataset, identifiers)
    retriever.settings = replace(retriever.settings, look_ahead=look_ahead)
    found = retriever.search(QUESTIONS, 4)
    expected = retriever_of(encoder, tiny_dataset, identifiers, exhaustive=True).search(QUESTIONS, 4)
    for query in QUESTIONS:
        ours, theirs = found.rankings[query.query_id], expected.rankings[query.query_id]
        assert [one.doc_id for one in ours] == [one.doc_id for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], rel=1e-4, abs=1e-4)


def test_one_beam_reaches_the_best_document_where_terms_alone_decide(encoder: Path, tiny_dataset: Dataset) -> None:
    head = head_of(tiny_dataset)
    head.sequence_weight = 1e-6
    retriever = PlanningRetriever(model_of(encoder), Table(IDENTIFIERS), head, GenerativeSettings(num_beams=1))
    run = retriever.search([Query("n", "which way does the Nile flow"), Query("p", "Pacific coast of Peru")], 1)
    assert [run.rankings[name][0].doc_id for name in "np"] == ["d3", "d2"]


def test_the_states_under_a_term_are_averaged(encoder: Path, tiny_dataset: Dataset) -> None:
    head, model = head_of(tiny_dataset), model_of(encoder)
    text = "Norway capital"
    _, states = model.begin_with_states([text])
    spans = model.token_spans([text])
    asked = head.read([text], spans, states)
    names = [head.sets.terms[number] for number in asked.terms.tolist()]
    assert names == ["norway", "capit"]  # no document holds the phrase
    under = [i for i, (start, end) in enumerate(spans[0]) if end <= 6 and end > start]
    torch.testing.assert_close(asked.states[0], states[0, under].mean(0))


def test_a_cut_question_has_terms_as_far_as_it_was_read(encoder: Path, tiny_dataset: Dataset) -> None:
    head, model = head_of(tiny_dataset), model_of(encoder, max_text_tokens=5)
    with pytest.warns(UserWarning, match="were cut"):
        _, states = model.begin_with_states(["Norway capital"])
    asked = head.read(["Norway capital"], model.token_spans(["Norway capital"]), states)
    assert [head.sets.terms[number] for number in asked.terms.tolist()] == ["norway"]


def test_a_question_without_known_terms_is_ranked_by_its_sequence(encoder: Path, tiny_dataset: Dataset) -> None:
    run = retriever_of(encoder, tiny_dataset, IDENTIFIERS).search([Query("x", "zebra quagga")], 4)
    assert len(run.rankings["x"]) == 4


def test_training_raises_what_matters_and_leaves_the_model_alone(encoder: Path, tiny_dataset: Dataset) -> None:
    head, model = head_of(tiny_dataset), model_of(encoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainee = TermTrainee(head, model, [(one,) for one in IDENTIFIERS.values()])
    examples = [Example("capital of Norway", 1), Example("the Nile", 2), Example("the Nile", 0)]
    objective = TermObjective(trainee, RightTargets.of(examples), sequence_weight=0.5)
    rows = trainee.tokenize([one.text for one in examples])
    optimizer = torch.optim.Adam(trainee.parameters(), 0.05)
    losses = []
    batch = TrainingBatch(*trainee.pad(rows), torch.tensor([1, 2, 0]), torch.ones(3), torch.arange(3))
    for _ in range(30):
        loss = objective.loss(batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_other_right_documents_are_no_negatives(encoder: Path, tiny_dataset: Dataset) -> None:
    trainee = TermTrainee(head_of(tiny_dataset), model_of(encoder), [(one,) for one in IDENTIFIERS.values()])
    examples = [Example("capital", 0), Example("capital", 1)]
    objective = TermObjective(trainee, RightTargets.of(examples), sequence_weight=1.0)
    places, mask = trainee.pad(trainee.tokenize([one.text for one in examples]))
    loss = objective.loss(TrainingBatch(places, mask, torch.tensor([0, 1]), torch.ones(2), torch.arange(2)))
    scores = trainee.head(trainee.questions(places, mask)) + trainee.sequence_scores(trainee.pooled)
    kept = [scores[0, [0, 2, 3]], scores[1, [1, 2, 3]]]
    by_hand = torch.stack([-row.log_softmax(0)[0] for row in kept]).mean()
    torch.testing.assert_close(loss, by_hand)


def test_a_saved_head_scores_the_same(encoder: Path, tiny_dataset: Dataset, tmp_path: Path) -> None:
    head, model = head_of(tiny_dataset, disturb=True), model_of(encoder)
    head.sequence_weight = 7.0
    head.save(tmp_path / "terms")
    again = TermHead.load(tmp_path / "terms")
    assert again.sequence_weight == 7.0
    texts = [query.text for query in QUESTIONS]
    _, states = model.begin_with_states(texts)
    spans = model.token_spans(texts)
    assert torch.equal(again(again.read(texts, spans, states)), head(head.read(texts, spans, states)))
    (tmp_path / "terms" / "term_head.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match="no readable term head"):
        TermHead.load(tmp_path / "terms")


def test_terms_of_other_documents_are_refused(encoder: Path, tiny_dataset: Dataset) -> None:
    with pytest.raises(ArtefactError, match="not the same ones"):
        PlanningRetriever(model_of(encoder), Table({"d1": (0, 1, 2)}), head_of(tiny_dataset))


@pytest.mark.parametrize("wrong", [{"length_penalty": 1.0}, {"scoring": "allowed"}])
def test_settings_that_do_not_add_up_are_refused(
    encoder: Path, tiny_dataset: Dataset, wrong: dict[str, object]
) -> None:
    settings = GenerativeSettings(num_beams=4, **wrong)  # type: ignore[arg-type]
    retriever = PlanningRetriever(model_of(encoder), Table(IDENTIFIERS), head_of(tiny_dataset), settings)
    with pytest.raises(ConfigError, match="planning ahead adds to sums of logits"):
        retriever.search(QUESTIONS, 2)


def test_documents_cannot_come_and_go(encoder: Path, tiny_dataset: Dataset) -> None:
    retriever = retriever_of(encoder, tiny_dataset, IDENTIFIERS)
    with pytest.raises(ConfigError, match="train them again"):
        retriever.with_documents({"d9": (1, 1, 1)})
    with pytest.raises(ConfigError, match="train them again"):
        retriever.without_documents(["d1"])


def test_without_guidance_the_beam_finds_what_it_finds_alone_and_terms_are_added(
    encoder: Path, tiny_dataset: Dataset
) -> None:
    planning = retriever_of(encoder, tiny_dataset, IDENTIFIERS)
    every = planning.search(QUESTIONS, 4)  # nothing is pruned
    unguided = UnguidedRetriever.of(planning).search(QUESTIONS, 4)
    for query in QUESTIONS:
        ours, theirs = (run.rankings[query.query_id] for run in (unguided, every))
        assert [one.doc_id for one in ours] == [one.doc_id for one in theirs]
    narrow = GenerativeSettings(num_beams=1)
    one = UnguidedRetriever(planning.model, planning.identifiers, planning.head, narrow).search(QUESTIONS, 1)
    plain = GenerativeRetriever(planning.model, planning.identifiers, narrow).search(QUESTIONS, 1)
    for query in QUESTIONS:
        [found], [alone] = one.rankings[query.query_id], plain.rankings[query.query_id]
        whole = {scored.doc_id: scored.score for scored in every.rankings[query.query_id]}
        assert found.doc_id == alone.doc_id
        assert found.score == pytest.approx(whole[found.doc_id], rel=1e-4, abs=1e-4)


def test_without_guidance_one_beam_misses_what_terms_alone_decide(encoder: Path, tiny_dataset: Dataset) -> None:
    head = head_of(tiny_dataset)
    head.sequence_weight = 1e-6
    retriever = UnguidedRetriever(model_of(encoder), Table(IDENTIFIERS), head, GenerativeSettings(num_beams=1))
    run = retriever.search([Query("n", "which way does the Nile flow"), Query("p", "Pacific coast of Peru")], 1)
    assert [run.rankings[name][0].doc_id for name in "np"] != ["d3", "d2"]


def test_codes_guide_the_beams_unless_told_otherwise(encoder: Path, tiny_dataset: Dataset) -> None:
    """Terms say nothing here, and the first codes mislead a beam that does not know the others."""
    model, head = model_of(encoder), head_of(tiny_dataset)
    torch.nn.init.zeros_(model.correction.weight)
    torch.nn.init.zeros_(head.document_weights)
    question = [QUESTIONS[0]]
    scores = model.begin_split([question[0].text]).by_token[0]
    low, high = scores.argsort()[[0, -1]].tolist()
    middle = next(token for token in range(9) if token not in (low, high))
    identifiers = {"d1": (high, low, low), "d2": (middle, high, high), "d3": (middle, low, low), "d4": (low, low, high)}
    best = {}
    for ahead in (True, False):
        settings = GenerativeSettings(num_beams=1, look_ahead=ahead)
        run = PlanningRetriever(model, Table(identifiers), head, settings).search(question, 1)
        best[ahead] = run.rankings["a"][0].doc_id
    assert best == {True: "d2", False: "d1"}
