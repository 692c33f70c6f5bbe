"""`genir train-terms` and `genir experiment run quality`, end to end on twelve towns and an encoder of random weights."""

import json
from pathlib import Path

import pytest

from experiments.experiment_labels import take_share
from genir.formats import load_dataset, write_dataset
from genir.manifest import read_manifest
from genir.records import Dataset, Document, Qrels, Query
from tests.tiny_journey import genir
from tests.tiny_text_models import save_tiny_bert

TOWNS = ("Oslo", "Lima", "Cairo", "Quito", "Paris", "Rome", "Hanoi", "Accra", "Doha", "Sofia", "Bern", "Riga")
CONFIG = """
seeds = [0, 1]
encoder = "{encoder}"
scheme = ["levels=2", "codes=4"]
[dense]
passage_tokens = 32
query_tokens = 32
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
[sequence]
code_decoder = {{ heads = 2, feedforward = 16, max_text_tokens = 32 }}
examples = {{ passages = 0, pseudo_query_weight = 0.0 }}
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
search = {{ num_beams = 4 }}
[terms]
training = {{ epochs = 1, batch_size = 4, precision = "float32" }}
"""
SYSTEMS = (
    *("bm25_default", "bm25", "dense", "dense_finetuned", "hybrid_zero_shot", "hybrid"),
    *("generative_sequence_only", "generative", "generative_terms_only", "generative_random_ids"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tuple(Document(f"d{i}", f"{name} lies far away.", name) for i, name in enumerate(TOWNS))
    queries = {f"q{i}": Query(f"q{i}", f"where is {name}") for i, name in enumerate(TOWNS)}
    parts = {"train": range(0, 7), "dev": range(5, 9), "test": (9, 10, 11), "spring": (1, 2, 10)}
    qrels = {split: Qrels({f"q{i}": {f"d{i}": 1} for i in part}) for split, part in parts.items()}
    folder = tmp_path_factory.mktemp("data") / "towns"
    write_dataset(Dataset("towns", corpus, queries, qrels), folder)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    path = folder / "quality.toml"
    path.write_text(CONFIG.format(encoder=save_tiny_bert(folder / "encoder", 16)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def work(data: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    arguments = ("--dataset", data, "--out", folder / "out", "--work", folder / "work", "--config", config)
    done = genir("experiment", "run", "quality", *arguments)
    assert done.code == 0, done.err
    assert "generative_sequence_only" in done.out
    again = genir("experiment", "run", "quality", *arguments, "--json")
    assert again.code == 0
    assert {row["data"] for row in json.loads(again.out)} == {"towns", "towns (spring)"}
    return folder


def test_the_summary_holds_every_system_with_intervals_and_tests(work: Path) -> None:
    summary = json.loads((work / "out" / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) == {"towns", "towns (spring)"}
    for systems in summary.values():
        assert set(systems) == set(SYSTEMS)
        for system, measures in systems.items():
            for found in measures.values():
                assert found["low"] <= found["mean"] <= found["high"]
                assert {f"p_{first}" for first in ("bm25", "hybrid") if first != system} <= set(found)
    assert summary["towns"]["bm25"]["Success@1"]["mean"] == 1.0


def test_details_split_seen_from_unseen_and_count_the_costs(work: Path) -> None:
    details = json.loads((work / "out" / "towns.json").read_text(encoding="utf-8"))
    spring = details["splits"]["spring"]
    assert (spring["queries"], spring["seen_queries"]) == (3, 2)
    for measure in ("Success@1", "nDCG@10"):
        both = [spring["parts"][part]["generative"][measure] for part in ("seen", "unseen")]
        mean = spring["rows"]["generative"][measure]["mean"]
        assert mean == pytest.approx((2 * both[0] + both[1]) / 3)
    assert set(details["splits"]["test"]["parts"]) == {"unseen"}
    costs = details["splits"]["test"]["costs"]
    assert len(costs["generative"]) == 2
    assert all(cost["bytes"] > 0 for runs in costs.values() for cost in runs)
    assert all(cost["build_seconds"] > 0 for cost in costs["generative"] + costs["dense_finetuned"])
    assert costs["generative"][0]["bytes"] > costs["generative_sequence_only"][0]["bytes"]
    assert (
        json.loads((work / "out" / "towns.manifest.json").read_text(encoding="utf-8"))["stage"] == "experiment quality"
    )


def test_another_data_set_joins_the_summary(data: Path, config: Path, work: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text('{"elsewhere": {}}', encoding="utf-8")
    done = genir(
        *("experiment", "run", "quality", "--dataset", data, "--out", tmp_path),
        *("--work", work / "work", "--config", config),
    )
    assert done.code == 0, done.err
    assert set(json.loads(summary.read_text(encoding="utf-8"))) == {"elsewhere", "towns", "towns (spring)"}


def test_a_model_with_terms_is_searched_with_or_without_them(data: Path, work: Path, tmp_path: Path) -> None:
    model = next((work / "work" / "models").glob("residual-*-terms-*"))
    facts = read_manifest(model, "model", "")["facts"]
    assert facts["terms"] > 0
    assert facts["seconds"] > facts["terms_seconds"]
    with_terms = genir("search", "where is Riga", "--model", model, "-k", "3", "--json")
    without = genir("search", "where is Riga", "--model", model, "-k", "3", "--json", "--no-terms")
    assert json.loads(with_terms.out)[0]["doc_id"] == "d11"
    assert [row["score"] for row in json.loads(with_terms.out)] != [row["score"] for row in json.loads(without.out)]
    run = tmp_path / "plain.trec"
    done = genir("search", "--model", model, "--data", data, "--split", "test", "--out", run, "--no-terms")
    assert done.code == 0
    assert json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["settings"]["terms"] is False


def test_terms_are_trained_once_and_never_over_their_own_model(data: Path, work: Path, tmp_path: Path) -> None:
    model = next(path for path in (work / "work" / "models").glob("residual-*") if "terms" not in path.name)
    same = genir("train-terms", "--data", data, "--model", model, "--out", model)
    assert "the name of a new folder" in same.fault
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    taken = genir("train-terms", "--data", data, "--model", model, "--out", foreign)
    assert "already holds other things (thesis.txt)" in taken.fault
    misspelt = tmp_path / "terms.toml"
    misspelt.write_text("[sets]\nphrase_wait = 1.0\n", encoding="utf-8")
    assert (
        "phrase_weight"
        in genir(
            *("train-terms", "--data", data, "--model", model, "--out", tmp_path / "new", "--config", misspelt)
        ).fault
    )


def test_faults_of_the_experiment_are_one_line(data: Path, config: Path, tmp_path: Path) -> None:
    unknown = genir("experiment", "run", "qualty", "--dataset", data, "--out", tmp_path)
    assert "quality" in unknown.fault
    missing = genir("experiment", "run", "quality", "--dataset", tmp_path / "nowhere", "--out", tmp_path)
    assert "nowhere" in missing.fault
    seeds = tmp_path / "seeds.toml"
    seeds.write_text("seeds = [1, 1]\n", encoding="utf-8")
    repeated = genir("experiment", "run", "quality", "--dataset", data, "--out", tmp_path, "--config", seeds)
    assert "each once" in repeated.fault


def test_an_ablation_changes_one_switch_a_row_and_shares_the_rest(
    data: Path, config: Path, work: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "ablation.toml"
    text = config.read_text(encoding="utf-8").replace("seeds = [0, 1]", "seeds = [0]")
    rows.write_text(text + '[rows."no phrases".terms.sets]\nphrase_weight = 0.0\n', encoding="utf-8")
    before = set((work / "work" / "models").iterdir())
    done = genir(
        *("experiment", "run", "ablation", "--dataset", data, "--out", tmp_path / "out"),
        *("--work", work / "work", "--config", rows),
    )
    assert done.code == 0, done.err
    assert len(set((work / "work" / "models").iterdir()) - before) == 1  # the codes are those of the whole
    found = json.loads((tmp_path / "out" / "ablation-towns.json").read_text(encoding="utf-8"))
    assert set(found["splits"]["test"]) == {
        *("whole", "whole, codes alone", "no phrases", "no phrases, codes alone"),
    }
    assert "p_whole" in found["splits"]["test"]["no phrases"]["RR@10"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "needs --config FILE"),
        ("seeds = [0]\n", "no rows"),
        ("[rows.whole]\n", "rename it"),
        ("[rows.other.terms]\nhiden = 3\n", "row 'other'"),
    ],
)
def test_an_ablation_without_proper_rows_is_refused(data: Path, tmp_path: Path, text: str | None, fault: str) -> None:
    options: tuple[object, ...] = ()
    if text is not None:
        (tmp_path / "rows.toml").write_text(text, encoding="utf-8")
        options = ("--config", tmp_path / "rows.toml")
    done = genir("experiment", "run", "ablation", "--dataset", data, "--out", tmp_path / "out", *options)
    assert fault in done.fault


def test_labels_are_taken_away_and_the_fewer_lie_among_the_more(
    data: Path, config: Path, work: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(data)
    half, whole = take_share(dataset, 0.5, 0), take_share(dataset, 1.0, 0)
    few = take_share(dataset, 0.15, 0)
    assert set(few.qrels["train"]) < set(half.qrels["train"]) < set(whole.qrels["train"])
    assert whole.queries == dataset.queries
    assert set(dataset.qrels["dev"]) | set(dataset.qrels["test"]) < set(half.queries)
    shares = tmp_path / "labels.toml"
    text = config.read_text(encoding="utf-8").replace("seeds = [0, 1]", "seeds = [0]\nshares = [0.5]")
    shares.write_text(text, encoding="utf-8")
    done = genir(
        *("experiment", "run", "labels", "--dataset", data, "--out", tmp_path / "out"),
        *("--work", tmp_path / "work", "--config", shares),
    )
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "labels-towns.json").read_text(encoding="utf-8"))
    assert set(found) == {"towns, 50%", "towns (spring), 50%"}
    assert set(found["towns, 50%"]) == set(SYSTEMS) - {"generative_random_ids"}
