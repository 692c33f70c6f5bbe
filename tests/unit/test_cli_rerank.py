"""`genir train-rerank` and `genir search --rerank`: every kind over any retriever, its settings kept, and what users get wrong."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.training.rerank import RerankConfig
from genir.config import from_mapping
from genir.errors import ConfigError
from genir.formats import read_run
from genir.query_writer import QueryWriterConfig
from genir.query_writer_training import train_writer
from genir.records import Dataset, Document, Qrels, Query
from tests.parity.test_query_likelihood import save_network
from tests.tiny_journey import TRAINING, Journey, Outcome, genir
from tests.unit.test_cross_encoder import save_classifier

TERMS = """
tune = false
hidden = 4
[training]
epochs = 1
batch_size = 4
precision = "float32"
"""
RERANK = """
depth = 6
[training]
hidden = 4
steps = 20
evaluate_every = 10
weight_decays = [0.1]
"""
TOWNS = ("Oslo", "Lima", "Cairo", "Quito", "Sofia", "Tunis")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A journey with a model that has terms (`planned`) and a rerank head (`reranking`). Tests do not change it."""
    corpus = tuple(
        Document(f"d{i}", f"{name} is town number {i}. It lies by a lake.", name) for i, name in enumerate(TOWNS)
    )
    wordings = {"train": "Where is {}?", "dev": "Which number has {}?", "test": "Is {} by a lake?"}
    queries = {
        f"{split}{i}": Query(f"{split}{i}", wording.format(name))
        for split, wording in wordings.items()
        for i, name in enumerate(TOWNS)
    }
    qrels = {split: Qrels({f"{split}{i}": {f"d{i}": 1} for i in range(len(TOWNS))}) for split in wordings}
    made = Journey.begin(tmp_path_factory.mktemp("rerank"), Dataset("towns", corpus, queries, qrels))
    assert made.build("residual", "levels=2", "codes=3").code == 0
    assert made.train(made.config(more=TRAINING.replace("num_beams = 4", "num_beams = 6"))).code == 0
    (made.root / "terms.toml").write_text(TERMS)
    (made.root / "rerank.toml").write_text(RERANK)
    options = ("--data", made.data, "--model", made.model, "--out", made.root / "planned")
    assert genir("train-terms", *options, "--config", made.root / "terms.toml").code == 0
    done = train(made)
    assert done.code == 0, done.err
    assert ": 6 beams, " in done.out
    assert "RR@10 on dev: " in done.out
    return made


def train(journey: Journey, out: str = "reranking", model: str = "planned", data: Path | None = None) -> Outcome:
    where = ("--data", data or journey.data, "--model", journey.root / model, "--out", journey.root / out)
    return genir("train-rerank", *where, "--config", journey.root / "rerank.toml")


def search(journey: Journey, out: Path, *options: object) -> Outcome:
    where = ("--data", journey.data, "--encoder", journey.encoder)
    if {"generative", "head"} & set(options):
        where = (*where, "--model", journey.root / "reranking")
    return genir("search", *where, "--split", "test", "--out", out, "-k", 6, *options)


def test_a_head_is_a_part_of_a_model_folder(journey: Journey) -> None:
    manifest = json.loads((journey.root / "reranking" / "manifest.json").read_text())
    facts = manifest["facts"]
    assert facts["rerank_best_dev"] >= facts["rerank_start_dev"]
    assert facts["rerank_lists"] == 6
    assert manifest["config"]["rerank"]["depth"] == 6
    assert {"rerank/rerank_head.safetensors", "rerank/training.json", "terms/terms.json"} <= manifest["outputs"].keys()
    assert "reused" in train(journey).err
    again = train(journey, "again")
    assert again.code == 0
    files = [journey.root / name / "rerank" / "rerank_head.safetensors" for name in ("reranking", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_terms_have_no_head(journey: Journey) -> None:
    options = ("--data", journey.data, "--model", journey.root / "reranking", "--out", journey.root / "other-terms")
    done = genir("train-terms", *options, "--config", journey.root / "terms.toml")
    assert done.code == 0, done.err
    assert not (journey.root / "other-terms" / "rerank").exists()
    facts = json.loads((journey.root / "other-terms" / "manifest.json").read_text())["facts"]
    said = f"{facts['terms_start_dev']:.4f} before training, {facts['terms_best_dev']:.4f} now"
    assert said in done.out
    assert ("training did not raise it: the terms stay as they started" in done.out) != facts["terms_learnt"]
    assert max(facts["sequence_weight_curve"].values()) == facts["terms_best_dev"] >= facts["terms_start_dev"]


@pytest.mark.parametrize("retriever", ["generative", "bm25", "tfidf", "dense", "hybrid"])
def test_a_head_over_any_retriever(journey: Journey, tmp_path: Path, retriever: str) -> None:
    done = search(journey, tmp_path / "run.trec", "--retriever", retriever, "--rerank", "head", "--rerank-depth", 4)
    assert done.code == 0, done.err
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["retriever"] == f"{retriever}+head"
    assert about["settings"]["rerank"] == {
        "kind": "head", "source": "", "depth": 4, "weight": 0.0,
        "weight_tuned_on": "nothing: the head starts from the model's score",
    }  # fmt: skip
    rankings = read_run(tmp_path / "run.trec").rankings
    assert max(map(len, rankings.values())) == 4
    assert about["cost"]["build_seconds"] > 0


def sources(journey: Journey, folder: Path) -> dict[str, Sequence[object]]:
    writer = QueryWriterConfig(str(journey.encoder), 16, 50, 32, 16, epochs=1, batch_size=4)
    train_writer([(Document("x", "Oslo is old.", "Oslo"), "Where is Oslo?")], writer, "cpu")[0].save(folder / "writer")
    return {
        "cross-encoder": ("--rerank", f"cross-encoder:{save_classifier(folder / 'classifier', 1)}"),
        "likelihood": ("--rerank", f"likelihood:{save_network('t5', folder / 't5')}"),
        "writer": ("--rerank", f"writer:{folder / 'writer'}"),
    }


@pytest.mark.parametrize("kind", ["cross-encoder", "likelihood", "writer"])
@pytest.mark.parametrize("retriever", ["bm25", "generative"])
def test_the_weight_is_tuned_on_dev_or_given(journey: Journey, tmp_path: Path, kind: str, retriever: str) -> None:
    options = (*sources(journey, tmp_path)[kind], "--retriever", retriever, "--rerank-depth", 5)
    done = search(journey, tmp_path / "run.trec", *options)
    assert done.code == 0, done.err
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["settings"]["rerank"]["weight_tuned_on"] == "dev, 6 queries"
    assert about["cost"]["bytes"] > about["cost"]["index_bytes"]
    assert search(journey, tmp_path / "run.trec", *options, "--rerank-weight", 1.5).code == 0
    about = json.loads((tmp_path / "run.json").read_text())["settings"]["rerank"]
    assert (about["weight"], about["weight_tuned_on"]) == (1.5, "nothing: given")


def test_one_question(journey: Journey) -> None:
    where = ("--data", journey.data, "--model", journey.root / "reranking")
    found = genir("search", "Where is Lima?", *where, "--rerank", "head", "--json", "-k", 2)
    assert found.code == 0, found.err
    assert len(json.loads(found.out)) == 2


def test_a_data_set_without_dev(journey: Journey, tmp_path: Path) -> None:
    data = Path(shutil.copytree(journey.data, tmp_path / "data"))
    (data / "qrels" / "dev.tsv").unlink()
    done = train(journey, "no-dev", data=data)
    assert done.code == 0, done.err
    assert "RR@10 on held-out training questions: " in done.out
    where = ("--data", data, "--retriever", "bm25", "--split", "test", "--out", tmp_path / "run.trec")
    assert genir("search", *where, *sources(journey, tmp_path)["writer"]).code == 0
    about = json.loads((tmp_path / "run.json").read_text())["settings"]["rerank"]
    assert (about["weight"], about["weight_tuned_on"]) == (0.0, "nothing: no dev split")
    (data / "qrels" / "train.tsv").unlink()
    assert (
        "has no training questions to learn reranking from; add qrels/train.tsv" in train(journey, "x", data=data).fault
    )
    assert not (journey.root / "x").exists()


def test_what_users_get_wrong(journey: Journey, tmp_path: Path) -> None:
    out = tmp_path / "run.trec"
    cases = [
        (
            ("--rerank", "heed"),
            "unknown reranker 'heed': did you mean 'head'? known: cross-encoder, head, likelihood, writer",
        ),
        (("--rerank", "head:x"), "--rerank head:x: expected head alone: it comes with the model"),
        (("--rerank", "writer"), "--rerank writer: expected writer:DIR"),
        (("--rerank-depth", 3), "--rerank-depth: goes with --rerank KIND, which is not given"),
        (("--rerank", f"writer:{tmp_path}"), f"{tmp_path}: no trained query writer"),
        (("--rerank", f"likelihood:{tmp_path / 'none'}"), f"likelihood '{tmp_path / 'none'}': no language model"),
    ]
    for options, fault in cases:
        assert search(journey, out, "--retriever", "bm25", *options).fault.startswith(fault)
    bm25 = ("--data", journey.data, "--retriever", "bm25", "--split", "test", "--out", out, "--rerank", "head")
    assert genir("search", *bm25).fault == (
        "--rerank head needs a model that has one: give --model DIR (made by `genir train-rerank`)"
    )
    assert genir("search", *bm25, "--model", journey.root / "planned").fault == (
        f"{journey.root / 'planned'}: has no rerank head; train one with `genir train-rerank`"
    )
    question = ("search", "Where is Lima?", "--model", journey.root / "reranking", "--rerank", "head")
    assert genir(*question).fault == "--data DIR is needed here: the folder made by `genir data import`"
    assert train(journey, "x", "model").fault == (
        f"{journey.model}: has no terms, which a rerank head is made of; add them with `genir train-terms`"
    )
    assert (
        "is the model that a head is to be added to; give the name of a new folder" in train(journey, "planned").fault
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"depth": 1}, "expected a depth of at least 2, and at least 1 of the others"),
        ({"training": {"stepps": 3}}, "unknown key 'stepps': did you mean 'steps'?"),
    ],
)
def test_bad_configurations(values: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(RerankConfig, values, "rerank.toml")
    assert fault in str(caught.value)
