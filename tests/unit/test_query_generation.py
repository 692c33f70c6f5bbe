"""Queries that a model writes: a tiny random T5 as any doc2query model, and the filter that traces queries back."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from genir.pseudo_queries import PseudoQuery
from genir.query_generation import HuggingFaceQueryGenerator, Sampling, distinct, keep_consistent
from genir.records import Document, Query, Run
from retrievers.bm25 import BM25Retriever
from tests.tiny_text_models import save_tiny_t5

CORPUS = (
    Document("oslo", "Oslo is the capital of Norway. It lies at a fjord.", "Oslo"),
    Document("lima", "Lima is the capital of Peru.", "Lima"),
    Document("nile", "The Nile flows north."),
)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_t5(tmp_path_factory.mktemp("t5"))


def generator(t5: Path, batch_size: int = 2) -> HuggingFaceQueryGenerator:
    return HuggingFaceQueryGenerator(str(t5), max_query_tokens=12, batch_size=batch_size, precision="float32")


def test_any_encoder_decoder_writes_queries(t5: Path) -> None:
    made = generator(t5).generate(CORPUS, Sampling(per_document=3, top_k=50))
    assert {query.doc_id for query in made} <= {document.doc_id for document in CORPUS}
    assert [query.doc_id for query in made] == sorted((q.doc_id for q in made), key=["oslo", "lima", "nile"].index)
    assert all(query.kind == "generated" and query.text == query.text.strip() != "" for query in made)
    assert 3 < len(made) <= 9


def test_the_same_seed_writes_the_same_and_leaves_the_random_state_alone(t5: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = generator(t5).generate(CORPUS, Sampling(per_document=2, top_k=50))
    assert torch.equal(torch.rand(1), expected)
    assert generator(t5).generate(CORPUS, Sampling(per_document=2, top_k=50)) == first
    assert generator(t5).generate(CORPUS, Sampling(per_document=2, top_k=50, seed=1)) != first


def test_what_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"query generator .*nowhere.*: no encoder-decoder: .*; give a folder or a hub"
    ):
        HuggingFaceQueryGenerator(str(tmp_path / "nowhere")).generate(CORPUS, Sampling())


@pytest.mark.parametrize("sampling", [{"per_document": 0}, {"top_k": 0}, {"temperature": 0.0}])
def test_impossible_sampling(sampling: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected per_document >= 1, top_k >= 1, and a temperature above 0"):
        Sampling(**sampling)  # type: ignore[arg-type]


def test_queries_that_say_the_same_or_nothing_are_left_out() -> None:
    made = distinct(CORPUS[0], ["What is Oslo?", " what   is oslo", "?!", "", "Where is Oslo?"])
    assert [query.text for query in made] == ["What is Oslo?", "Where is Oslo?"]


def test_the_filter_keeps_what_leads_back(t5: Path) -> None:
    made = [
        PseudoQuery("oslo", "capital of Norway", "cloze"),
        PseudoQuery("oslo", "capital of Peru", "cloze"),
        PseudoQuery("lima", "Norway", "generated"),
        PseudoQuery("nile", "!?", "terms"),
    ]
    bm25 = BM25Retriever().build(CORPUS)
    first = keep_consistent(made, bm25, 1)
    assert first.kept == made[:1]
    assert first.dropped == {"cloze": 1, "generated": 1, "terms": 1}
    assert first.documents_without == 2
    assert keep_consistent(made, bm25, 2).kept == made[:2]


def test_the_filter_asks_no_more_than_it_needs() -> None:
    class Asked:
        name = "asked"

        def search(self, queries: Sequence[Query], k: int) -> Run:
            assert k == 3
            return Run(self.name, {})

    filtered = keep_consistent([PseudoQuery("oslo", "a", "title")], Asked(), 3)
    assert (filtered.kept, filtered.dropped, filtered.documents_without) == ([], {"title": 1}, 1)
