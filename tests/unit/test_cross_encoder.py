"""A cross-encoder gives new scores to what another retriever finds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from genir.records import Document, Query
from retrievers.bm25 import BM25Retriever
from retrievers.cross_encoder import CrossEncoder
from retrievers.rerank import RerankingRetriever
from tests.tiny_text_models import save_byte_tokenizer

CORPUS = tuple(Document(f"d{i}", f"lake number {'one two three four five'.split()[i]}") for i in range(5))
QUERIES = [Query("q1", "lake two"), Query("q2", "nothing here"), Query("q3", "number five")]


def save_classifier(folder: Path, labels: int) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=save_byte_tokenizer(folder), num_labels=labels, initializer_range=0.5, **shape)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def reranker(source: Path, depth: int = 50, **options: Any) -> RerankingRetriever:
    first = BM25Retriever().build(CORPUS)
    return RerankingRetriever(first, CORPUS, CrossEncoder(str(source), precision="float32", **options), depth)


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_what_was_found_is_scored_anew(tmp_path: Path, labels: int) -> None:
    made = reranker(save_classifier(tmp_path, labels))
    run = made.search(QUERIES, 50)
    first = BM25Retriever().build(CORPUS).search(QUERIES, 50)
    assert list(run.rankings) == ["q1", "q2", "q3"]
    assert run.rankings["q2"] == ()
    assert isinstance(made.scorer, CrossEncoder)
    tokenizer, network = made.scorer.load()
    assert made.scorer.nbytes == 4 * sum(parameter.numel() for parameter in network.parameters())
    for query in QUERIES:
        ranking = run.rankings[query.query_id]
        assert {one.doc_id for one in ranking} == {one.doc_id for one in first.rankings[query.query_id]}
        assert [one.score for one in ranking] == sorted((one.score for one in ranking), reverse=True)
        for one in ranking:
            text = CORPUS[int(one.doc_id[1])].title_and_text
            with torch.no_grad():
                logits = network(**tokenizer(query.text, text, return_tensors="pt")).logits[0]
            expected = logits[0] if labels == 1 else logits[-1] - logits[0]
            assert one.score == pytest.approx(float(expected), abs=1e-4)


def test_batches_change_nothing_and_depth_is_a_limit(tmp_path: Path) -> None:
    source = save_classifier(tmp_path, 1)
    whole, single = (reranker(source, batch_size=size).search(QUERIES, 3) for size in (32, 1))
    for query in QUERIES:
        assert [one.doc_id for one in whole.rankings[query.query_id]] == [
            one.doc_id for one in single.rankings[query.query_id]
        ]
    found = reranker(source, depth=2).search(QUERIES, 10)
    assert max(map(len, found.rankings.values())) == 2


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"cross-encoder .*nowhere.*: cannot be loaded: .*; give a folder or a hub name"
    ):
        reranker(tmp_path / "nowhere").search(QUERIES, 3)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        reranker(tmp_path / "nowhere").search(QUERIES, 0)
