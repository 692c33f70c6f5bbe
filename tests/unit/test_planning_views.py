"""Planning over several identifiers a document: what is found is what exhaustive scoring and hand arithmetic say."""

from pathlib import Path

import pytest
import torch

from docids.table import DocIDTable
from docids.views import View, ViewsTable
from experiments.identifiers import identifiers_of_each, make_searcher
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.models.term_head import TermHead
from genir.records import Dataset, Query
from genir.term_sets import TermSets, TermSetSettings
from genir.term_training import TermTrainee
from retrievers.generative import GenerativeSettings
from retrievers.views import PlanningViewsRetriever, ViewsSettings
from tests.tiny_text_models import save_tiny_bert

WIDTH = 16
QUESTIONS = [Query("a", "What is the capital of Norway?"), Query("b", "Nile Nile flows"), Query("c", "Pacific coast")]
OWN = {
    "d1": ((0, 1, 2), (0, 1, 3), (4, 1, 2)),
    "d2": ((0, 1, 3),),  # which d1 has, too
    "d3": ((4, 5, 6), (4, 5, 7)),
    "d4": ((8, 5, 2), (0, 5, 2)),
}
TABLE = ViewsTable(
    DocIDTable("views", {name: tokens[0] for name, tokens in OWN.items()}, 9, settings={"combine": "max"}),
    {name: tuple(View("view", one) for one in tokens) for name, tokens in OWN.items()},
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), WIDTH)


@pytest.fixture(scope="module")
def model(encoder: Path) -> CodeDecoder:
    torch.manual_seed(0)
    made = CodeDecoder(CodeDecoderConfig(str(encoder), heads=2, feedforward=32), 9, 3, None).eval()
    torch.nn.init.normal_(made.correction.weight, std=0.5)
    return made


@pytest.fixture
def head(tiny_dataset: Dataset) -> TermHead:
    torch.manual_seed(1)
    made = TermHead(TermSets.build(tiny_dataset.corpus, TermSetSettings()), WIDTH, 8).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    made.sequence_weight = 3.0
    return made


def best_view(model: CodeDecoder, question: str, name: str, by_codes: bool = True) -> tuple[tuple[int, ...], float]:
    """A document's view with the highest score, that of its codes alone or the whole; and its whole score."""
    whole = model.score([question], list(OWN[name]))[0].tolist()
    codes = model.begin_split([question]).by_token[0]
    judged = [float(codes[list(tokens)].sum()) for tokens in OWN[name]] if by_codes else whole
    place = judged.index(max(judged))
    return OWN[name][place], whole[place]


def by_hand(model: CodeDecoder, head: TermHead, question: str, by_codes: bool) -> dict[str, float]:
    _, states = model.begin_with_states([question])
    terms = head(head.read([question], model.token_spans([question]), states))[0].tolist()
    return {name: 3.0 * best_view(model, question, name, by_codes)[1] + terms[place] for place, name in enumerate(OWN)}


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("exhaustive", [True, False])
def test_a_document_scores_its_best_view_and_its_terms(
    model: CodeDecoder, head: TermHead, exhaustive: bool, ahead: bool
) -> None:
    settings = GenerativeSettings(num_beams=8, batch_size=2, exhaustive=exhaustive, look_ahead=ahead)
    retriever = make_searcher(model, TABLE, settings, head)
    assert isinstance(retriever, PlanningViewsRetriever)
    with torch.no_grad():
        run = retriever.search(QUESTIONS, 4)
        for query in QUESTIONS:
            found = {one.doc_id: one.score for one in run.rankings[query.query_id]}
            assert found == pytest.approx(by_hand(model, head, query.text, by_codes=ahead), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("terms", [True, False])
@pytest.mark.parametrize("beams", [1, 2, 3, 4])
def test_a_beam_is_a_document(model: CodeDecoder, head: TermHead, beams: int, terms: bool) -> None:
    """Where codes pick the view; d1 has three that might fill the beam."""
    settings = GenerativeSettings(num_beams=beams, terms=terms)
    head.sequence_weight = 0.0  # all views of a document are alike for terms
    found = make_searcher(model, TABLE, settings, head).search(QUESTIONS, beams).rankings
    assert all(len(ranking) == beams for ranking in found.values())


def test_the_view_that_is_shown_is_the_best_one(model: CodeDecoder, head: TermHead) -> None:
    retriever = make_searcher(model, TABLE, GenerativeSettings(num_beams=8), head)
    assert isinstance(retriever, PlanningViewsRetriever)
    answered = retriever.answer(QUESTIONS[0].text, 4)
    assert len(answered) == 4
    for one, tokens in answered:
        assert tokens == best_view(model, QUESTIONS[0].text, one.doc_id)[0]


def test_without_terms_it_is_the_search_of_views(model: CodeDecoder, head: TermHead) -> None:
    settings = GenerativeSettings(num_beams=8, terms=False)
    with_head, without = (make_searcher(model, TABLE, settings, one) for one in (head, None))
    assert with_head.search(QUESTIONS, 4) == without.search(QUESTIONS, 4)


def test_sums_of_views_have_no_terms(model: CodeDecoder, head: TermHead) -> None:
    with pytest.raises(
        ConfigError,
        match="views are combined by 'sum', but terms go with the best view of a document: leave `--views` out",
    ):
        PlanningViewsRetriever(model, TABLE, head, ViewsSettings(views="sum"))
    assert PlanningViewsRetriever(model, TABLE, head).settings.views == "max"


def test_terms_learn_beside_the_best_view(model: CodeDecoder, head: TermHead) -> None:
    trainee = TermTrainee(head, model, identifiers_of_each(TABLE))
    _, pooled = trainee.ask([QUESTIONS[1].text])
    with torch.no_grad():
        plain = (pooled @ model.codes.weight.T)[0]
        best = [max(float(plain[list(tokens)].sum()) for tokens in own) for own in OWN.values()]
        assert trainee.sequence_scores(pooled)[0].tolist() == pytest.approx(best, abs=1e-5)
    assert identifiers_of_each(TABLE.documents) == [(tokens[0],) for tokens in OWN.values()]
