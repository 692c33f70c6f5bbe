"""The training stage's own decisions: what it learns from, how it measures itself, which model it builds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docids.table import DocIDTable
from experiments.quality.ablation import AblationConfig
from experiments.quality.config import QualityConfig
from experiments.quality.labels import LabelsConfig
from experiments.registry import make_scheme
from experiments.training.examples import ExamplesConfig, make_examples
from experiments.training.model_config import ModelConfig, ObjectiveConfig, build_model
from genir.embedding import TextEncoder
from genir.errors import ConfigError, DataError
from genir.models.code_decoder import CodeDecoderConfig
from genir.models.seq2seq import Seq2SeqConfig, T5Shape
from genir.records import Dataset, Document, Query
from genir.training import TrainingConfig
from retrievers.generative import GenerativeRetriever, GenerativeSettings
from tests.tiny_text_models import save_tiny_bert

TABLE = DocIDTable("numeric", {"d1": (0,), "d2": (1,), "d3": (2,), "d4": (1,)}, vocab_size=10)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    encoder = str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16))
    return ModelConfig(
        code_decoder=CodeDecoderConfig(encoder, heads=2, feedforward=16),
        seq2seq=Seq2SeqConfig(tokenizer=encoder, t5=T5Shape(16, 32, 1, 2, 8)),
        examples=ExamplesConfig(passages=2, passage_words=6),
    )


def test_examples_of_every_kind_with_their_weights(tiny_dataset: Dataset, config: ModelConfig) -> None:
    examples, dev = make_examples(tiny_dataset, TABLE, config.examples, config.dev_queries)
    queries = [one for one in examples if one.kind == "query"]
    assert [(one.text, one.target, one.weight) for one in queries] == [
        ("What is the capital of Norway?", 0, 1.0),
        ("日本的首都是哪里？", 1, 1.0),  # d4 stands under the identifier of d2
    ]
    passages = [one.text for one in examples if one.kind == "passage" and one.target == 0]
    assert passages == ["Oslo. Oslo is the capital of", "Norway. It lies at the head"]
    assert {one.target for one in examples if one.kind == "pseudo"} == {0, 1, 2}
    assert {one.weight for one in examples if one.kind != "query"} == {0.5}
    # a judgement of gain 0 stays a judgement, and only dev is measured
    assert (dev.name, [query.query_id for query in dev.queries], dev.qrels.judgements) == (
        "dev",
        ["q2"],
        {"q2": {"d2": 2, "d1": 0}},
    )


def test_a_weight_of_zero_leaves_a_kind_out(tiny_dataset: Dataset, config: ModelConfig) -> None:
    chosen = replace(config, examples=replace(config.examples, passage_weight=0.0, pseudo_query_weight=0.0))
    assert {one.kind for one in make_examples(tiny_dataset, TABLE, chosen.examples, chosen.dev_queries)[0]} == {"query"}
    nothing = replace(chosen, examples=replace(chosen.examples, queries=False))
    with pytest.raises(DataError, match="tiny: nothing to learn from"):
        make_examples(tiny_dataset, TABLE, nothing.examples, nothing.dev_queries)


def test_without_a_dev_split_pseudo_queries_are_held_out(tiny_dataset: Dataset, config: ModelConfig) -> None:
    examples, dev = make_examples(replace(tiny_dataset, qrels={}), TABLE, config.examples, config.dev_queries)
    pseudo = {one.text for one in examples if one.kind == "pseudo"}
    assert dev.name == "held-out pseudo-queries"
    assert dev.queries
    assert all(len(dev.qrels.relevant(query.query_id)) == 1 for query in dev.queries)
    assert pseudo.isdisjoint(query.text for query in dev.queries)


def test_at_most_so_many_dev_queries_are_searched(tiny_dataset: Dataset, config: ModelConfig) -> None:
    many = replace(tiny_dataset, qrels={"dev": tiny_dataset.qrels["train"]})
    assert len(make_examples(many, TABLE, config.examples, 1)[1].queries) == 1


def test_identifiers_of_several_lengths_get_an_end_token(config: ModelConfig) -> None:
    one_length = build_model(config, TABLE)
    assert (one_length.end_token, one_length.vocab_size) == (None, 10)
    several = build_model(config, replace(TABLE, tokens={"d1": (1,), "d2": (1, 0)}))
    assert (several.end_token, several.vocab_size, several.max_identifier) == (10, 11, 3)
    seq2seq = replace(config, architecture="seq2seq", objective=ObjectiveConfig("cross_entropy"))
    assert build_model(seq2seq, replace(TABLE, tokens={"d1": (1,), "d2": (1, 0)})).end_token == 10


def test_a_text_longer_than_the_encoder_reads_is_refused_before_training(config: ModelConfig) -> None:
    long = replace(config, code_decoder=replace(config.code_decoder, max_text_tokens=129))
    with pytest.raises(ConfigError, match="max_text_tokens = 129, but the encoder reads 128 at most"):
        build_model(long, TABLE)


@pytest.mark.parametrize(
    ("scheme", "settings"),
    [("residual", {"levels": 2, "codes": 4}), ("product", {"levels": 2, "codes": 4, "rotation": "opq"})],
)
def test_built_from_codebooks_it_searches_like_the_quantised_dense_index(
    config: ModelConfig, scheme: str, settings: dict[str, Any]
) -> None:
    """From the scheme to the search: what an untrained model finds is what the documents' codebook vectors would."""
    words = "oslo lima nile tokyo paris quito tunis sofia dublin lagos".split()
    corpus = tuple(Document(f"d{i}", f"{word} is a town by the {words[-i]}.") for i, word in enumerate(words))
    source = config.code_decoder.encoder
    table = make_scheme(scheme, settings, source, None).assign(corpus)
    assert isinstance(table, DocIDTable)
    assert table.codebooks is not None
    model = build_model(replace(config, training=TrainingConfig(precision="float32")), table)
    queries = [Query(f"q{i}", f"where is {word}") for i, word in enumerate(words)]
    run = GenerativeRetriever(model, table, GenerativeSettings(num_beams=len(corpus))).search(queries, len(corpus))
    rows = table.codebooks.reshape(-1, table.codebooks.shape[-1])
    documents = {document.doc_id: rows[list(table.tokens_of(document.doc_id))].sum(0) for document in corpus}
    vectors = TextEncoder(source, precision="float32").encode([query.text for query in queries])
    for query, vector in zip(queries, vectors, strict=True):
        found = {one.doc_id: one.score for one in run.rankings[query.query_id]}
        assert found == pytest.approx({doc_id: float(vector @ each) for doc_id, each in documents.items()}, abs=1e-4)


def test_the_configurations_in_the_package_are_valid() -> None:
    folder = Path(__file__).resolve().parents[2] / "experiments" / "configs"
    others = ("joint-atlas", "joint-squad-small", "features")  # of other stages, tested with them
    files = sorted(file for file in folder.glob("*.toml") if file.stem not in others)
    assert files
    for file in files:
        if file.stem == "labels":
            configs = [LabelsConfig.read(file).quality.sequence]
        elif file.stem == "ablation":
            configs = [row.sequence for row in AblationConfig.read(file).rows.values()]
        else:
            configs = [QualityConfig.read(file).sequence if file.stem.startswith("quality") else ModelConfig.read(file)]
        assert {config.architecture for config in configs} == {"code_decoder"}


def test_a_document_without_any_text_still_has_an_identifier(config: ModelConfig) -> None:
    dataset = Dataset("blank", (Document("d1", ""), Document("d2", "Lima.")), {})
    examples, dev = make_examples(
        dataset, replace(TABLE, tokens={"d1": (0,), "d2": (1,)}), config.examples, config.dev_queries
    )
    assert {one.target for one in examples} == {1}
    assert len(dev.queries) == 1
