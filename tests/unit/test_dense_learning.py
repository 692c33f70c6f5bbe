"""`genir train-dense` and `genir tune`, end to end on a data set of twelve towns and an encoder of random weights."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
import torch

from experiments.quality.tuned_baselines import build_baselines, build_dense
from experiments.retrieval import build_retriever
from experiments.training.dense import (
    Questions,
    _at_most,
    _dev_pool,
    _training_and_dev,
    fields_read,
    read_config,
    training_seconds,
)
from experiments.training.shares import keep_the_least
from genir.checkpoint import Progress
from genir.embedding import TextEncoder, load_encoder
from genir.errors import DataError
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from genir.training import train
from retrievers.bi_encoder import BiEncoder
from retrievers.bm25 import BM25Retriever, BM25Settings
from retrievers.dense import DenseRetriever
from retrievers.dense_training import DenseConfig
from tests.tiny_journey import Outcome, genir
from tests.tiny_text_models import save_tiny_bert

TOWNS = ("Oslo", "Lima", "Cairo", "Quito", "Paris", "Rome", "Hanoi", "Accra", "Doha", "Sofia", "Bern", "Riga")
QUICK = (
    "passage_tokens=32",
    "query_tokens=32",
    "training.epochs=2",
    "training.batch_size=4",
    "training.precision=float32",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("encoder"), 16)


@pytest.fixture(scope="module")
def towns() -> Dataset:
    corpus = tuple(Document(f"d{i}", f"{name} lies far away.", name) for i, name in enumerate(TOWNS))
    queries = {f"q{i}": Query(f"q{i}", f"where is {name}") for i, name in enumerate(TOWNS)}
    judged = {f"q{i}": {f"d{i}": 1} for i in range(len(TOWNS))}
    parts = {"train": range(0, 8), "dev": range(8, 10), "test": range(10, 12)}
    qrels = {split: Qrels({f"q{i}": judged[f"q{i}"] for i in part}) for split, part in parts.items()}
    return Dataset("towns", corpus, queries, qrels)


@pytest.fixture(scope="module")
def data(towns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "towns"
    write_dataset(towns, folder)
    return folder


def train_dense(data: Path, out: Path, encoder: Path, *options: str, settings: Sequence[str] = QUICK) -> Outcome:
    chosen = [part for setting in settings for part in ("--set", setting)]
    return genir("train-dense", "--data", data, "--out", out, "--encoder", encoder, *chosen, *options)


def test_the_folder_is_an_encoder_that_every_command_takes(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = train_dense(data, out, encoder)
    assert (done.code, done.warnings) == (0, ())
    assert done.out.startswith(f"{out}: 8 pairs, ")
    assert "nDCG@10 of 2 dev queries among 12 documents" in done.out
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "manifest.json", "training.json"} <= names
    assert not names & {"checkpoint.safetensors", "best.safetensors"}
    history = json.loads((out / "training.json").read_text())["history"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert [point["step"] for point in history] == [0, 2, 4]
    assert manifest["facts"]["best_dev"] == max(point["dev"] for point in history)
    assert set(manifest["inputs"]) == {"corpus", "queries", "qrels/train", "qrels/dev", "pretrained"}  # no test split
    assert TextEncoder(str(out)).encode(["Oslo"]).shape == (1, 16)
    run = tmp_path / "runs" / "dense.trec"
    where = ("--data", data, "--split", "test", "--out", run)
    assert genir("search", *where, "--retriever", "dense", "--encoder", out).code == 0
    cost = json.loads(run.with_suffix(".json").read_text())
    assert cost["settings"]["training_seconds"] == manifest["facts"]["seconds"]
    assert cost["cost"]["build_seconds"] >= cost["settings"]["training_seconds"]
    again = train_dense(data, out, encoder)
    assert again.code == 0
    assert "reused" in again.err


def test_the_least_of_what_is_as_good_on_dev_is_kept(data: Path, encoder: Path, tmp_path: Path) -> None:
    longer = (*QUICK, "training.epochs=12", "training.learning_rate=1e-3")
    assert train_dense(data, tmp_path / "whole", encoder, settings=longer).code == 0
    done = train_dense(data, tmp_path / "part", encoder, settings=(*longer, "shares=[0.25, 0.5, 1.0]"))
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "part" / "manifest.json").read_text())["facts"]
    assert list(facts["shares_dev"]) == ["0.25", "0.5", "1"]
    assert (", at " in done.out) is (facts["share"] < 1)
    assert facts["best_dev"] == facts["shares_dev"][f"{facts['share']:g}"] >= facts["start_dev"]
    states = [load_encoder(str(folder))[1].state_dict() for folder in (encoder, tmp_path / "whole", tmp_path / "part")]
    for name, weight in states[2].items():
        if weight.is_floating_point():
            assert torch.equal(weight, torch.lerp(states[0][name].float(), states[1][name], facts["share"])), name


@pytest.mark.parametrize(
    ("half", "kept"),
    [
        ((1.0, 1.0, 0.0, 0.5), 0.5),  # .125 below the best, with a standard error of .125
        ((0.5, 0.5, 0.5, 0.5), 1.0),  # .25 below, with one of .144
        ((1.0, 1.0, 1.0, 1.0), 0.5),  # the best itself
    ],
)
def test_the_noise_of_the_questions_decides_about_shares(encoder: Path, half: tuple[float, ...], kept: float) -> None:
    config = DenseConfig(str(encoder), 32, 32, shares=(1.0, 0.5))
    model = BiEncoder(str(encoder), 32, 32)
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    found = iter([np.array(half), np.array([1.0, 1.0, 0.5, 0.5])])  # of half the way, and of all of it
    facts = keep_the_least(model, lambda: next(found), 0.5, config)
    assert facts["share"] == kept
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), start[name] + kept)


@pytest.mark.parametrize(
    ("whole", "start"),
    [
        ((1.0, 1.0, 0.5, 0.5), 0.7),  # half the way finds .625
        ((1.0, 1.0, 0.5, 0.0), 0.7),  # so does all of it, on another machine than it was learnt on
    ],
)
def test_no_share_is_kept_that_is_below_the_start(encoder: Path, whole: tuple[float, ...], start: float) -> None:
    config = DenseConfig(str(encoder), 32, 32, shares=(0.5, 1.0))
    found = iter([np.array([1.0, 1.0, 0.0, 0.5]), np.array(whole)])
    assert keep_the_least(BiEncoder(str(encoder), 32, 32), lambda: next(found), start, config)["share"] == 1.0


def test_all_of_the_way_is_kept_where_nothing_is_found(encoder: Path) -> None:
    config = DenseConfig(str(encoder), 32, 32, shares=(0.5, 1.0))
    assert keep_the_least(BiEncoder(str(encoder), 32, 32), lambda: np.zeros(4), 0.0, config)["share"] == 1.0


def test_titles_are_all_that_training_and_dev_read(
    towns: Dataset, data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}

    def watch(name: str, cls: type[BM25Retriever] | type[DenseRetriever]) -> None:
        build = cls.build

        def watched(self: Any, corpus: Sequence[Document]) -> Any:
            seen.setdefault(name, set()).update(one.title_and_text for one in corpus)
            return build(self, corpus)

        monkeypatch.setattr(cls, "build", watched)

    watch("bm25", BM25Retriever)
    watch("dense", DenseRetriever)  # as a miner, and on dev
    untitled = replace(towns, corpus=(*towns.corpus[:-1], replace(towns.corpus[-1], title="")))
    write_dataset(untitled, tmp_path / "towns")
    settings = (*QUICK, "fields=title", "dev_documents=6")
    assert train_dense(tmp_path / "towns", tmp_path / "out", encoder, settings=settings).code == 0
    read = {*TOWNS[:-1], "Riga lies far away."}
    assert seen == {"bm25": read, "dense": read}


def test_an_encoder_of_titles_is_searched_with_titles(
    towns: Dataset, data: Path, encoder: Path, tmp_path: Path
) -> None:
    assert train_dense(data, tmp_path / "titles", encoder, settings=(*QUICK, "fields=title")).code == 0
    built = build_retriever("dense", towns, data, encoder=str(tmp_path / "titles"))
    assert built.settings["fields"] == "title"
    assert fields_read(str(encoder)) == fields_read("of/nowhere") == "title+text"


class Spelling(TextEncoder):
    """A text's letters, counted: a title is nearest to the question that names it alone."""

    def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
        counts = np.array([[text.lower().count(letter) + 1e-3 for letter in ascii_lowercase] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def test_a_dense_baseline_reads_what_dev_likes_better(
    towns: Dataset, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(towns, queries={key: Query(key, one.text.split()[-1]) for key, one in towns.queries.items()})
    noisy = [replace(one, text=f"{TOWNS[i - 1]} " * 9) for i, one in enumerate(towns.corpus)]
    monkeypatch.setattr("experiments.retrieval.TextEncoder", lambda *_, **__: Spelling(str(encoder)))
    built = build_dense(replace(named, corpus=tuple(noisy)), data, str(encoder), "MRR@10")
    assert built.settings["fields"] == "title"
    assert built.settings["dev"]["MRR@10"]["title"] == 1.0 > built.settings["dev"]["MRR@10"]["title+text"]
    same = [replace(one, title="Town", text=one.title) for one in towns.corpus]
    assert build_dense(replace(named, corpus=tuple(same)), data, str(encoder)).settings["fields"] == "title+text"
    none = [replace(one, title="") for one in towns.corpus]
    settings = build_dense(replace(named, corpus=tuple(none)), data, str(encoder)).settings
    assert settings["fields"] == "title+text"
    assert "dev" not in settings  # nothing to choose from


def test_baselines_with_their_costs(towns: Dataset, data: Path, encoder: Path, tmp_path: Path) -> None:
    made = build_baselines(towns, data, {"dense": str(encoder)}, cache=tmp_path)
    assert set(made.built) == {"bm25_default", "bm25", "dense", "hybrid_dense", "hybrid_dense_rrf"}
    assert made.built["bm25"].settings["tuned_on"] == "train and dev: nDCG@10 1.0000 of 10 queries"
    for one in made.built.values():
        assert one.build_seconds > 0
        assert one.index_bytes > 0
        assert len(one.retriever.search(towns.split("test"), 3).rankings) == 2
    sides = [made.built[name].build_seconds for name in ("bm25", "dense")]
    assert made.built["hybrid_dense"].build_seconds >= sum(sides)
    assert made.built["hybrid_dense"].settings["weight"] == made.hybrids["hybrid_dense"].weight
    with pytest.raises(DataError, match="towns: has no dev split to tune on"):
        build_baselines(replace(towns, qrels={}), data, {})


def test_bm25_settings_reach_the_retriever_and_the_hybrid(towns: Dataset, data: Path, encoder: Path) -> None:
    settings = BM25Settings(k1=2.0, fields=("title",))
    assert build_retriever("bm25", towns, data, bm25=settings).settings["fields"] == ("title",)
    built = build_retriever("hybrid", towns, data, encoder=str(encoder), bm25=settings)
    assert built.retriever.first.settings == settings  # type: ignore[attr-defined]
    assert built.settings["tuned_on"] == "dev: nDCG@10 1.0000 of 2 queries"
    assert built.settings["first"]["fields"] == ("title",)


def test_tune_prints_the_grid_and_writes_it(data: Path, encoder: Path, tmp_path: Path) -> None:
    done = genir("tune", "bm25", "--data", data, "--out", tmp_path / "bm25.json", "--json")
    rows, written = json.loads(done.out), json.loads((tmp_path / "bm25.json").read_text())
    assert (len(rows), len(written["grid"])) == (180, 180)
    assert rows[0] == {"fields": "title+text", "k1": 0.9, "b": 0.4, "value": 1.0}
    assert written["settings"]["fields"] == ["title", "text"]
    done = genir("tune", "hybrid", "--data", data, "--encoder", encoder, "--out", tmp_path / "hybrid.json", "--json")
    assert {row["normalisation"] for row in json.loads(done.out)} == {"min-max", "z", "reciprocal ranks"}
    written = json.loads((tmp_path / "hybrid.json").read_text())
    assert written["normalisation"] in ("min-max", "z")
    assert written["fields"] in ("title+text", "title")


def test_without_training_queries(towns: Dataset, encoder: Path, tmp_path: Path) -> None:
    write_dataset(replace(towns, qrels={"test": towns.qrels["test"]}), tmp_path / "bare")
    fault = train_dense(tmp_path / "bare", tmp_path / "out", encoder).fault
    assert fault.startswith("bare: has no training queries (qrels/train.tsv); add some, or set pseudo_queries to 4")
    assert not (tmp_path / "out").exists()
    settings = (*QUICK, "pseudo_queries=2", "training.epochs=1")
    done = train_dense(tmp_path / "bare", tmp_path / "out", encoder, settings=settings)
    assert done.code == 0, done.err
    assert "dev queries among 12 documents" in done.out  # of pseudo-queries that were held out


def test_training_queries_that_name_unknown_documents(towns: Dataset, encoder: Path, tmp_path: Path) -> None:
    broken = replace(towns, qrels={"train": Qrels({"q0": {"d99": 1}})})
    write_dataset(broken, tmp_path / "broken")
    fault = train_dense(tmp_path / "broken", tmp_path / "out", encoder).fault
    assert "qrels/train.tsv:2: no document has the id 'd99'" in fault


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("hard_negative=2", "train-dense: unknown key 'hard_negative': did you mean 'hard_negatives'?"),
        ("training.epoch=2", "train-dense training: unknown key 'epoch': did you mean 'epochs'?"),
        ("trainin.epochs=2", "setting 'trainin.epochs': unknown table 'trainin': did you mean 'training'?"),
        ("scale=warm", "train-dense scale: expected float, got 'warm'"),
        ('mined_by=["bm52"]', "train-dense mined_by: unknown value 'bm52': did you mean 'bm25'?"),
        ("training.batch_size=0", "impossible training: "),
    ],
)
def test_misspelt_settings(data: Path, encoder: Path, tmp_path: Path, setting: str, fault: str) -> None:
    assert train_dense(data, tmp_path / "out", encoder, settings=[setting]).fault.startswith(fault)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(data: Path, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "already holds other things (notes.txt)" in train_dense(data, tmp_path, encoder).fault
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "checkpoint.safetensors").write_text("")
    assert "holds an unfinished training; go on with --resume" in train_dense(data, tmp_path / "cut", encoder).fault


def test_other_settings_replace_a_finished_encoder_where_asked_for(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    none = (*QUICK[:2], "training.epochs=0", "hard_negatives=0", "training.precision=float32")
    assert train_dense(data, out, encoder, settings=none).code == 0
    (out / "manifest.json").write_text((out / "manifest.json").read_text().replace('"training.json"', '"vocab.txt"'))
    (out / "vocab.txt").write_bytes((out / "training.json").read_bytes())  # a file that the next encoder has none of
    fault = train_dense(data, out, encoder, "--resume").fault
    assert fault.startswith(
        f"{out}: holds a finished encoder of other inputs or settings, or one that lacks a file; give the name of a new "
    )
    assert (out / "vocab.txt").exists()
    assert train_dense(data, out, encoder, "--replace").code == 0
    assert not (out / "vocab.txt").exists()
    assert json.loads((out / "manifest.json").read_text())["config"]["hard_negatives"] == 2


def test_what_an_interrupted_training_took_is_counted(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(*arguments: Any) -> Progress:
        return replace(train(*arguments), earlier_seconds=1000.0)

    monkeypatch.setattr("experiments.training.dense.train", resumed)
    assert train_dense(data, tmp_path / "tuned", encoder).code == 0
    assert 1000 < training_seconds(str(tmp_path / "tuned")) < 1100


def test_a_configuration_file_and_settings_over_it(tmp_path: Path) -> None:
    path = tmp_path / "dense.toml"
    path.write_text('encoder = "one"\nscale = 30\n[training]\nepochs = 7\n')
    config = read_config(path, ["training.seed=3", "hard_negatives=0"], None)
    assert (config.encoder, config.scale, config.hard_negatives) == ("one", 30.0, 0)
    assert (config.training.epochs, config.training.seed, config.training.batch_size) == (7, 3, 16)
    assert read_config(path, [], "other").encoder == "other"
    assert read_config(None) == DenseConfig()


def test_at_most_so_many_pairs(towns: Dataset) -> None:
    asked, _ = _training_and_dev(towns, DenseConfig())
    some = _at_most(asked, 3, 0)
    assert len(some.queries) == len(some.qrels) == 3
    assert _at_most(asked, 3, 0) == some != _at_most(asked, 3, 1)
    assert len(_training_and_dev(towns, DenseConfig(max_pairs=3))[0].queries) == 3


def test_without_a_dev_split_every_tenth_training_query_is_held_out(towns: Dataset) -> None:
    asked, dev = _training_and_dev(replace(towns, qrels={"train": towns.qrels["train"]}), DenseConfig())
    assert [query.query_id for query in dev.queries] == ["q0"]
    assert "q0" not in asked.qrels.judgements
    assert len(asked.queries) == 7


def test_the_dev_pool_holds_what_is_relevant_and_what_is_like_it() -> None:
    corpus = [Document(f"d{i}", "nothing in common") for i in range(30)] + [
        Document("right", "a harbour"), Document("like", "harbour harbour"),
    ]  # fmt: skip
    dev = Questions((Query("q", "which harbour"),), Qrels({"q": {"right": 1}}))
    assert {document.doc_id for document in _dev_pool(corpus, dev, 2)} == {"right", "like"}
    assert len(_dev_pool(corpus, dev, 10)) == 10
    assert len(_dev_pool(corpus, dev, 100)) == 32
