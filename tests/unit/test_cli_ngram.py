"""N-gram identifiers through the command line: built, inspected, trained, searched, answered; and what users get wrong."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.identifiers import load_identifiers
from experiments.trained_model import TrainedModel
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_journey import TRAINING, Journey, genir

TOWNS = (("Oslo", "north"), ("Lima", "west"), ("Cairo", "south"))
NGRAM = """
[ngram]
spans = 2
[ngram.search]
num_beams = 4
max_length = 6
"""
CAUSAL = """
[causal]
tokenizer = "{encoder}"
max_text_tokens = 32
[causal.llama]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
"""


# Until the model prefers some n-grams: those that it likes no better than chance weigh nothing.
LONGER = TRAINING.replace("epochs = 2", "epochs = 12\nevaluate_every = 1000\nfresh_learning_rate = 1e-2")


def config_of(journey: Journey, architecture: str, training: str = TRAINING) -> Path:
    config = journey.config("seq2seq", "cross_entropy", training + NGRAM)
    if architecture == "causal":
        causal = CAUSAL.format(encoder=journey.encoder)
        config.write_text(config.read_text().replace('architecture = "seq2seq"', 'architecture = "causal"') + causal)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A journey with a model of n-grams. Tests do not change it."""
    corpus = tuple(Document(f"d{i}", f"{name} is a town in the {side}.", name) for i, (name, side) in enumerate(TOWNS))
    queries = {f"q{i}": Query(f"q{i}", f"Where is {name}?") for i, (name, _) in enumerate(TOWNS)}
    qrels = {"train": Qrels({"q0": {"d0": 1}}), "test": Qrels({"q1": {"d1": 1}})}
    journey = Journey.begin(tmp_path_factory.mktemp("ngrams"), Dataset("towns", corpus, queries, qrels))
    assert journey.build("ngram").code == 0
    assert journey.train(config_of(journey, "seq2seq", LONGER)).code == 0
    return journey


@pytest.mark.parametrize("architecture", ["seq2seq", "causal"])
def test_from_documents_to_an_answer(tmp_path: Path, tiny_dataset: Dataset, architecture: str) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    built = journey.build("ngram")
    assert built.out.startswith(f"{journey.docids}: ngram, 4 documents, ")
    assert sorted(path.name for path in journey.docids.iterdir()) == [
        *("docids.jsonl", "manifest.json", "ngrams.safetensors", "scheme.json"),
    ]
    figures = json.loads(genir("docids", "inspect", journey.docids, "--json").out)
    assert (figures["scheme"], figures["uniqueness"], len(figures["levels"])) == ("ngram", 1.0, 10)
    assert "naming one" in genir("docids", "inspect", journey.docids).out

    learned = journey.train(config_of(journey, architecture))
    assert learned.code == 0, learned.err
    assert "RR@10 on dev: " in learned.out
    manifest = json.loads((journey.model / "manifest.json").read_text())
    assert (manifest["facts"]["scheme"], manifest["facts"]["documents"]) == ("ngram", 4)

    model = ("--model", journey.model)
    for name in ("ngram", "generative"):
        run = journey.root / f"{name}.trec"
        searched = genir(
            "search", "--retriever", name, *model, "--data", journey.data, "--split", "test", "-k", 3, "--out", run
        )
        assert searched.out.startswith(f"{run}: 1 queries, "), searched.err
    assert (journey.root / "ngram.trec").read_bytes() == (journey.root / "generative.trec").read_bytes()
    about = json.loads((journey.root / "ngram.json").read_text())
    assert about["retriever"] == "ngram"
    assert about["settings"].items() >= {"num_beams": 4, "max_length": 6, "alpha": 2.0, "scoring": "vocabulary"}.items()
    assert about["cost"]["index_bytes"] > 0
    answer = ("answer", "Norway's capital?", "--data", journey.data, "--retriever", "ngram", *model, "--json")
    assert json.loads(genir(*answer).out)["retriever"] == "ngram"


def test_a_question_shows_the_ngrams_that_a_ranking_rests_on(trained: Journey) -> None:
    rows = json.loads(genir("search", "--model", trained.model, "Where is Lima?", "--json").out)
    assert rows
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    table, tokenizer = load_identifiers(trained.docids), TrainedModel.load(trained.model).model.tokenizer
    for row in rows:
        text = tokenizer.decode(list(table.tokens_of(row["doc_id"])))
        assert 1 <= len(row["ngrams"].split(" | ")) <= 3
        assert row["ngrams"].split(" | ")[0] in text
    assert genir("search", "--model", trained.model, "--retriever", "ngram", "Where is Lima?").code == 0


def test_a_second_run_reuses_both_stages_and_another_scheme_leaves_nothing_behind(
    trained: Journey, tmp_path: Path
) -> None:
    for again in (trained.build("ngram"), trained.train(config_of(trained, "seq2seq", LONGER))):
        assert again.err.endswith("from the same inputs and settings, reused\n")
    docids = Path(shutil.copytree(trained.docids, tmp_path / "docids"))
    assert trained.build("atomic", out=docids).out.startswith(f"{docids}: atomic, ")
    assert not (docids / "ngrams.safetensors").exists()
    assert trained.build("ngram", out=docids).code == 0
    assert (docids / "ngrams.safetensors").is_file()


def test_faults_say_what_to_do(trained: Journey, tmp_path: Path) -> None:
    where = ("--data", trained.data, "--docids", trained.docids, "--out", tmp_path / "new")
    fault = genir("train", *where, "--config", trained.config()).fault
    assert fault.startswith(
        "n-gram identifiers are pieces of text, which code_decoder does not write: set architecture"
    )
    config = config_of(trained, "seq2seq")
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace(f'tokenizer = "{trained.encoder}"', 'tokenizer = "t5-small"'))
    fault = genir("train", *where, "--config", other).fault
    assert fault.startswith(f"the identifiers are written in tokens of '{trained.encoder}', but the model reads")
    other.write_text(config.read_text().replace("spans = 2", "spans = 0"))
    assert "impossible ngram: " in genir("train", *where, "--config", other).fault
    assert not (tmp_path / "new").exists()

    search = ("search", "a question", "--model", trained.model)
    fault = genir(*search, "--length-penalty", "1", "--scoring", "allowed").fault
    assert fault.startswith("--scoring, --length-penalty: not for a model of n-grams, whose scores are")
    assert genir(*search, "--num-beams", "2").code == 0
    fault = genir("search", "a question", "--data", trained.data, "--retriever", "ngram").fault
    assert fault == "the ngram retriever needs a trained model: give --model DIR (made by `genir train`)"
    fault = genir(
        "docids", "build", "--data", trained.data, "--scheme", "ngram", "--set", "longest=0", *where[4:]
    ).fault
    assert fault == "n-gram identifiers have one token or more: expected longest >= 1, got 0"


def test_ngrams_of_a_model_that_writes_other_identifiers(finished: Journey) -> None:
    fault = genir("search", "a question", "--model", finished.model, "--retriever", "ngram").fault
    assert fault.startswith(f"{finished.model}: writes atomic identifiers, not n-grams: search it with --retriever gen")


def test_a_broken_index_in_a_model_folder(trained: Journey, tmp_path: Path) -> None:
    model = Path(shutil.copytree(trained.model, tmp_path / "model"))
    index = model / "docids" / "ngrams.safetensors"
    index.write_bytes(index.read_bytes()[:-1] + b"\xff")
    fault = genir("search", "a question", "--model", model).fault
    assert fault.startswith(f"{index}: damaged FM-index: its checksum does not fit its content")


def test_equal_texts_are_warned_of(trained: Journey, tmp_path: Path) -> None:
    corpus = tuple(Document(f"d{i}", "the very same text") for i in range(3))
    write_dataset(Dataset("twins", corpus, {}), tmp_path / "data")
    built = genir(
        *("docids", "build", "--data", tmp_path / "data", "--out", tmp_path / "docids", "--scheme", "ngram"),
        *("--set", f"tokenizer={trained.encoder}"),
    )
    assert built.code == 0
    assert any("3 of 3 documents have no n-gram of up to 10 tokens to themselves" in said for said in built.warnings)
