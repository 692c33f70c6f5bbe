"""Looking ahead by codes: with nothing pruned it is exhaustive, and what is known beforehand is never pruned."""

from pathlib import Path

import pytest
import torch

from docids.table import DocIDTable
from experiments.identifiers import make_searcher
from genir.errors import ConfigError
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig
from genir.records import Query, Run
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from retrievers.guided import GuidedRetriever
from tests.hash_identifier_model import HashIdentifierModel
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


def same(ours: Run, theirs: Run) -> None:
    for query in QUERIES:
        found, expected = ours.rankings[query.query_id], theirs.rankings[query.query_id]
        assert [one.doc_id for one in found] == [one.doc_id for one in expected]
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize(("end", "tokens"), [(True, RAGGED), (False, EVEN)])
def test_with_nothing_pruned_it_finds_what_scoring_every_document_does(
    encoder: Path, layers: int, end: bool, tokens: dict[str, tuple[int, ...]]
) -> None:
    model = model_of(encoder, layers, end)
    found = GuidedRetriever(model, table(tokens), GenerativeSettings(num_beams=9, batch_size=2)).search(QUERIES, 7)
    exhaustive = GenerativeSettings(exhaustive=True)
    same(found, GenerativeRetriever(model, table(tokens), exhaustive).search(QUERIES, 7))


def test_before_training_one_beam_finds_the_best_of_all(encoder: Path) -> None:
    """A third of all codes of three levels: a beam that goes by first codes alone loses the best document of some question."""
    tokens = {f"{a}{b}{c}": (a, 3 + b, 6 + c) for a in range(3) for b in range(3) for c in [(a + 2 * b) % 3]}
    model = model_of(encoder, trained=False)
    settings = GenerativeSettings(num_beams=1)
    best = GenerativeRetriever(model, table(tokens), GenerativeSettings(exhaustive=True)).search(QUERIES, 1)
    same(GuidedRetriever(model, table(tokens), settings).search(QUERIES, 1), best)
    plain = GenerativeRetriever(model, table(tokens), settings).search(QUERIES, 1)
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


def test_documents_come_and_go(encoder: Path) -> None:
    model, settings = model_of(encoder), GenerativeSettings(num_beams=2)
    first = GuidedRetriever(model, table(RAGGED), settings)
    before = first.search(QUERIES, 2)
    changed = first.without_documents(["a", "e"]).with_documents({"h": (1, 2), "i": (4, 4)}).without_documents(["b"])
    left = {"c": (4,), "d": (0, 5, 2), "f": (4, 5, 6), "g": (8, 0, 8), "h": (1, 2), "i": (4, 4)}
    same(changed.search(QUERIES, 2), GuidedRetriever(model, table(left), settings).search(QUERIES, 2))
    assert isinstance(changed, GuidedRetriever)
    assert first.search(QUERIES, 2) == before
    assert set(changed.without_documents(left).search(QUERIES, 2).rankings.values()) == {()}


@pytest.mark.parametrize(
    "plain", [{"look_ahead": False}, {"scoring": "allowed"}, {"num_beam_groups": 2}, {"length_penalty": 1.0}]
)
def test_where_beams_look_ahead(encoder: Path, plain: dict[str, object]) -> None:
    model, codes = model_of(encoder), table(RAGGED)
    assert type(make_searcher(model, codes, GenerativeSettings())) is GuidedRetriever
    settings = GenerativeSettings(**plain)  # type: ignore[arg-type]
    assert type(make_searcher(model, codes, settings)) is GenerativeRetriever
    assert (
        type(make_searcher(HashIdentifierModel(), codes, GenerativeSettings(scoring="logits"))) is GenerativeRetriever
    )


def test_settings_that_do_not_add_up_are_refused(encoder: Path) -> None:
    retriever = GuidedRetriever(model_of(encoder), table(RAGGED), GenerativeSettings(length_penalty=1.0))
    with pytest.raises(ConfigError, match=r"planning ahead adds to sums of logits; got .* length penalty 1"):
        retriever.search(QUERIES, 2)
