"""Beams that look ahead by codes: with nothing pruned they are exhaustive, and an untrained model's lose nothing at all."""

import copy
from pathlib import Path

import pytest
import torch

from docids.table import DocIDTable
from docids.views import View, ViewsTable
from experiments.demo.walk import search_and_walk, shelf_of
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.records import Query, Run
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.views import ViewsRetriever, ViewsSettings
from tests.tiny_text_models import save_tiny_bert

CODES, END, WIDTH = 9, 9, 16
QUERIES = [Query("a", "What is the capital of Norway?"), Query("b", "Nile Nile flows"), Query("c", "red")]
RAGGED = {"a": (0, 1, 2), "b": (0, 1), "c": (4,), "d": (0, 5, 2), "e": (4, 5, 6), "f": (4, 5, 6), "g": (8, 0, 8)}
EVEN = {name: tokens for name, tokens in RAGGED.items() if len(tokens) == 3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), WIDTH)


def model_of(encoder: Path, layers: int = 1, end: bool = True, trained: bool = True) -> CodeDecoder:
    torch.manual_seed(0)
    config = CodeDecoderConfig(str(encoder), layers, heads=2, feedforward=32)
    model = CodeDecoder(config, CODES + end, 4, END if end else None).eval()
    if trained:
        torch.nn.init.normal_(model.correction.weight, std=0.5)
    return model


def table(tokens: dict[str, tuple[int, ...]]) -> DocIDTable:
    return DocIDTable("codes", tokens, CODES)


def watched_begin(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `CodeDecoder.begin_split` is asked from now on."""
    asked: list[object] = []
    begin = CodeDecoder.begin_split
    monkeypatch.setattr(CodeDecoder, "begin_split", lambda model, texts: asked.append(texts) or begin(model, texts))
    return asked


def assert_same(ours: Run, theirs: Run) -> None:
    for query in QUERIES:
        found, expected = ours.rankings[query.query_id], theirs.rankings[query.query_id]
        assert [one.doc_id for one in found] == [one.doc_id for one in expected]
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize(("end", "tokens"), [(True, RAGGED), (False, EVEN), (False, RAGGED)])
def test_with_nothing_pruned_it_finds_what_scoring_every_document_does(
    encoder: Path, layers: int, end: bool, tokens: dict[str, tuple[int, ...]]
) -> None:
    model = model_of(encoder, layers, end)
    found = GenerativeRetriever(model, table(tokens), GenerativeSettings(num_beams=9, batch_size=2)).search(QUERIES, 7)
    exhaustive = GenerativeSettings(exhaustive=True)
    assert_same(found, GenerativeRetriever(model, table(tokens), exhaustive).search(QUERIES, 7))


def test_before_training_one_beam_finds_the_best_of_all(encoder: Path) -> None:
    """A third of all codes of three levels: a beam that goes by first codes alone loses the best document of some question."""
    tokens = {f"{a}{b}{c}": (a, 3 + b, 6 + c) for a in range(3) for b in range(3) for c in [(a + 2 * b) % 3]}
    model = model_of(encoder, trained=False)
    settings, unguided = GenerativeSettings(num_beams=1), GenerativeSettings(num_beams=1, look_ahead=False)
    best = GenerativeRetriever(model, table(tokens), GenerativeSettings(exhaustive=True)).search(QUERIES, 1)
    assert_same(GenerativeRetriever(model, table(tokens), settings).search(QUERIES, 1), best)
    plain = GenerativeRetriever(model, table(tokens), unguided).search(QUERIES, 1)
    assert any(plain.rankings[q.query_id][0].score < best.rankings[q.query_id][0].score - 1e-3 for q in QUERIES)


def test_the_two_parts_of_the_logits_add_up(encoder: Path) -> None:
    model = model_of(encoder)
    texts = [query.text for query in QUERIES]
    whole, split = model.begin(texts), model.begin_split(texts)
    rows = torch.arange(3)
    torch.testing.assert_close(split.by_token + split.correction(rows, None, None), whole(rows, None, None))
    tokens, parents = torch.tensor([1, 4, 0, 8]), torch.tensor([0, 0, 1, 2])
    corrections = split.correction(tokens, parents, None)
    assert corrections.abs().max() > 1e-3
    torch.testing.assert_close(split.by_token[parents] + corrections, whole(tokens, parents, None))
    torch.testing.assert_close(split.states, model.begin_with_states(texts)[1])


@pytest.mark.parametrize("end", [True, False])
def test_documents_come_and_go(encoder: Path, end: bool) -> None:
    model, settings = model_of(encoder, end=end), GenerativeSettings(num_beams=2)
    first = GenerativeRetriever(model, table(RAGGED), settings)
    before = first.search(QUERIES, 2)
    changed = first.without_documents(["a", "e"]).with_documents({"h": (1, 2), "i": (4, 4)}).without_documents(["b"])
    left = {"c": (4,), "d": (0, 5, 2), "f": (4, 5, 6), "g": (8, 0, 8), "h": (1, 2), "i": (4, 4)}
    assert_same(changed.search(QUERIES, 2), GenerativeRetriever(model, table(left), settings).search(QUERIES, 2))
    assert changed.constraint.patch is None
    assert first.search(QUERIES, 2) == before
    nothing = changed.without_documents(left)
    nothing.prepare()
    assert set(nothing.search(QUERIES, 2).rankings.values()) == {()}
    assert not nothing.looks_ahead


def test_a_walk_after_documents_came_and_went_watches_the_tree_that_is_searched(encoder: Path) -> None:
    changed = GenerativeRetriever(model_of(encoder), table(RAGGED)).without_documents(["a", "c"])
    changed = changed.with_documents({"h": (1, 2)})
    shelf = shelf_of(changed, {})
    for query in QUERIES:
        ranking, walk = search_and_walk(changed, query.text, 3, shelf)
        assert ranking == changed.search([query], 3).rankings[query.query_id]
        assert walk is not None
        assert walk.docid_tokens == shelf.identifiers[ranking[0].doc_id]


def test_where_beams_do_not_look_ahead_no_tree_is_built_again(encoder: Path) -> None:
    for settings in (GenerativeSettings(look_ahead=False), GenerativeSettings(exhaustive=True)):
        changed = GenerativeRetriever(model_of(encoder), table(RAGGED), settings).with_documents({"h": (1, 2)})
        changed.search(QUERIES, 2)
        assert changed.constraint.patch is not None


def test_what_was_prepared_is_shared_by_copies(encoder: Path) -> None:
    retriever = GenerativeRetriever(model_of(encoder), table(RAGGED))
    retriever.prepare()
    assert copy.copy(retriever).known_scores is retriever.known_scores
    assert retriever.nbytes > retriever.constraint.nbytes
    plain = GenerativeRetriever(model_of(encoder), table(RAGGED), GenerativeSettings(look_ahead=False))
    assert plain.nbytes == plain.constraint.nbytes


@pytest.mark.parametrize(
    ("settings", "ahead"),
    [
        ({}, True),
        ({"look_ahead": False}, False),
        ({"scoring": "allowed"}, False),
        ({"num_beam_groups": 2}, False),
        ({"length_penalty": 1.0}, False),
    ],
)
def test_where_beams_look_ahead(
    encoder: Path, settings: dict[str, object], ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = watched_begin(monkeypatch)
    retriever = GenerativeRetriever(model_of(encoder), table(RAGGED), GenerativeSettings(num_beams=4, **settings))  # type: ignore[arg-type]
    assert all(retriever.search(QUERIES, 2).rankings.values())
    assert bool(asked) == ahead


@pytest.mark.parametrize("combined", ["sum", "max"])
def test_views_are_looked_ahead_to(encoder: Path, combined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(encoder)
    first, second = {"x": RAGGED["a"], "y": RAGGED["c"]}, {"x": RAGGED["c"], "y": RAGGED["g"]}
    views = ViewsTable(table(first), {name: (View("one", first[name]), View("other", second[name])) for name in first})

    def found(**settings: object) -> Run:
        chosen = ViewsSettings(views=combined, **settings)  # type: ignore[arg-type]
        return ViewsRetriever(model, views, chosen).search(QUERIES, 2)

    assert_same(found(num_beams=4), found(exhaustive=True))
    assert_same(found(num_beams=4, look_ahead=False), found(exhaustive=True))
    asked = watched_begin(monkeypatch)
    found(num_beams=4)
    assert asked
