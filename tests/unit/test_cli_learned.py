"""`genir train` with [learned] rounds: a model folder as ever, with identifiers that the model chose."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from docids.table import DocIDTable
from experiments.training.learned_identifiers import ROUNDS
from genir.records import Dataset
from tests.tiny_journey import TRAINING, Journey, genir

LEARNED = TRAINING + "[learned]\nrounds = 2\ninertia = 0.0\nridge = 1.0\n"


@pytest.fixture
def journey(tmp_path: Path, tiny_dataset: Dataset) -> Journey:
    made = Journey.begin(tmp_path, tiny_dataset)
    assert made.build("residual", "levels=2", "codes=3").code == 0
    return made


def test_a_learned_model_is_a_model_like_any_other(journey: Journey) -> None:
    done = journey.train(journey.config(more=LEARNED))
    assert done.code == 0, done.err
    assert "round 0: 0.0% of the documents changed their codes" in done.err
    assert "round 1: " in done.err
    facts = json.loads((journey.model / "manifest.json").read_text(encoding="utf-8"))["facts"]
    assert [one["round"] for one in facts["rounds"]] == [0, 1]
    assert {"changed", "balance", "entropy_bits", "collision_rate", "start_dev", "best_dev"} <= facts["rounds"][
        1
    ].keys()
    assert facts["best_dev"] >= facts["start_dev"]
    assert not (journey.model / ROUNDS).exists()
    table = DocIDTable.load(journey.model / "docids")
    assert len(table.identifiers()) == 4
    found = genir("search", "--model", journey.model, "Where is Lima?", "--json")
    assert found.code == 0, found.err
    assert {row["doc_id"] for row in json.loads(found.out)} <= set(table.tokens)
    assert "reused" in journey.train(journey.config(more=LEARNED)).err


def test_learned_identifiers_are_inspected_within_their_model(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = itertools.count()  # every evaluation beats the one before, so that the last round's identifiers are kept
    monkeypatch.setattr("experiments.training.model._dev_figure", lambda *_: lambda: float(next(dev)))
    assert journey.train(journey.config(more=LEARNED)).code == 0
    figures = json.loads(genir("docids", "inspect", journey.model, "--json").out)
    assert (figures["scheme"], figures["documents"], figures["identifiers"]) == ("learned", 4, 4)
    assert len(figures["levels"]) == 2
    assert "neighbour_agreement" not in figures
    assert json.loads(genir("docids", "inspect", journey.model / "docids", "--json").out) == figures
    data = ("--data", journey.data, "--encoder", journey.encoder)
    embedded = json.loads(genir("docids", "inspect", journey.model, *data, "--json").out)
    assert embedded.pop("neighbour_agreement")["documents"] == 4
    assert embedded.pop("reconstruction")["mean_cosine"] <= 1
    assert embedded == figures
    shown = genir("docids", "inspect", journey.model, *data)
    assert "share of documents with the same prefix" in shown.out, shown.err

    shutil.copytree(journey.data, tmp_path / "other")
    with (tmp_path / "other" / "corpus.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "d9", "text": "Another town.", "title": ""}\n')
    fault = genir("docids", "inspect", journey.model, "--data", tmp_path / "other").fault
    assert fault.startswith(f"{journey.model / 'docids'}: made for another corpus ")
    (journey.model / "docids" / "docids.jsonl").unlink()
    assert genir("docids", "inspect", journey.model).fault == (
        f"{journey.model / 'docids' / 'docids.jsonl'}: is missing, manifest.json lists it; make the folder again with `genir train`"
    )
    (journey.model / "manifest.json").unlink()
    assert genir("docids", "inspect", journey.model / "docids").fault == (
        f"{journey.model / 'docids'}: has no manifest.json, so it is unfinished or of another kind; make it with `genir docids build` "
        "or, as a part of a model, `genir train`"
    )


def test_learned_identifiers_cannot_be_built_without_training(journey: Journey) -> None:
    assert journey.build("learned", out=journey.root / "other").fault == (
        "learned identifiers come from training, not from a corpus alone: build --scheme residual, then `genir train` with "
        "[learned] rounds = 3 in its --config file"
    )


def test_what_cannot_be_learned_is_refused_in_one_line(journey: Journey) -> None:
    seq2seq = journey.config("seq2seq", "cross_entropy", LEARNED)
    assert journey.train(seq2seq).fault.endswith(
        "[learned] rounds = 2: identifiers are learned by code_decoder only, got 'seq2seq'"
    )
    journey.build("atomic", out=journey.root / "atomic")
    fault = genir(
        *("train", "--data", journey.data, "--docids", journey.root / "atomic", "--out", journey.root / "none"),
        *("--config", journey.config(more=LEARNED)),
    ).fault
    assert fault == (
        "atomic identifiers have no codebooks, so a model cannot learn them; start from `genir docids build --scheme residual`"
    )
    assert (
        "unknown key 'round': did you mean 'rounds'?"
        in journey.train(journey.config(more=TRAINING + "[learned]\nround = 2\n")).fault
    )
