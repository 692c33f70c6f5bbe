"""`genir experiment run quality`, end to end on twelve towns and an encoder of random weights; and its figures by hand."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.quality.experiment import MEASURES, score
from genir.embedding import TextEncoder
from genir.formats import load_dataset, write_dataset, write_run
from genir.manifest import read_manifest, write_json
from genir.records import Dataset, Document, Qrels, Query, Run, ScoredDoc
from tests.quality_towns import write_config, write_towns
from tests.tiny_journey import genir

SYSTEMS = (
    *("bm25_default", "bm25", "dense", "dense_finetuned", "hybrid_zero_shot", "hybrid"),
    *("generative_sequence_only", "generative", "generative_terms_only", "generative_random_ids"),
    "hybrid_terms",
)
LEARNT_FROM = 5  # of seven training questions


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_towns(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"), seeds=(3, 4), questions=LEARNT_FROM)


@pytest.fixture(scope="module")
def embedded() -> Iterator[list[tuple[str, ...]]]:
    """What was embedded, call by call, in this module."""
    calls: list[tuple[str, ...]] = []
    encode = TextEncoder._encode

    def spied(self: TextEncoder, texts: Sequence[str], progress: str) -> Any:
        calls.append(tuple(texts))
        return encode(self, texts, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextEncoder, "_encode", spied)
        yield calls


@pytest.fixture(scope="module")
def work(data: Path, config: Path, embedded: list[tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    arguments = ("--dataset", data, "--out", folder / "out", "--work", folder / "work", "--config", config)
    done = genir("experiment", "run", "quality", *arguments)
    assert done.code == 0, done.err
    for shown in ("generative_sequence_only", "towns (spring), seen", "towns (spring), unseen", "against hybrid"):
        assert shown in done.out
    before = len(embedded)
    again = genir("experiment", "run", "quality", *arguments, "--json")
    assert again.code == 0, again.err
    assert len(embedded) == before  # finished runs are taken
    names = [row["data"] for row in json.loads(again.out)]
    assert names == ["towns", "towns (spring)", "towns (spring), seen", "towns (spring), unseen"] or names == [
        *("towns (spring)", "towns (spring), seen", "towns (spring), unseen", "towns"),
    ]
    return folder


@pytest.fixture(scope="module")
def details(work: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / "out" / "towns.json").read_text(encoding="utf-8"))
    return found


def settings_of(work: Path, system: str, split: str = "test") -> list[dict[str, Any]]:
    """The settings of a system's runs."""
    files = sorted((work / "work" / "runs" / split).glob(f"{system}-????????.json"))
    return [json.loads(file.read_text(encoding="utf-8"))["settings"] for file in files]


def test_the_summary_holds_every_system_with_intervals_and_tests(work: Path) -> None:
    summary = json.loads((work / "out" / "summary.json").read_text(encoding="utf-8"))
    assert set(summary) == {"towns", "towns (spring)"}
    for systems in summary.values():
        assert set(systems) == set(SYSTEMS)
        for system, measures in systems.items():
            for found in measures.values():
                assert found["low"] <= found["mean"] <= found["high"]
                against = ("bm25", "dense_finetuned", "hybrid", "hybrid_terms")
                assert {f"p_{first}" for first in against if first != system} <= set(found)
    assert summary["towns"]["bm25"]["Success@1"]["mean"] == 1.0


def test_details_split_seen_from_unseen_with_intervals_and_tests(details: dict[str, Any]) -> None:
    spring = details["splits"]["spring"]
    assert spring["queries"] == 3
    assert 0 < spring["seen_queries"] < 3
    share = spring["seen_queries"] / 3
    for measure in ("Success@1", "nDCG@10"):
        seen, unseen = (spring["parts"][part]["generative"][measure] for part in ("seen", "unseen"))
        mean = spring["rows"]["generative"][measure]["mean"]
        assert mean == pytest.approx(share * seen["mean"] + (1 - share) * unseen["mean"])
        for found in (seen, unseen):
            assert found["low"] <= found["mean"] <= found["high"]
            assert {"p_bm25", "p_hybrid", "p_bm25_corrected", "p_hybrid_corrected"} <= set(found)
    assert set(details["splits"]["test"]["parts"]) == {"unseen"}


def test_all_systems_learn_from_the_same_questions(work: Path, details: dict[str, Any]) -> None:
    assert details["questions"] == LEARNT_FROM
    systems = details["systems"]
    trainings = ("dense_finetuned", "generative", "generative_sequence_only")
    assert all({"made_at", "git_commit", "history"} <= set(systems[f"{one}, seed 3"]) for one in trainings)
    for seed in (3, 4):
        assert systems[f"dense_finetuned, seed {seed}"]["training"]["pairs"] == LEARNT_FROM
        codes = systems[f"generative_sequence_only, seed {seed}"]["training"]
        assert codes["material"]["examples"] == {"query": LEARNT_FROM}
        assert systems[f"generative, seed {seed}"]["training"]["terms_examples"] == LEARNT_FROM
    [folder] = (work / "work" / "data").glob("*/towns")
    assert len(load_dataset(folder).qrels["train"]) == LEARNT_FROM
    inputs: dict[str, set[str]] = {"encoders": set(), "models": set()}
    for kind, found in inputs.items():
        for made in (work / "work" / kind).iterdir():
            manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
            found.add(manifest["inputs"]["qrels/train"])
    assert len(inputs["encoders"]) == 1
    assert inputs["encoders"] == inputs["models"]


def test_every_seed_fine_tunes_an_encoder_and_starts_its_models_from_it(work: Path) -> None:
    encoders = {
        str(path): json.loads((path / "manifest.json").read_text(encoding="utf-8"))["seed"]
        for path in (work / "work" / "encoders").iterdir()
    }
    assert sorted(encoders.values()) == [3, 4]
    models = [read_manifest(path, "model", "") for path in (work / "work" / "models").iterdir()]
    assert len(models) == 5  # codes, codes with terms, and once the control
    for model in models:
        assert encoders[model["config"]["code_decoder"]["encoder"]] == model["config"]["training"]["seed"]
    assert len(settings_of(work, "dense_finetuned")) == len(settings_of(work, "hybrid")) == 2
    assert len(settings_of(work, "dense")) == len(settings_of(work, "hybrid_zero_shot")) == 1


def test_a_system_is_what_it_is_called(work: Path, details: dict[str, Any]) -> None:
    assert all(one["training_seconds"] > 0 for one in settings_of(work, "dense_finetuned"))
    assert all(one["second"]["training_seconds"] > 0 for one in settings_of(work, "hybrid"))
    assert all(one["training_seconds"] == 0 for one in settings_of(work, "dense"))
    assert all(one["second"]["training_seconds"] == 0 for one in settings_of(work, "hybrid_zero_shot"))
    systems = details["systems"]
    assert systems["generative_random_ids, seed 3"]["identifiers"]["scheme"] == "random"
    assert systems["generative_random_ids, seed 3"]["training"]["scheme"] == "random"
    assert systems["generative_sequence_only, seed 3"]["training"]["scheme"] == "residual"
    [control] = (work / "work" / "models").glob("random-*")
    scheme = json.loads((control / "docids" / "scheme.json").read_text(encoding="utf-8"))
    assert scheme["settings"] == {
        "levels": 2,
        "codes": 4,
        "seed": 3,
    }  # of the shape that ["levels = 2", "codes = 4"] says


def test_a_model_costs_what_it_was_made_of(details: dict[str, Any]) -> None:
    systems, costs = details["systems"], details["splits"]["test"]["costs"]
    assert {name: len(found) for name, found in costs.items() if len(found) != 2} == {
        **dict.fromkeys(("bm25_default", "bm25", "dense", "hybrid_zero_shot", "generative_random_ids"), 1)
    }
    compared = (*SYSTEMS[6:9], "hybrid_terms")  # codes, whole, terms alone, these mixed with the encoder
    for seed, codes, whole, alone, mixed in zip((3, 4), *(costs[name] for name in compared), strict=True):
        encoder = systems[f"dense_finetuned, seed {seed}"]["training"]["seconds"]
        made = systems[f"generative_sequence_only, seed {seed}"]
        parts = encoder + made["identifiers"]["seconds"]
        assert encoder > 0
        assert codes["build_seconds"] == pytest.approx(parts + made["training"]["seconds"], abs=0.011)
        planned = systems[f"generative, seed {seed}"]["training"]
        assert whole["build_seconds"] == pytest.approx(parts + planned["seconds"], abs=0.011)
        assert alone["build_seconds"] == whole["build_seconds"]
        assert mixed["build_seconds"] > alone["build_seconds"]
        assert whole["bytes"] > codes["bytes"]
    assert all(cost["bytes"] > 0 for runs in costs.values() for cost in runs)


def test_what_is_timed_embeds_for_itself(work: Path, embedded: list[tuple[str, ...]]) -> None:
    test = tuple(f"where is {town}" for town in ("Sofia", "Bern", "Riga"))
    documents = [call for call in embedded if len(call) == 12]
    # dense as it comes and fine-tuned twice, each alone and in a hybrid; fine-tuned twice beside the model's terms
    assert sum(set(call) == set(test) for call in embedded) == 8
    assert len(documents) >= 3 + 2 + 2  # three indices; two minings; identifiers of two seeds
    assert not list((work / "work" / "cache").glob("*.safetensors"))


def test_another_data_set_joins_the_summary(data: Path, config: Path, work: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text('{"elsewhere": {}}', encoding="utf-8")
    done = genir(
        *("experiment", "run", "quality", "--dataset", data, "--out", tmp_path),
        *("--work", work / "work", "--config", config),
    )
    assert done.code == 0, done.err
    assert set(json.loads(summary.read_text(encoding="utf-8"))) == {"elsewhere", "towns", "towns (spring)"}
    manifest = json.loads((tmp_path / "towns.manifest.json").read_text(encoding="utf-8"))
    assert manifest["stage"] == "experiment quality"


def test_a_broken_summary_is_refused_before_anything_is_made(data: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("hello", encoding="utf-8")
    options = ("--dataset", data, "--out", tmp_path, "--work", tmp_path / "work", "--config", config)
    fault = f"{tmp_path / 'summary.json'}: not a summary of figures; give the name of a new folder"
    assert genir("experiment", "run", "quality", *options).fault == fault
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_model_with_terms_is_searched_with_or_without_them(data: Path, work: Path, tmp_path: Path) -> None:
    model = next((work / "work" / "models").glob("residual-*-terms-*"))
    facts = read_manifest(model, "model", "")["facts"]
    assert facts["terms"] > 0
    assert facts["seconds"] > facts["terms_seconds"]
    with_terms = genir("search", "where is Riga", "--model", model, "-k", "3", "--json")
    without = genir("search", "where is Riga", "--model", model, "-k", "3", "--json", "--no-terms")
    assert json.loads(with_terms.out)[0]["doc_id"] == "d11"
    assert [row["score"] for row in json.loads(with_terms.out)] != [row["score"] for row in json.loads(without.out)]
    [folder] = (work / "work" / "data").glob("*/towns")
    run = tmp_path / "plain.trec"
    done = genir("search", "--model", model, "--data", folder, "--split", "test", "--out", run, "--no-terms")
    assert done.code == 0, done.err
    settings = json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
    assert (settings["terms"], settings["look_ahead"]) == (False, True)
    done = genir("search", "--model", model, "--data", folder, "--split", "test", "--out", run, "--no-look-ahead")
    assert done.code == 0, done.err
    settings = json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
    assert (settings["terms"], settings["look_ahead"]) == (True, False)


def test_terms_are_trained_once_and_never_over_their_own_model(data: Path, work: Path, tmp_path: Path) -> None:
    model = next(path for path in (work / "work" / "models").glob("residual-*") if "terms" not in path.name)
    [data] = (work / "work" / "data").glob("*/towns")
    same = genir("train-terms", "--data", data, "--model", model, "--out", model)
    assert "the name of a new folder" in same.fault
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine", encoding="utf-8")
    taken = genir("train-terms", "--data", data, "--model", model, "--out", foreign)
    assert "already holds other things (thesis.txt)" in taken.fault
    misspelt = tmp_path / "terms.toml"
    misspelt.write_text("[sets]\nphrase_wait = 1.0\n", encoding="utf-8")
    options = ("--out", tmp_path / "new", "--config", misspelt)
    assert "phrase_weight" in genir("train-terms", "--data", data, "--model", model, *options).fault


def test_faults_of_the_experiment_are_one_line(data: Path, tmp_path: Path) -> None:
    unknown = genir("experiment", "run", "qualty", "--dataset", data, "--out", tmp_path)
    assert "quality" in unknown.fault
    missing = genir("experiment", "run", "quality", "--dataset", tmp_path / "nowhere", "--out", tmp_path)
    assert "nowhere" in missing.fault
    for split, fault in (("dev", "has no dev split to tune on; add qrels/dev.tsv"), ("test", "no split to compare on")):
        dataset = load_dataset(data)
        kept = {name: qrels for name, qrels in dataset.qrels.items() if name not in (split, "spring")}
        bare = tmp_path / f"without-{split}"
        write_dataset(Dataset("bare", dataset.corpus, dataset.queries, kept), bare)
        place = tmp_path / "work"
        done = genir("experiment", "run", "quality", "--dataset", bare, "--out", tmp_path / "out", "--work", place)
        assert fault in done.fault
        assert not place.exists()  # told before anything is trained


@pytest.fixture
def scored(tmp_path: Path) -> tuple[dict[str, list[Path]], Dataset]:
    """Four questions, each with one right document; runs of one document a question, right (1) or wrong (0)."""
    corpus = tuple(Document(f"d{i}", "text") for i in range(5))
    queries = {f"q{i}": Query(f"q{i}", "question") for i in range(5)}
    test = Qrels({f"q{i}": {f"d{i}": 1} for i in range(4)})
    dataset = Dataset("hand", corpus, queries, {"train": Qrels({"q4": {"d0": 1, "d1": 1}}), "test": test})
    right = {"bm25": ["0000"], "hybrid": ["0011"], "generative": ["1110", "1111"]}
    paths: dict[str, list[Path]] = {}
    for name, runs in right.items():
        for number, row in enumerate(runs):
            found = {f"q{i}": (ScoredDoc(f"d{i}" if one == "1" else "d4", 1.0),) for i, one in enumerate(row)}
            path = tmp_path / f"{name}-{number}.trec"
            write_run(Run(name, found), path)
            write_json(path.with_suffix(".json"), {"cost": {"bytes": number}})
            paths.setdefault(name, []).append(path)
    return paths, dataset


def test_figures_by_hand(scored: tuple[dict[str, list[Path]], Dataset]) -> None:
    summary, details = score(*scored, "test")
    found = {name: measures["Success@1"] for name, measures in summary.items()}
    # The mean over two seeds: 1, 1, 1, .5
    assert [found[name]["mean"] for name in ("bm25", "hybrid", "generative")] == [0.0, 0.5, 0.875]
    # Of 16 patterns of signs two are as far out as 1 + 1 + 1 + .5.
    assert found["generative"]["p_bm25"] == 2 / 16
    # Differences 1, 1, 0, -.5: of 8 patterns those with |sum| >= 1.5.
    assert found["generative"]["p_hybrid"] == 4 / 8
    assert found["hybrid"]["p_bm25"] == found["bm25"]["p_hybrid"] == 2 / 4
    # Two systems by four measures, all alike: the smallest p counts eight times, the others up to it.
    assert found["generative"]["p_bm25_corrected"] == min(1, 8 * 2 / 16)
    assert "p_bm25" not in found["bm25"]
    assert details["costs"]["generative"] == [{"bytes": 0}, {"bytes": 1}]
    assert set(summary["generative"]) == set(MEASURES)


def test_parts_by_hand(scored: tuple[dict[str, list[Path]], Dataset]) -> None:
    _, details = score(*scored, "test")
    assert details["seen_queries"] == 2
    seen, unseen = (details["parts"][part]["generative"]["Success@1"] for part in ("seen", "unseen"))
    assert (seen["mean"], seen["low"], seen["high"]) == (1.0, 1.0, 1.0)
    assert (seen["p_bm25"], seen["p_hybrid"]) == (2 / 4, 2 / 4)
    assert (unseen["mean"], unseen["low"], unseen["high"]) == (0.75, 0.5, 1.0)
    assert (unseen["p_bm25"], unseen["p_hybrid"]) == (2 / 4, 1.0)


def test_only_the_tests_that_are_asked_for(scored: tuple[dict[str, list[Path]], Dataset]) -> None:
    summary, _ = score(*scored, "test", {"hybrid": ["generative"]})
    assert summary["generative"]["Success@1"]["p_hybrid_corrected"] == 1.0
    for name in ("bm25", "hybrid"):
        assert set(summary[name]["Success@1"]) == {"mean", "low", "high"}
