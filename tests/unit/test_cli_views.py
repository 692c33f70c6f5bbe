"""Identifiers with several views through the command line: built, inspected, trained, searched; and what users get wrong."""

import json
from pathlib import Path

import pytest

from docids.views import VIEWS
from genir.records import Dataset
from tests.tiny_journey import TRAINING, Journey, genir

WIDE = TRAINING.replace("num_beams = 4", "num_beams = 24")


@pytest.mark.parametrize(("architecture", "objective"), [("code_decoder", "ranking"), ("seq2seq", "cross_entropy")])
def test_from_documents_to_a_ranking(tmp_path: Path, tiny_dataset: Dataset, architecture: str, objective: str) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    built = journey.build("views", "levels=2", "codes=5", "passage_words=4")
    assert built.code == 0, built.err
    assert built.out.startswith(f"{journey.docids}: views, 4 documents, ")
    assert (journey.docids / VIEWS).is_file()
    figures = json.loads(genir("docids", "inspect", journey.docids, "--json").out)
    assert figures["facts"]["views"]["title"] == 3
    assert figures["facts"]["view_identifiers"] > figures["identifiers"] == 4

    learned = journey.train(journey.config(architecture, objective, WIDE))
    assert learned.code == 0, learned.err
    facts = json.loads((journey.model / "manifest.json").read_text())["facts"]
    assert (facts["scheme"], facts["documents"]) == ("views", 4)
    examples = facts["examples"]
    assert examples > sum(len(qrels) for qrels in tiny_dataset.qrels.values())

    rankings = {}
    for combined in ("sum", "max"):
        out = tmp_path / f"{combined}.trec"
        where = ("--data", journey.data, "--model", journey.model, "--split", "test", "--out", out)
        done = genir("search", *where, "--views", combined, "-k", 4)
        assert done.code == 0, done.err
        about = json.loads(out.with_suffix(".json").read_text())
        assert about["settings"]["views"] == combined
        rankings[combined] = [line.split()[2] for line in out.read_text().splitlines()]
        assert set(rankings[combined]) == {"d1", "d2", "d3", "d4"}
    found = json.loads(genir("search", "Where is Lima?", "--model", journey.model, "--json").out)
    assert {row["doc_id"] for row in found} == {"d1", "d2", "d3", "d4"}
    assert all(row["docid_tokens"] for row in found)
    assert "reused" in journey.train(journey.config(architecture, objective, WIDE)).err


def test_sentences_with_terms_from_documents_to_an_answer(tmp_path: Path, tiny_dataset: Dataset) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    chosen = ('views=["sentence", "document"]', "combine=max", "levels=3", "document_levels=1", "codes=5")
    built = journey.build("views", *chosen)
    assert built.code == 0, built.err
    assert "reconstruction" not in json.loads(
        genir("docids", "inspect", journey.docids, "--json").out
    )  # of another text
    trained = journey.train(journey.config(more=TRAINING))
    assert trained.code == 0, trained.err
    facts = json.loads((journey.model / "manifest.json").read_text())["facts"]
    assert facts["material"]["examples"]["query"] == len(tiny_dataset.qrels["train"])  # not one for every view
    planned = tmp_path / "planned"
    made = genir("train-terms", "--data", journey.data, "--model", journey.model, "--out", planned)
    assert made.code == 0, made.err
    asked = ("search", "Where is Lima?", "--model", planned, "--num-beams", 4, "-k", 4, "--json")
    found = json.loads(genir(*asked).out)
    assert {row["doc_id"] for row in found} == {"d1", "d2", "d3", "d4"}  # four beams, four documents
    assert genir(*asked, "--views", "sum").fault.startswith("views are combined by 'sum', but terms go with")
    out = ("--out", tmp_path / "head")
    assert genir("train-rerank", "--data", journey.data, "--model", planned, *out).fault == (
        f"{planned}: a rerank head is for documents with one identifier each, not for views"
    )


def test_what_users_get_wrong(tmp_path: Path, tiny_dataset: Dataset) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    assert journey.build("views", 'views=["titel"]').fault.startswith("unknown view 'titel': did you mean 'title'?")
    assert journey.build("views", "combine=mean").fault.startswith("scheme views combine: unknown value 'mean'")
    assert journey.build("views", "levels=2", "codes=4").code == 0
    for more in ("[learned]\nrounds = 2\n", '[teacher]\nsource = "bm25"\n'):
        fault = journey.train(journey.config(more=TRAINING + more)).fault
        assert fault.endswith("these are for one identifier a document, not for views; leave them out")
    short = TRAINING.replace("epochs = 2", "epochs = 0")
    assert journey.train(journey.config(more=short)).code == 0
    model = ("--model", journey.model)
    assert genir("search", "Where?", *model, "--views", "mean").fault.startswith("unknown way to combine views 'mean'")
    out = ("--out", tmp_path / "terms")
    assert genir("train-terms", "--data", journey.data, *model, *out).fault == (
        f'{journey.model}: its views are combined by "sum", and terms go with the best view of a document: build the identifiers with '
        "`--set combine=max`, and train on them"
    )
    bm25 = ("--data", journey.data, "--retriever", "bm25")
    assert genir("search", "Where?", *bm25, "--views", "max").fault == (
        "--views: for the generative retriever only; --retriever is bm25"
    )


def test_views_of_a_model_without_any(tmp_path: Path, tiny_dataset: Dataset) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    assert journey.build("atomic").code == 0
    assert journey.train(journey.config(more=TRAINING.replace("epochs = 2", "epochs = 0"))).code == 0
    assert genir("search", "Where?", "--model", journey.model, "--views", "max").fault == (
        "--views: for a model whose documents have several identifiers, not for atomic; build some with "
        "`genir docids build --scheme views`"
    )
