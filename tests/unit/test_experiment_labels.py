"""`genir experiment run labels`, end to end on twelve towns: every share learns from its own questions and no others."""

import json
from pathlib import Path

import pytest

from tests.quality_towns import write_config, write_towns
from tests.tiny_journey import genir

SYSTEMS = {
    *("bm25_default", "bm25", "dense", "dense_finetuned", "hybrid_zero_shot", "hybrid"),
    *("generative_sequence_only", "generative", "generative_terms_only"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    config = write_config(folder, questions=6, top="shares = [0.004, 0.5]\n")
    options = ("--out", folder / "out", "--work", folder / "work", "--config", config)
    ran = genir("experiment", "run", "labels", "--dataset", write_towns(folder), *options)
    assert ran.code == 0, ran.err
    assert "towns (spring), share 0.004" in ran.out
    return folder


def test_every_share_has_its_rows(done: Path) -> None:
    found = json.loads((done / "out" / "labels-towns.json").read_text(encoding="utf-8"))
    assert set(found) == {
        f"{name}, share {share}" for name in ("towns", "towns (spring)") for share in ("0.004", "0.5")
    }
    assert all(set(systems) == SYSTEMS for systems in found.values())
    manifest = json.loads((done / "out" / "labels-towns.manifest.json").read_text(encoding="utf-8"))
    assert manifest["questions"] == {"0.004": 1, "0.5": 3}
    assert manifest["stage"] == "experiment labels"


def test_what_learns_sees_its_share_alone(done: Path) -> None:
    def facts(kind: str) -> list[dict[str, object]]:
        folders = (done / "work" / kind).iterdir()
        return [json.loads((one / "manifest.json").read_text(encoding="utf-8"))["facts"] for one in folders]

    assert sorted(one["pairs"] for one in facts("encoders")) == [1, 3]  # type: ignore[type-var]
    models = facts("models")
    assert sorted(one["material"]["examples"]["query"] for one in models) == [1, 1, 3, 3]  # type: ignore[index]
    assert sorted(one["terms_examples"] for one in models if "terms_examples" in one) == [1, 3]  # type: ignore[type-var]
    assert len(list((done / "work" / "runs" / "test").glob("generative-????????.trec"))) == 2
    tuned = (done / "work" / "runs" / "test").glob("bm25-????????.json")
    assert sorted(json.loads(one.read_text())["settings"]["tuned_on"].split()[-2] for one in tuned) == [
        "5",
        "7",
    ]  # dev has four
    assert len(list((done / "work" / "runs" / "test").glob("bm25_default-????????.trec"))) == 1


def test_without_training_questions_there_is_no_share(done: Path, tmp_path: Path) -> None:
    data = write_towns(tmp_path)
    (data / "qrels" / "train.tsv").unlink()
    config = write_config(tmp_path)
    options = ("--out", tmp_path / "out", "--work", tmp_path / "work", "--config", config)
    ran = genir("experiment", "run", "labels", "--dataset", data, *options)
    assert "towns: has no training questions to take a share of; add qrels/train.tsv" in ran.fault
