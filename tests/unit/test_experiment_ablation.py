"""`genir experiment run ablation`, end to end on twelve towns: rows are what they say, and are tested against the right ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.quality.experiment import MEASURES
from genir.formats import load_dataset, read_run
from genir.manifest import MANIFEST, read_manifest, sha256_of
from genir.measures import evaluate, randomisation_test
from tests.quality_towns import write_config, write_towns
from tests.tiny_journey import genir

ROWS = """
[rows."one beam".sequence.search]
num_beams = 1
[rows."one beam, no terms tuned"]
base = "one beam"
terms.tune = false
[rows."not fine-tuned".dense.training]
epochs = 0
[rows.unguided]
planning = false
[rows.reranked]
rerank_head = true
[rows.views]
identifiers = "views"
scheme = ["levels=3", "codes=4", 'views=["document", "title"]']
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    data, config = write_towns(folder), write_config(folder, questions=5, more=ROWS)
    options = ("--out", folder / "out", "--work", folder / "work", "--config", config)
    ran = genir("experiment", "run", "ablation", "--dataset", data, *options, "--json")
    assert ran.code == 0, ran.err
    assert {row["data"] for row in json.loads(ran.out)} == {"towns", "towns (spring)"}
    return folder


@pytest.fixture(scope="module")
def found(done: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((done / "out" / "ablation-towns.json").read_text(encoding="utf-8"))
    return read


def manifests(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((path / "manifest.json").read_text(encoding="utf-8")) for path in folder.iterdir()]


def test_every_row_is_there_and_what_rows_share_is_made_once(done: Path, found: dict[str, Any]) -> None:
    names = ("whole", "one beam", "one beam, no terms tuned", "not fine-tuned", "unguided", "reranked")
    expected = {*names, *(f"{name}, codes alone" for name in (*names, "views"))}  # of views there are no terms
    assert set(found["splits"]["test"]) == set(found["splits"]["spring"]) == expected
    assert found["questions"] == 5
    encoders = manifests(done / "work" / "encoders")
    assert sorted(one["config"]["training"]["epochs"] for one in encoders) == [0, 1]
    kinds = [path.name.count("-terms-") + path.name.count("-head-") for path in (done / "work" / "models").iterdir()]
    # codes: whole, one beam, not fine-tuned, views; terms of the first three, and one untuned; one head
    assert (kinds.count(0), kinds.count(1), kinds.count(2)) == (4, 4, 1)


def test_a_row_has_its_own_figures(done: Path, found: dict[str, Any]) -> None:
    rows = {name: {m: figures[m]["mean"] for m in MEASURES} for name, figures in found["splits"]["test"].items()}
    one = rows["one beam, codes alone"]
    assert one["R@10"] == one["Success@1"]  # a beam finds one document
    assert rows["whole, codes alone"]["R@10"] > one["R@10"]
    same = [
        name for name in rows if name.endswith("codes alone") and name.startswith(("whole", "unguided", "reranked"))
    ]
    assert all(rows[name] == rows["whole, codes alone"] for name in same)


def test_p_values_are_against_the_whole_or_the_base(done: Path, found: dict[str, Any]) -> None:
    test = found["splits"]["test"]
    for name, base in (
        ("one beam", "whole"),
        ("one beam, codes alone", "whole, codes alone"),
        ("views, codes alone", "whole, codes alone"),
        ("one beam, no terms tuned", "one beam"),
    ):
        for measure in MEASURES:
            assert {key for key in test[name][measure] if key.startswith("p_")} == {f"p_{base}", f"p_{base}_corrected"}
    assert not any(key.startswith("p_") for measure in MEASURES for key in test["whole"][measure])
    assert found["rows"]["one beam, no terms tuned"]["base"] == "one beam"
    [one_beam] = [path for path in codes_runs(done) if settings_of(path)["num_beams"] == 1]
    [whole] = [
        path
        for path in codes_runs(done)
        if settings_of(path)["num_beams"] == 12 and encoder_of(done, path) == encoder_of(done, one_beam)
    ]
    qrels = load_dataset(done / "towns").qrels["test"]
    values, of_whole = (
        list(evaluate(read_run(path), qrels, ["R@10"]).per_query["R@10"].values()) for path in (one_beam, whole)
    )
    row = test["one beam, codes alone"]["R@10"]
    assert row["mean"] == pytest.approx(sum(values) / 3)
    assert row["p_whole, codes alone"] == randomisation_test(values, of_whole, 0)


def codes_runs(done: Path) -> list[Path]:
    """Runs of one identifier a document."""
    found = (done / "work" / "runs" / "test").glob("generative_sequence_only-*.trec")
    return [path for path in found if "views" not in settings_of(path)]


def settings_of(run: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
    return settings


def encoder_of(done: Path, run: Path) -> str:
    """The encoder that the searched model started from."""
    model = json.loads(run.with_suffix(".json").read_text(encoding="utf-8"))["inputs"]["model"]
    folders = (done / "work" / "models").iterdir()
    [found] = [path for path in folders if sha256_of(path / MANIFEST) == model]
    return str(read_manifest(found, "model", "")["config"]["code_decoder"]["encoder"])


def test_what_a_row_says_reaches_its_search(done: Path) -> None:
    settings = [settings_of(path) for path in (done / "work" / "runs" / "test").glob("generative-*.trec")]
    assert len(settings) == 6
    assert sum(one.get("planning") is False for one in settings) == 1
    assert [one["rerank"]["kind"] for one in settings if "rerank" in one] == ["head"]
