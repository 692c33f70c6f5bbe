"""A head over a model's own features: it starts as the search's ranking, learns from beams, and can be kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError, DataError
from genir.models.rerank_head import RerankHead
from genir.records import Dataset, Document, Query
from genir.rerank_training import Lists, RerankTraining, learn_rerank_head, listwise_loss
from retrievers.planning import PlanningRetriever
from retrievers.rerank import RerankingRetriever
from retrievers.rerank_head import FEATURES, HeadScorer, ModelFeatures
from tests.tiny_text_models import save_tiny_bert
from tests.unit.test_planning import IDENTIFIERS, QUESTIONS, WIDTH, retriever_of

TITLES = {"d1": "Oslo", "d2": "Lima", "d4": "东京"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), WIDTH)


@pytest.fixture
def planning(encoder: Path, tiny_dataset: Dataset) -> PlanningRetriever:
    return retriever_of(encoder, tiny_dataset, IDENTIFIERS)


def feature(planning: PlanningRetriever, text: str, doc_id: str) -> dict[str, float]:
    [(_, rows)] = ModelFeatures(planning, TITLES).of([text], [[doc_id]])
    return dict(zip(FEATURES, rows[0].tolist(), strict=True))


def test_an_untrained_head_ranks_as_the_search_does(planning: PlanningRetriever, tiny_dataset: Dataset) -> None:
    scorer = HeadScorer(ModelFeatures(planning, TITLES), RerankHead(FEATURES))
    reranked = RerankingRetriever(planning, tiny_dataset.corpus, scorer, 4).search(QUESTIONS, 4)
    searched = planning.search(QUESTIONS, 4)
    for query in QUESTIONS:
        ours, theirs = reranked.rankings[query.query_id], searched.rankings[query.query_id]
        assert [one.doc_id for one in ours] == [one.doc_id for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], rel=1e-4, abs=1e-4)


def test_features_by_hand(planning: PlanningRetriever) -> None:
    text = "capital Oslo Egypt"
    found = feature(planning, text, "d1")
    scores = planning.model.score([text], [IDENTIFIERS["d1"]])
    assert found["codes"] == pytest.approx(float(scores), abs=1e-4)
    head = planning.head
    _, states = planning.model.begin_with_states([text])
    asked = head.read([text], planning.model.token_spans([text]), states)
    u = dict(zip([head.sets.terms[i] for i in asked.terms.tolist()], head.importance(asked).tolist(), strict=True))
    assert u.keys() == {"oslo", "capit", "egypt"}  # no document holds a phrase of it
    total = sum(u.values())
    assert found["matched_words"] == pytest.approx((u["oslo"] + u["capit"]) / total, rel=1e-4)
    assert found["missed"] == pytest.approx(u["egypt"] / max(u.values()), rel=1e-4)
    assert found["in_title"] == pytest.approx(u["oslo"] / total, rel=1e-4)
    assert (found["of_title"], found["matched_phrases"], found["phrases"]) == (1.0, 0.0, 0.0)
    [terms] = head(asked).tolist()
    assert found["words"] == pytest.approx(terms[0], rel=1e-4)
    sets = head.sets
    weights = {sets.terms[t]: sets.importance[t] for t in asked.terms.tolist()}
    held = [weights[term] * _weight(planning, term, 0) for term in ("oslo", "capit")]
    assert found["start_words"] == pytest.approx(float(sum(held)), rel=1e-4)


def _weight(planning: PlanningRetriever, term: str, document: int) -> float:
    sets = planning.head.sets
    first, last = sets.pointers[sets.terms.index(term)], sets.pointers[sets.terms.index(term) + 1]
    place = first + sets.documents[first:last].tolist().index(document)
    return float(sets.weights[place])


def test_a_pairs_features_do_not_depend_on_the_others(planning: PlanningRetriever) -> None:
    texts = [query.text for query in QUESTIONS] + ["zebra quagga"]
    wanted = [["d1", "d2", "d3", "d4"], ["d3"], [], ["d4", "d1"]]
    together = ModelFeatures(planning, TITLES).of(texts, wanted)
    for text, doc_ids, (base, rows) in zip(texts, wanted, together, strict=True):
        assert rows.shape == (len(doc_ids), len(FEATURES))
        for place, doc_id in enumerate(doc_ids):
            [(alone, row)] = ModelFeatures(planning, TITLES).of([text], [[doc_id]])
            torch.testing.assert_close(row[0], rows[place], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(alone[0], base[place], atol=1e-4, rtol=1e-4)
    assert not together[3][1][:, FEATURES.index("matched_words")].any()  # none of its words is known


def test_what_the_model_does_not_know(planning: PlanningRetriever) -> None:
    scorer = HeadScorer(ModelFeatures(planning, TITLES), RerankHead(FEATURES))
    with pytest.raises(ArtefactError, match="document 'd9' is not among the 4 that the model knows"):
        scorer.score([("Oslo", Document("d9", "text"))])
    with pytest.raises(
        ArtefactError, match=r"knows 2 features, this version has 14 others: train it again with `genir tr"
    ):
        HeadScorer(ModelFeatures(planning, TITLES), RerankHead(("codes", "magic")))
    assert scorer.score([]) == []


# --- learning ---------------------------------------------------------------------------------------------------------


def some_lists(count: int = 40) -> Lists:
    """The right document is the one whose second feature is the highest; the base knows nothing of it."""
    generator = torch.Generator().manual_seed(0)
    base, features = torch.randn(count, 6, generator=generator), torch.randn(count, 6, 3, generator=generator)
    features[..., 2] = 7.0  # says nothing
    present = torch.ones(count, 6, dtype=torch.bool)
    present[::4, 4:] = False
    best = features[..., 1].masked_fill(~present, -torch.inf).argmax(1, keepdim=True)
    return Lists(base, features, present, torch.zeros_like(present).scatter(1, best, True))


def accuracy(lists: Lists, head: RerankHead) -> float:
    with torch.no_grad():
        scores = head(lists.base, lists.features).masked_fill(~lists.present, -torch.inf)
    return float(lists.right.gather(1, scores.argmax(1, keepdim=True)).float().mean())


SETTINGS = RerankTraining(4, 0.05, (0.0, 0.1), 60, 20)
NAMES = ("one", "two", "three")


def test_it_learns_what_tells_right_documents() -> None:
    lists = some_lists()
    head, course = learn_rerank_head(lists, NAMES, SETTINGS, lambda head: accuracy(lists, head))
    assert course.start < 0.5 < 0.9 < course.best == accuracy(lists, head)
    assert course.lists == len(lists)
    assert [one["step"] for one in course.history] == [0, 20, 40, 60, 20, 40, 60]
    again, _ = learn_rerank_head(lists, NAMES, SETTINGS, lambda head: accuracy(lists, head))
    assert all(torch.equal(one, other) for one, other in zip(head.parameters(), again.parameters(), strict=True))


def test_training_never_ends_below_its_start() -> None:
    lists = some_lists()
    head, course = learn_rerank_head(
        lists, NAMES, SETTINGS, lambda head: -float(head.linear.weight.detach().abs().sum())
    )
    assert (course.best, course.step, course.weight_decay) == (0.0, 0, 0.0)
    torch.testing.assert_close(head(lists.base, lists.features), lists.base)


def test_a_gain_that_may_be_noise_is_none() -> None:
    lists = some_lists()
    settings = replace(SETTINGS, least_gain=0.1)
    tiny = learn_rerank_head(lists, NAMES, settings, lambda head: 0.01 * accuracy(lists, head))[1]
    assert (tiny.best, tiny.step) == (tiny.start, 0)
    assert max(one["dev"] for one in tiny.history) > tiny.start


def test_the_loss_by_hand() -> None:
    head = RerankHead(NAMES)
    base = torch.tensor([[1.0, 2.0, 3.0]])
    lists = Lists(base, torch.zeros(1, 3, 3), torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]]))
    assert float(listwise_loss(head, lists).detach()) == pytest.approx(
        float(-torch.tensor([1.0, 2.0]).log_softmax(0)[0])
    )


def test_lists_that_teach_nothing() -> None:
    lists = some_lists(4)
    nothing = Lists(lists.base, lists.features, lists.present, torch.zeros_like(lists.right))
    with pytest.raises(DataError, match="none of the 4 training questions found a right document beside a wrong one"):
        learn_rerank_head(nothing, NAMES, SETTINGS, lambda head: 0.0)
    whole = Lists(lists.base, lists.features, lists.present, lists.present)
    assert len(whole.teaching()) == 0


def test_a_saved_head_scores_the_same(tmp_path: Path) -> None:
    lists = some_lists()
    head, _ = learn_rerank_head(lists, NAMES, SETTINGS, lambda head: accuracy(lists, head))
    head.save(tmp_path / "rerank")
    assert {path.suffix for path in (tmp_path / "rerank").iterdir()} == {".json", ".safetensors"}
    again = RerankHead.load(tmp_path / "rerank")
    assert torch.equal(again(lists.base, lists.features), head(lists.base, lists.features))
    (tmp_path / "rerank" / "rerank_head.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtefactError, match=r"no readable rerank head .*; train it with `genir train-rerank`"):
        RerankHead.load(tmp_path / "rerank")


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"hidden": 0}, {"learning_rate": 0.0}])
def test_impossible_training(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="impossible training of a rerank head"):
        RerankTraining(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"weight_decays is \(\) and least_gain 0\.002: expected at least one"):
        RerankTraining(weight_decays=())


def test_a_blank_question_has_no_features(planning: PlanningRetriever, tiny_dataset: Dataset) -> None:
    scorer = HeadScorer(ModelFeatures(planning, TITLES), RerankHead(FEATURES))
    run = RerankingRetriever(planning, tiny_dataset.corpus, scorer).search([Query("q", " ")], 3)
    assert run.rankings == {"q": ()}
