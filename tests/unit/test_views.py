"""A search over several identifiers a document: scores put together by hand, nothing lost, and training that spares the others."""

import pytest
import torch

from docids.table import DocIDTable
from docids.views import View, ViewsTable
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.objectives import RankingObjective, TrainingBatch
from genir.records import Query
from genir.view_ranking import ViewRankingObjective
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.views import ViewsRetriever, ViewsSettings
from tests.hash_identifier_model import HashIdentifierModel
from tests.tiny_text_models import save_tiny_bert

OWN = {"a b": ((0, 1), (0, 2), (3, 3)), "c": ((0, 2),), "d": ((5, 5), (6, 1))}
TABLE = ViewsTable(
    DocIDTable("views", {name: tokens[0] for name, tokens in OWN.items()}, 10),
    {name: tuple(View("view", one) for one in tokens) for name, tokens in OWN.items()},
)
QUERY = Query("q", "which one")


def retriever(**settings: object) -> ViewsRetriever:
    return ViewsRetriever(HashIdentifierModel(), TABLE, ViewsSettings(**settings))  # type: ignore[arg-type]


def by_hand(combined: str) -> dict[str, float]:
    identifiers = sorted({one for tokens in OWN.values() for one in tokens})
    scores = dict(zip(identifiers, HashIdentifierModel().score([QUERY.text], identifiers)[0].tolist(), strict=True))
    if combined == "max":
        return {name: max(scores[one] for one in tokens) for name, tokens in OWN.items()}
    return {name: sum(scores[one] - min(scores.values()) for one in tokens) for name, tokens in OWN.items()}


@pytest.mark.parametrize("combined", ["sum", "max"])
@pytest.mark.parametrize("exhaustive", [False, True])
def test_scores_are_put_together(combined: str, exhaustive: bool) -> None:
    [ranking] = retriever(views=combined, exhaustive=exhaustive).search([QUERY], 5).rankings.values()
    assert {one.doc_id: one.score for one in ranking} == pytest.approx(by_hand(combined), abs=1e-4)


def test_a_view_that_was_not_found_counts_as_the_worst_found() -> None:
    made = retriever()
    assert made.combine({"a b 0": -1.0, "c 0": -3.0, "a b 2": -2.0}) == {"a b": 3.0, "c": 0.0}
    assert retriever(views="max").combine({"a b 0": -1.0, "c 0": -3.0, "a b 2": -2.0}) == {"a b": -1.0, "c": -3.0}
    assert made.combine({}) == {}


def test_one_view_each_ranks_as_one_identifier_each() -> None:
    tokens = {name: own[-1] for name, own in OWN.items()}
    table = ViewsTable(DocIDTable("views", tokens, 10), {name: (View("v", one),) for name, one in tokens.items()})
    plain = GenerativeRetriever(HashIdentifierModel(), DocIDTable("plain", tokens, 10), GenerativeSettings())
    ours = ViewsRetriever(HashIdentifierModel(), table, ViewsSettings(views="max"))
    assert ours.search([QUERY], 5) == plain.search([QUERY], 5)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown way to combine views 'sun': did you mean 'sum'\?"):
        ViewsSettings(views="sun")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot take in documents yet"):
        retriever().with_documents({"x": (1, 1)})
    with pytest.raises(ConfigError, match="cannot let go of documents yet"):
        retriever().without_documents(["c"])
    assert ViewsSettings.of(GenerativeSettings(num_beams=7), "max") == ViewsSettings(num_beams=7, views="max")


# --- training ---------------------------------------------------------------------------------------------------------

IDENTIFIERS = [(0, 4), (0, 5), (1, 4), (1, 5), (2, 4)]
ALIKE = [[2], [], [0], [], []]  # the first and the third are views of one document


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CodeDecoder:
    torch.manual_seed(0)
    encoder = str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16))
    made = CodeDecoder(CodeDecoderConfig(encoder, heads=2, feedforward=16), 6, 2, None).eval()
    torch.nn.init.normal_(made.correction.weight, std=0.3)
    return made


def batch(model: CodeDecoder, target: int) -> TrainingBatch:
    return TrainingBatch(*model.pad(model.tokenize(["some text"])), torch.tensor([target]), torch.ones(1))


def test_the_other_views_and_their_prefixes_are_no_negatives(model: CodeDecoder) -> None:
    made = ViewRankingObjective(model, IDENTIFIERS, ALIKE, (1,), 4, 1.0)
    asked = batch(model, 0)
    with torch.no_grad():
        loss = float(made.loss(asked))
        text = model.encode(asked.input_ids, asked.attention_mask)
        plain = (text.pooled @ model.codes.weight.T)[0]
        prefix, whole = (
            plain[[0, 2]],
            torch.stack([plain[0] + plain[4], plain[0] + plain[5], plain[1] + plain[5], plain[2] + plain[4]]),
        )
        kept = [IDENTIFIERS[0], IDENTIFIERS[1], IDENTIFIERS[3], IDENTIFIERS[4]]
        scores = model.token_scores(text, torch.tensor([kept]))[0].cumsum(-1)
        # prefix (1,) belongs to the other view; (0, 5) is under the target's own prefix, and no negative of it in part 2
        corrected = scores[[0, 3], 0], scores[:, 1]
        by_hand = sum(-part.log_softmax(0)[0] for part in (prefix, whole, *corrected)) / 2
    assert loss == pytest.approx(float(by_hand), abs=1e-5)


def test_without_other_views_it_is_the_ranking_objective(model: CodeDecoder) -> None:
    ours = ViewRankingObjective(model, IDENTIFIERS, [[] for _ in IDENTIFIERS], (1,), 3, 5.0)
    theirs = RankingObjective(model, IDENTIFIERS, (1,), 3, 5.0)
    with torch.no_grad():
        torch.testing.assert_close(ours.loss(batch(model, 3)), theirs.loss(batch(model, 3)))


def test_where_every_identifier_is_right_there_is_nothing_to_lose(model: CodeDecoder) -> None:
    everything = [[j for j in range(5) if j != i] for i in range(5)]
    made = ViewRankingObjective(model, IDENTIFIERS, everything, (1,), 4, 1.0)
    with torch.no_grad():
        assert float(made.loss(batch(model, 2))) == pytest.approx(0.0, abs=1e-6)
