"""A search over several identifiers a document: scores put together by hand, and nothing lost."""

import pytest

from docids.table import DocIDTable
from docids.views import View, ViewsTable
from experiments.trained_model import TrainedModel
from genir.errors import ConfigError
from genir.records import Query
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.views import ViewsRetriever, ViewsSettings
from tests.hash_identifier_model import HashIdentifierModel

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


@pytest.mark.parametrize("combined", ["sum", "max"])
@pytest.mark.parametrize(("beams", "exhaustive"), [(1, False), (2, False), (8, False), (1, True)])
def test_a_document_is_shown_with_the_best_view_that_was_found(combined: str, beams: int, exhaustive: bool) -> None:
    made = retriever(views=combined, num_beams=beams, exhaustive=exhaustive)
    answered = made.answer(QUERY.text, beams)
    assert tuple(one for one, _ in answered) == made.search([QUERY], beams).rankings["q"]
    identifiers = sorted({one for tokens in OWN.values() for one in tokens})
    scores = dict(zip(identifiers, HashIdentifierModel().score([QUERY.text], identifiers)[0].tolist(), strict=True))
    everything = beams >= len(identifiers) or exhaustive
    found = identifiers if everything else sorted(identifiers, key=scores.__getitem__)[-beams:]
    for one, tokens in answered:
        assert tokens == max(set(OWN[one.doc_id]) & set(found), key=scores.__getitem__)
    assert made.answer(" ", 1) == []


def test_one_beam_shows_what_it_wrote() -> None:
    shown = [view for text in ("which one", "another", "a third") for view in retriever(num_beams=1).answer(text, 1)]
    assert any(tokens != OWN[one.doc_id][0] for one, tokens in shown)  # a first view is not what is always written
    for text in ("which one", "another", "a third"):
        [(one, tokens)] = retriever(num_beams=1).answer(text, 1)
        [row] = TrainedModel(HashIdentifierModel(), TABLE, {}, ViewsSettings(num_beams=1), {}).answer_rows(text, 1)
        assert (row["doc_id"], row["docid_tokens"]) == (one.doc_id, " ".join(map(str, tokens)))
    with pytest.warns(UserWarning, match="k is 3, but 1 beams find at most as many identifiers"):
        assert len(retriever(num_beams=1).answer("which one", 3)) <= 2
    with pytest.raises(ConfigError, match="k is 0"):
        retriever().answer("which one", 0)


def test_one_view_each_ranks_as_one_identifier_each() -> None:
    tokens = {name: own[-1] for name, own in OWN.items()}
    table = ViewsTable(DocIDTable("views", tokens, 10), {name: (View("v", one),) for name, one in tokens.items()})
    plain = GenerativeRetriever(HashIdentifierModel(), DocIDTable("plain", tokens, 10), GenerativeSettings())
    ours = ViewsRetriever(HashIdentifierModel(), table, ViewsSettings(views="max"))
    assert ours.search([QUERY], 5) == plain.search([QUERY], 5)
    assert ours.answer(QUERY.text, 5) == plain.answer(QUERY.text, 5)
    assert {one.doc_id: own for one, own in plain.answer(QUERY.text, 5)} == tokens


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown way to combine views 'sun': did you mean 'sum'\?"):
        ViewsSettings(views="sun")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot take in documents yet"):
        retriever().with_documents({"x": (1, 1)})
    with pytest.raises(ConfigError, match="cannot let go of documents yet"):
        retriever().without_documents(["c"])
    assert ViewsSettings.of(GenerativeSettings(num_beams=7), "max") == ViewsSettings(num_beams=7, views="max")
