"""Our own query generator: its probabilities add up, it learns to ask by copying, and it can be kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError, DataError
from genir.query_generation import Sampling
from genir.query_writer import QueryWriter, QueryWriterConfig, source_of, sources
from genir.query_writer_training import train_writer
from genir.records import Document
from tests.tiny_text_models import save_tiny_bert

NAMES = ["Oslo", "Lima", "Cairo", "Paris", "Quito", "Tunis", "Sofia", "Dublin"]
DOCUMENTS = [Document(name, f"{name} is old. A lake is near.", "") for name in NAMES]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> QueryWriterConfig:
    encoder = str(save_tiny_bert(tmp_path_factory.mktemp("encoder"), 32))
    return QueryWriterConfig(
        encoder, 32, 300, 32, 24, 100, epochs=40, batch_size=8, learning_rate=1e-2, dropout=0.0, held_out=0.125
    )


@pytest.fixture(scope="module")
def trained(config: QueryWriterConfig) -> QueryWriter:
    return train_writer([(document, f"age {document.doc_id}?") for document in DOCUMENTS], config)[0]


def test_probabilities_of_writing_and_copying_sum_to_one(trained: QueryWriter) -> None:
    ids, states, mask = trained.read(["Oslo is old.", "A"])
    assert ids[1].tolist() == [ids[1, 0], *[-1] * (ids.shape[1] - 1)]
    previous = torch.tensor([[-1, 5, 6], [-1, 7, 5]])
    with torch.no_grad():
        write, copied, _ = trained.step(previous, trained.first_state(states, mask), ids, states, mask)
    torch.testing.assert_close(write.sum(-1) + copied.sum(-1), torch.ones(2, 3))
    assert not copied[1, :, 1:].any()  # nothing is copied from padding


def test_a_batch_loses_as_its_texts_do_alone(trained: QueryWriter) -> None:
    texts, questions = ["Oslo is old.", "A"], [[10, 11, 12], [13]]
    with torch.no_grad():
        together = trained.losses(trained.read(texts), questions)
        alone = torch.cat(
            [trained.losses(trained.read([text]), [row]) for text, row in zip(texts, questions, strict=True)]
        )
    assert together.shape == (6,)  # every token, and the two ends
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_training_lowers_the_loss_on_documents_it_has_not_seen(config: QueryWriterConfig) -> None:
    pairs = [(document, f"age {document.doc_id}?") for document in DOCUMENTS]
    writer, facts = train_writer(pairs, config)
    assert facts.pairs == 7  # one document of eight is held out
    assert facts.loss_after < 0.6 * facts.loss_before
    assert not writer.training


def test_it_asks_as_it_was_taught(trained: QueryWriter) -> None:
    made = trained.generate(DOCUMENTS[:3], Sampling(per_document=4, top_k=1))
    assert {query.doc_id for query in made} == set(NAMES[:3])
    assert all(query.kind == "generated" for query in made)
    assert sum(query.text.startswith("age ") for query in made) >= len(made) - 1


def test_the_same_pairs_and_seed_make_the_same_writer(config: QueryWriterConfig) -> None:
    pairs = [(document, f"age {document.doc_id}?") for document in DOCUMENTS[:3]]
    short = replace(config, epochs=2)
    first, second = (train_writer(pairs, short)[0] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    queries = [writer.generate(DOCUMENTS, Sampling(per_document=2, top_k=5)) for writer in (first, second)]
    assert queries[0] == queries[1]
    assert first.generate(DOCUMENTS, Sampling(per_document=2, top_k=5, seed=1)) != queries[0]


def test_save_and_load(trained: QueryWriter, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = QueryWriter.load(tmp_path)
    sampling = Sampling(per_document=3, top_k=5)
    assert again.generate(DOCUMENTS, sampling) == trained.generate(DOCUMENTS, sampling)
    assert not any("encoder" in name for name in trained.state_dict())  # kept by name


def test_folders_that_hold_no_writer(trained: QueryWriter, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no trained query writer: .*; train one again"):
        QueryWriter.load(tmp_path)
    trained.save(tmp_path)
    saved = json.loads((tmp_path / "writer.json").read_text())
    (tmp_path / "writer.json").write_text(json.dumps(saved | {"fingerprint": "another"}))
    with pytest.raises(ArtefactError, match="made with another encoder under the name"):
        QueryWriter.load(tmp_path)
    (tmp_path / "writer.json").write_text(json.dumps(saved))
    (tmp_path / "writer.safetensors").write_bytes(b"cut")
    with pytest.raises(ArtefactError, match="no trained query writer"):
        QueryWriter.load(tmp_path)


def test_of_many_pairs_some_are_left_out(config: QueryWriterConfig) -> None:
    pairs = [(document, f"age {document.doc_id}?") for document in DOCUMENTS]
    few = replace(config, max_pairs=3, epochs=0, held_out=0.0)
    assert train_writer(pairs, few)[1].pairs == 3


def test_nothing_to_learn_from(config: QueryWriterConfig) -> None:
    with pytest.raises(DataError, match="no question to learn asking from: the training split holds none"):
        train_writer([], config)


def test_impossible_writers(config: QueryWriterConfig) -> None:
    for change in ({"hidden_size": 0}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"epochs": -1}):
        with pytest.raises(ConfigError, match="impossible query writer"):
            replace(config, **change)  # type: ignore[arg-type]


def test_the_sentence_that_a_question_asks_about() -> None:
    document = Document("d", "Oslo is the capital of Norway. It was founded in 1048. The fjord is long.", "Oslo")
    assert source_of(document, "When was it founded?") == "Oslo. It was founded in 1048."
    assert source_of(document, "How long is the fjord?") == "Oslo. The fjord is long."
    assert source_of(document, "xyz") == "Oslo. Oslo is the capital of Norway."
    assert sources(Document("d", "", "Only a title")) == ["Only a title"]


def test_documents_without_text_get_none(trained: QueryWriter) -> None:
    made = trained.generate([Document("d", ""), DOCUMENTS[0], Document("e", "👍🏽")], Sampling(per_document=2))
    assert {query.doc_id for query in made} <= {"Oslo"}
