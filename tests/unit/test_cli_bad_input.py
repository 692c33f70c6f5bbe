"""What users get wrong: one clear line on stderr, exit code 1, and nothing half-written."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from genir.formats import write_dataset
from genir.records import Dataset
from tests.tiny_journey import Journey, Outcome, genir, run_file


@pytest.fixture
def other(tmp_path: Path, tiny_dataset: Dataset) -> Path:
    """The data folder of another corpus."""
    write_dataset(tiny_dataset, tmp_path / "other")
    return tmp_path / "other"


@pytest.fixture
def model(finished: Journey, tmp_path: Path) -> Path:
    """A copy of the model, to be broken."""
    return Path(shutil.copytree(finished.model, tmp_path / "model"))


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "inspect", "nowhere"),
        ("docids", "build", "--data", "nowhere", "--out", "new"),
        ("train", "--data", "nowhere", "--docids", "nowhere", "--out", "new"),
        ("search", "a question", "--retriever", "bm25", "--data", "nowhere"),
        ("evaluate", "run.trec", "--data", "nowhere"),
        ("answer", "a question", "--data", "nowhere"),
    ],
)
def test_a_missing_data_folder(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert genir(*arguments).fault.startswith("nowhere: no such folder; a BEIR folder holds corpus.jsonl, ")
    assert not list(tmp_path.iterdir())


def test_other_missing_folders(finished: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--data", finished.data)
    assert genir("data", "import", "./nowhere", "--out", "new").fault.startswith(
        "./nowhere: no such file or folder; expected a BEIR"
    )
    fault = genir("train", *data, "--docids", "nowhere", "--out", "new").fault
    assert fault == "nowhere: no such folder; make one with `genir docids build`"
    assert genir("docids", "inspect", "nowhere").fault == fault
    fault = genir("search", "--model", "nowhere", "a question").fault
    assert fault == "nowhere: no such folder; make one with `genir train`"
    fault = genir("train", *data, "--docids", finished.docids, "--out", "new", "--config", "nowhere.toml").fault
    assert fault == "nowhere.toml: no such configuration file"
    assert genir("evaluate", *data, "nowhere.trec").fault == "nowhere.trec: cannot be read: No such file or directory"
    assert not list(tmp_path.iterdir())


BROKEN_DATA = [
    ("corpus.jsonl", '{"_id": "d9", "text": "cut sho', "corpus.jsonl:5: not valid JSON (cut short?): "),
    ("corpus.jsonl", '{"_id": "d1", "text": "again"}', "corpus.jsonl:5: the document id 'd1' stands already in line 1"),
    ("corpus.jsonl", '{"_id": "d9", "text": "\\ud800"}', 'corpus.jsonl:5: "text" holds half a surrogate pair'),
    ("queries.jsonl", '{"_id": "q9", "text": "\\udfff"}', 'queries.jsonl:6: "text" holds half a surrogate pair'),
    (
        "queries.jsonl",
        '{"_id": "q9", "text": "x", "answers": ["\\ud800"]}',
        'queries.jsonl:6: "answers" holds half a surrogate pair',
    ),
    ("queries.jsonl", '{"_id": "q9", "text": 7}', 'queries.jsonl:6: "text" must be a string, got 7'),
    ("qrels/test.tsv", "q3\td3", "test.tsv:3: expected 3 tab-separated fields, got 2"),
    (
        "qrels/test.tsv",
        "q3\td77\t1",
        "test.tsv:3: no document has the id 'd77'; add it to corpus.jsonl or delete the line",
    ),
    (
        "qrels/test.tsv",
        "q77\td3\t1",
        "test.tsv:3: no query has the id 'q77'; add it to queries.jsonl or delete the line",
    ),
]


@pytest.mark.parametrize(("file", "line", "fault"), BROKEN_DATA)
def test_a_broken_line_is_named_by_file_and_number(
    other: Path, tmp_path: Path, file: str, line: str, fault: str
) -> None:
    append(other / file, line)
    new = tmp_path / "new"
    assert fault in genir("data", "import", other, "--out", new).fault
    assert fault in genir("docids", "build", "--data", other, "--scheme", "atomic", "--out", new).fault
    assert not new.exists()


def test_an_empty_corpus(other: Path, tmp_path: Path) -> None:
    (other / "corpus.jsonl").write_text("\n")
    fault = genir("docids", "build", "--data", other, "--scheme", "atomic", "--out", tmp_path / "new").fault
    assert fault == f"{other}/corpus.jsonl: holds no document; a corpus needs at least one"
    assert not (tmp_path / "new").exists()


def test_half_surrogates_in_squad(tmp_path: Path) -> None:
    squad = tmp_path / "squad.json"
    squad.write_text('{"data": [{"title": "t", "paragraphs": [{"context": "a \\ud83d b", "qas": []}]}]}')
    fault = genir("data", "import", squad, "--out", tmp_path / "new").fault
    assert fault.startswith(f'{squad}: data[0].paragraphs[0]: "context" holds half a surrogate pair')
    assert not (tmp_path / "new").exists()


def test_a_misspelt_split(finished: Journey, tmp_path: Path) -> None:
    data = ("--data", finished.data, "--split", "tset")
    fault = f"{finished.data}: has no split 'tset' (qrels/tset.tsv); there are: train, test"
    assert genir("search", "--retriever", "bm25", *data, "--out", tmp_path / "run.trec").fault == fault
    assert genir("evaluate", *data, tmp_path / "run.trec").fault == fault


# --- identifiers and models of something else -----------------------------------------------------------------------------


def test_a_model_and_identifiers_of_another_corpus(finished: Journey, other: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    fault = genir("train", "--data", other, "--docids", finished.docids, "--out", new).fault
    assert fault.startswith(f"{finished.docids}: made for another corpus (sha256 ")
    model = ("--model", finished.model, "--data", other)
    fault = genir("search", *model, "--split", "test", "--out", new).fault
    assert fault.startswith(f"{finished.model}: made for another corpus (sha256 ")
    assert fault.endswith("; give the data folder it was made from, or make it again")
    assert genir("answer", "Where?", "--retriever", "generative", *model).fault == fault
    assert not new.exists()


def test_title_identifiers_in_another_models_tokens(finished: Journey, tmp_path: Path) -> None:
    journey = Journey(tmp_path, finished.encoder)
    where = ("--data", finished.data, "--docids", journey.docids)
    pair = f"tokenizer={finished.encoder}"
    genir("docids", "build", "--data", finished.data, "--out", journey.docids, "--scheme", "title", "--set", pair)
    config = journey.config("seq2seq", "cross_entropy")
    config.write_text(config.read_text().replace(f'tokenizer = "{finished.encoder}"', 'tokenizer = "t5-small"'))
    fault = genir("train", *where, "--config", config, "--out", journey.model).fault
    assert fault.startswith(
        f"the identifiers are written in tokens of '{finished.encoder}', but the model reads and writes those of 't5-"
    )


BROKEN_MODELS = [
    ("manifest.json", None, "has no manifest.json, so it is unfinished or of another kind; make it with `genir train`"),
    ("manifest.json", "{", "manifest.json: not a readable manifest ("),
    ("config.json", "{", "config.json: not valid JSON ("),
    ("config.json", '{"architecture": "oracle"}', "config.json: unknown architecture 'oracle'; train the model again"),
    (
        "config.json",
        '{"architecture": "code_decoder"}',
        "config.json: incomplete, or not of this version (KeyError('config'))",
    ),
    ("model.safetensors", "cut", "model.safetensors: cannot be loaded: "),
    ("model.safetensors", None, "model.safetensors: cannot be loaded: "),
    ("encoder/model.safetensors", "cut", "cannot be loaded: "),
    ("titles.json", None, "titles.json: no such file"),
    ("docids/docids.jsonl", '{"doc_id": "d0", "docid_tok', 'docids.jsonl:1: expected {"doc_id": TEXT'),
]


@pytest.mark.parametrize(("file", "content", "fault"), BROKEN_MODELS)
def test_a_broken_model_folder(model: Path, file: str, content: str | None, fault: str) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    del manifest["outputs"]  # as in earlier versions' manifests: what reads a file has to find its fault
    (model / "manifest.json").write_text(json.dumps(manifest))
    path = model / file
    if content is None:
        path.unlink()
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_text(content)
    assert fault in genir("search", "--model", model, "a question").fault


def test_a_model_folder_with_a_file_gone_or_cut(model: Path) -> None:
    weights = model / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    fault = genir("search", "--model", model, "a question").fault
    assert fault.startswith(f"{weights}: has ")
    assert fault.endswith(" when it was finished; make the folder again with `genir train`")
    weights.unlink()
    fault = genir("search", "--model", model, "a question").fault
    assert fault == f"{weights}: is missing, manifest.json lists it; make the folder again with `genir train`"


# --- runs -----------------------------------------------------------------------------------------------------------------


BROKEN_RUNS = [
    ("q1 Q0 d2 2", ":2: expected 6 fields (query Q0 document rank score tag), got 4"),
    ("q1 Q0 d2 2 high run", ":2: expected a finite number as score, got 'high'"),
    ("q1 Q0 d2 2 nan run", ":2: expected a finite number as score, got 'nan'"),
    ("q1 Q0 d1 2 1.0 run", ":2: document 'd1' stands twice in the ranking of query 'q1'"),
]


@pytest.mark.parametrize(("line", "fault"), BROKEN_RUNS)
def test_a_broken_run(finished: Journey, tmp_path: Path, line: str, fault: str) -> None:
    path = run_file(tmp_path / "run.trec", line)
    assert genir("evaluate", "--data", finished.data, path, "--json").fault == f"{path}{fault}"


def test_two_runs_of_one_name(finished: Journey, tmp_path: Path) -> None:
    paths = run_file(tmp_path / "a" / "run.trec"), run_file(tmp_path / "b" / "run.trec")
    fault = genir("evaluate", "--data", finished.data, *paths).fault
    assert fault == "two runs are called 'run'; give the files different names"


def test_a_run_of_other_queries_scores_zero_with_a_warning(finished: Journey, tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.trec")
    path.write_text("q77 Q0 d1 1 2.0 run\n")
    outcome = genir("evaluate", "--data", finished.data, path)
    assert outcome.warnings == ("run 'run' ranks nothing for 1 of the 1 queries of 'test': they score 0",)


def test_somebody_elses_json_beside_a_run_is_no_cost(finished: Journey, tmp_path: Path) -> None:
    path = run_file(tmp_path / "run.trec")
    path.with_suffix(".json").write_text("[1, 2]")
    assert genir("evaluate", "--data", finished.data, path).code == 0


# --- places to write ------------------------------------------------------------------------------------------------------


def test_an_out_that_is_taken(finished: Journey, other: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("mine")
    data = ("--data", finished.data)
    is_file = f"{taken}: is a file; give the name of a new folder"
    assert genir("docids", "build", *data, "--scheme", "atomic", "--out", taken).fault == is_file
    assert finished.train(out=taken).fault == is_file
    assert (
        genir("data", "import", other, "--out", taken).fault
        == f"{taken}: exists already; give a new folder, or remove it first"
    )
    below = genir("docids", "build", *data, "--scheme", "atomic", "--out", taken / "below").fault
    assert below.startswith(f"{taken}/below")
    assert below.endswith(": Not a directory; give another path, or mend its permissions")
    assert taken.read_text() == "mine"

    before = everything_in(tmp_path)
    others = f"{other}: already holds other things (corpus.jsonl, qrels, queries.jsonl); give the name of a new folder"
    assert genir("docids", "build", *data, "--scheme", "atomic", "--out", other).fault == others
    assert finished.train(out=other).fault == others
    search = ("search", *data, "--retriever", "bm25", "--split", "test", "--out")
    assert genir(*search, other).fault.startswith(f"--out {other}: is a folder; give the name of a TREC file")
    assert genir(*search, tmp_path / "run.json").fault.startswith(
        f"--out {tmp_path}/run.json: is the name of the settings beside"
    )
    fault = genir("evaluate", *data, run_file(tmp_path / "run.trec"), "--out", other).fault
    assert fault == f"{other}: Is a directory; give another path, or mend its permissions"
    assert everything_in(tmp_path) == before | {"run.trec"}


def test_documents_without_urls(finished: Journey, tmp_path: Path) -> None:
    fault = finished.build("url", out=tmp_path / "new").fault
    assert fault == (
        "3 of 3 documents have no URL, the first 'd0': url identifiers need one for every document; add \"url\" to their lines of "
        "corpus.jsonl, or give them titles and use --scheme title"
    )
    assert not (tmp_path / "new").exists()


def test_identifiers_inspected_with_another_corpus(finished: Journey, other: Path) -> None:
    fault = genir("docids", "inspect", finished.docids, "--data", other, "--encoder", finished.encoder).fault
    assert fault.startswith(f"{finished.docids}: made for another corpus (sha256 ")


def test_embeddings_that_are_not_finite(finished: Journey, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    broken = tmp_path / "encoder"
    encoder = AutoModel.from_pretrained(finished.encoder)
    encoder.embeddings.word_embeddings.weight.data.fill_(float("nan"))
    encoder.save_pretrained(broken)
    AutoTokenizer.from_pretrained(finished.encoder).save_pretrained(broken)
    options = ("--data", finished.data, "--encoder", broken, "--cache", tmp_path / "cache")
    fault = genir("docids", "build", *options, "--out", tmp_path / "new").fault
    assert fault.startswith(f"encoder '{broken}': the vectors of 3 of 3 texts are not finite: its weights are broken")
    assert genir("search", "a question", "--retriever", "dense", *options).fault == fault
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "cache").exists()


def test_a_broken_cache_is_told_and_replaced(finished: Journey, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    search = (
        "search",
        "Oslo",
        "--retriever",
        "dense",
        "--data",
        finished.data,
        "--encoder",
        finished.encoder,
        "--cache",
        cache,
        "--json",
    )
    first = genir(*search)
    [*files] = cache.iterdir()
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    second = genir(*search)
    assert second.out == first.out
    assert sum("the texts are embedded again" in said for said in second.warnings) == len(files)
    assert genir(*search).warnings == ()


def test_json_and_a_fault_leave_stdout_empty(finished: Journey) -> None:
    outcome: Outcome = genir("search", "--model", finished.model, "a question", "-k", "0", "--json")
    assert outcome.fault  # checks that stdout is empty
    answered = genir("answer", "qqqq", "--data", finished.data, "--json")
    assert json.loads(answered.out)["abstained"] is True


def test_a_loss_that_is_not_finite(finished: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "genir.objectives.RankingObjective.loss", lambda *_: torch.tensor(float("nan"), requires_grad=True)
    )
    fault = finished.train(finished.config(), out=tmp_path / "new").fault
    assert fault == "the loss is nan at step 0; lower the learning rate, or use float32"
    assert not (tmp_path / "new" / "manifest.json").exists()
