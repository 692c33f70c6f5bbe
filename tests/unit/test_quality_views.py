"""`genir experiment run quality` with several identifiers a document: terms, and the encoder over the same texts beside them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.quality.config import QualityConfig
from genir.config import from_mapping
from genir.errors import ConfigError
from genir.formats import write_dataset
from tests.quality_towns import towns, write_config
from tests.tiny_journey import genir

SCHEME = ["levels=3", "codes=4", "document_levels=1", 'views=["document", "sentence"]', "combine=max"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = towns()
    corpus = tuple(
        replace(one, text=f"{one.text} {one.title} has a harbour. Many ships come.") for one in dataset.corpus
    )
    folder = tmp_path_factory.mktemp("data") / "towns"
    write_dataset(replace(dataset, corpus=corpus), folder)
    return folder


def config_of(folder: Path, scheme: list[str]) -> Path:
    path = write_config(folder, top='identifiers = "views"\n')
    text = path.read_text(encoding="utf-8").replace('scheme = ["levels = 2", "codes = 4"]', f"scheme = {scheme}")
    path.write_text(text, encoding="utf-8")
    return path


def test_views_have_terms_and_the_encoder_reads_the_same_texts(data: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    arguments = ("--dataset", data, "--out", out, "--work", work, "--config", config_of(tmp_path, SCHEME))
    done = genir("experiment", "run", "quality", *arguments)
    assert done.code == 0, done.err
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))["towns"]
    views = {"dense_views", "hybrid_views"}
    assert {"generative", "generative_sequence_only", "generative_terms_only", "hybrid_terms", *views} <= set(summary)
    assert "generative_random_ids" in summary
    assert {f"p_{one}_corrected" for one in views} <= set(summary["generative"]["Success@1"])
    details = json.loads((out / "towns.json").read_text(encoding="utf-8"))
    codes = details["systems"]["generative_sequence_only, seed 0"]
    assert codes["training"]["scheme"] == "views"
    assert codes["training"]["material"]["examples"] == {"query": details["questions"]}  # one a question: its best view
    kinds = codes["identifiers"]["facts"]["views"]
    assert kinds["document"] == 12
    assert kinds["sentence"] > 12
    assert 0 <= details["systems"]["hybrid_views, seed 0"]["tuned"]["weight"] <= 1
    [index] = (work / "runs" / "test").glob("dense_views-*.json")
    settings = json.loads(index.read_text(encoding="utf-8"))["settings"]
    assert settings["passages"] == sum(kinds.values())
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.trec")}
    assert genir("experiment", "run", "quality", *arguments).code == 0
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.trec")} == before


def test_summed_views_have_codes_alone(data: Path, tmp_path: Path) -> None:
    where = ("--dataset", data, "--out", tmp_path / "out", "--work", tmp_path / "work")
    done = genir("experiment", "run", "quality", *where, "--config", config_of(tmp_path, SCHEME[:-1]))
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["towns"]
    assert {"generative_sequence_only", "dense_views", "hybrid_views"} <= set(summary)
    assert not {"generative", "generative_terms_only", "hybrid_terms"} & set(summary)


def test_identifiers_are_those_whose_codes_are_best_on_dev(data: Path, tmp_path: Path) -> None:
    plain = '[[alternatives]]\nidentifiers = "residual"\nscheme = ["levels=2", "codes=4"]\n'
    path = config_of(tmp_path, SCHEME)
    text = path.read_text(encoding="utf-8").replace("[dense]", f"{plain}\n[dense]", 1)
    path.write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    done = genir(
        "experiment", "run", "quality", "--dataset", data, "--out", out, "--work", tmp_path / "w", "--config", path
    )
    assert done.code == 0, done.err
    systems = json.loads((out / "towns.json").read_text(encoding="utf-8"))["systems"]
    codes = systems["generative_sequence_only, seed 0"]
    compared = codes["chosen_from"]
    assert [one["identifiers"] for one in compared] == ["views", "residual"]
    best = max(compared, key=lambda one: one["dev"])  # the first where they are level
    assert codes["training"]["scheme"] == codes["identifiers"]["scheme"] == best["identifiers"]
    assert codes["training"]["best_dev"] == best["dev"]
    levels = {"views": 3, "residual": 2}[best["identifiers"]]
    assert codes["identifiers"]["length"]["max"] == levels
    assert (
        systems["generative_random_ids, seed 0"]["identifiers"]["length"]["max"] == levels
    )  # the control's shape is the chosen one's
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))["towns"]
    assert {"dense_views", "hybrid_views", "hybrid_terms"} <= set(summary)


@pytest.mark.parametrize("switch", [{"planning": False}, {"rerank_head": True}])
def test_what_views_cannot_have_is_refused(switch: dict[str, bool]) -> None:
    for scheme in (SCHEME, SCHEME[:-1]):
        with pytest.raises(ConfigError, match="are for one identifier a document, not for views: leave them out"):
            from_mapping(QualityConfig, {"identifiers": "views", "scheme": scheme, **switch}, "")
