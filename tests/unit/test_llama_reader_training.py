"""What the llama reader learns from, its loss by hand, and `genir train-reader llama` end to end on a handful of documents."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner, Result

from experiments.commands.reader import reader_app
from experiments.llama_reader.learning import read_config
from experiments.reader_evaluation import evaluate
from experiments.reading import make_reader
from genir.errors import ArtefactError, ConfigError, DataError
from genir.formats import write_dataset
from genir.manifest import read_manifest
from genir.objectives import TrainingBatch
from genir.records import Dataset, Document, Qrels, Query
from rag.llama_reader.calibration import calibrate
from rag.llama_reader.network import ANSWERS, NONE
from rag.llama_reader.reader import LlamaReader
from rag.llama_reader.training import AnswerObjective, Learner, LlamaReaderConfig, make_training_set
from rag.span.calibration import make_cases
from rag.span.negatives import WrongPassages
from tests.reader_questions import CORPUS, QUESTIONS
from tests.tiny_llama_reader import SHAPE, SMALL, tiny_network
from tests.tiny_span_reader import save_word_encoder

CONFIG = LlamaReaderConfig(
    shape=SHAPE, max_evidence_tokens=24, max_question_tokens=12, max_answer_tokens=6, beside=0.0, alone=1.0
)
QUICK = (
    *("max_evidence_tokens=24", "max_question_tokens=12", "max_answer_tokens=6", "alone=0.5"),
    *("shape.num_hidden_layers=3", "shape.max_position_embeddings=128", "max_cloze=4"),
    *("training.batch_size=2", "training.precision=float32", "training.evaluate_every=2"),
)


def north() -> Dataset:
    queries = {name: Query(name, text, answers) for name, text, answers, *_ in QUESTIONS}
    judged: dict[str, dict[str, dict[str, int]]] = {}
    for name, _, _, doc_id, split in QUESTIONS:
        judged.setdefault(split, {})[name] = {doc_id: 1}
    return Dataset("north", CORPUS, queries, {split: Qrels(of) for split, of in judged.items()})


ASKED = [(Query(*one[:3]), document) for one in QUESTIONS[:4] for document in CORPUS if document.doc_id == one[3]]


def test_rows(tmp_path: Path) -> None:
    tokenizer, _ = tiny_network(tmp_path)
    wrong = WrongPassages(CORPUS)
    lost = (Query("q7", "who", ("Rome",)), CORPUS[0])
    cloze = (Query("c", "Cairo lies near what?", ("Nile",)), CORPUS[4])
    made = make_training_set(SMALL.maker(tokenizer), [*ASKED, lost], wrong, CONFIG, [cloze])
    assert made.left_out == {"without their answer in the passage": 1}
    assert sorted(made.kinds) == ["cloze"] + ["passage"] * 4 + ["unanswerable"] * 5
    yes, none = (tokenizer.convert_tokens_to_ids(token) for token in (ANSWERS, NONE))
    oslo = tokenizer("oslo", add_special_tokens=False)["input_ids"]
    assert made.rows[0][made.prompts[0] :] == [yes, *oslo, tokenizer.sep_token_id]
    assert made.rows[1][made.prompts[1] :] == [none, tokenizer.sep_token_id]
    again = make_training_set(SMALL.maker(tokenizer), [*ASKED, lost], wrong, CONFIG, [cloze])
    assert again.rows.sha256() == made.rows.sha256()
    with pytest.raises(
        DataError, match=r"no training question whose answer its passage holds \(1 without their answer"
    ):
        make_training_set(SMALL.maker(tokenizer), [lost], wrong, replace(CONFIG, alone=0.0))


def test_the_loss_by_hand(tmp_path: Path) -> None:
    tokenizer, model = tiny_network(tmp_path)
    data = make_training_set(SMALL.maker(tokenizer), ASKED, WrongPassages(CORPUS), CONFIG)
    learner = Learner(model, data.rows, tokenizer.pad_token_id)
    rows = learner.tokenize(["0", "1", "2"])
    ids, mask = learner.pad([rows[i] for i in range(3)])
    weights = torch.tensor([1.0, 2.0, 3.0])
    found = AnswerObjective(model, data).loss(TrainingBatch(ids, mask, torch.arange(3), weights))
    expected = 0.0
    for number, weight in enumerate(weights.tolist()):
        row = rows[number]
        shares = model(torch.tensor([row])).logits[0].softmax(-1)
        for place in range(data.prompts[number], len(row)):
            expected -= weight * log(shares[place - 1, row[place]].item())
    assert found.item() == pytest.approx(expected / 6, rel=1e-4)
    assert not model.model.embed_tokens.weight.requires_grad
    names = [name for name, _ in learner.named_parameters() if not name.startswith(learner.pretrained)]
    assert {name.split(".")[3] for name in names if ".layers." in name} == {"1", "2"}


def test_calibration(tmp_path: Path) -> None:
    tokenizer, model = tiny_network(tmp_path)
    reader = LlamaReader.of_model(model, tokenizer, SMALL, "float32")
    chosen = calibrate(reader, make_cases(ASKED, WrongPassages(CORPUS)))
    assert chosen.cases == 8
    assert chosen.nll_after <= chosen.nll_before
    assert chosen.mean_f1 >= 0.5  # what refusing everything is worth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "north"
    write_dataset(north(), folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_encoder(tmp_path_factory.mktemp("encoder"), width=32)


def run(data: Path, out: Path, encoder: Path, *options: object, settings: Sequence[str] = QUICK) -> Result:
    chosen = [part for setting in settings for part in ("--set", setting)]
    arguments = ["llama", "--data", data, "--out", out, "--encoder", encoder, "--device", "cpu", *chosen, *options]
    return CliRunner().invoke(reader_app, list(map(str, arguments)))


def test_the_folder_is_a_reader(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "reader"
    done = run(data, out, encoder, "--cloze", data)
    assert done.exit_code == 0, done.output
    assert "F1 of 1 dev questions with their passage" in done.output
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "llama_reader.json", "tokenizer.json", "training.json"} <= names
    assert not names & {"checkpoint.safetensors", "best.safetensors"}
    manifest = read_manifest(out, "llama reader", "")
    assert manifest["facts"]["kinds"]["cloze"] >= 1
    assert "qrels/test" not in manifest["inputs"]
    assert manifest["inputs"]["cloze north/corpus"] == manifest["inputs"]["corpus"]
    history = json.loads((out / "training.json").read_text())["history"]
    assert [point["step"] for point in history][:2] == [0, 2]
    for name in (str(out), f"llama:{out}"):
        reader = make_reader(name, "cpu")
        assert isinstance(reader, LlamaReader)
        assert reader.settings.temperature == manifest["facts"]["calibration"]["temperature"]
    assert "reused" in (again := run(data, out, encoder, "--cloze", data)).output + again.stderr
    learnt_on = run(data, tmp_path / "second", out, settings=(*QUICK, "training.epochs=0"))
    assert learnt_on.exit_code == 0, learnt_on.output
    packed = CliRunner().invoke(reader_app, ["pack", "--reader", str(out), "--out", str(tmp_path / "packed")])
    assert packed.exit_code == 0, packed.output
    assert read_manifest(tmp_path / "packed", "llama reader", "")["facts"] == manifest["facts"]
    assert isinstance(make_reader(str(tmp_path / "packed"), "cpu"), LlamaReader)
    app, figures = Typer(), tmp_path / "figures.json"
    app.command()(evaluate)
    measured = CliRunner().invoke(
        app, list(map(str, ["--reader", out, "--data", data, "-k", 1, "--out", figures, "--device", "cpu"]))
    )
    assert measured.exit_code == 0, measured.output
    assert set(json.loads(figures.read_text())["oracle"]["always"]["F1"]) == {"mean", "low", "high"}


def test_faults(data: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train-reader: unknown key 'eco': did you mean 'echo'\?"):
        read_config(None, ["eco=true"])
    with pytest.raises(ConfigError, match="unknown table 'shap'"):
        read_config(None, ["shap.num_hidden_layers=3"])
    assert read_config(None, ["echo=true"], "one", 5.0).training.max_minutes == 5.0
    with pytest.raises(ConfigError, match=r"prompts of up to 672 tokens exceed shape.max_position_embeddings = 512"):
        read_config(None, ["max_evidence_tokens=300", "echo=true"])
    deep = run(data, tmp_path / "deep", encoder, settings=(*QUICK, "shape.num_hidden_layers=9"))
    assert "num_hidden_layers = 9: expected 2 to 3, the layers of the encoder" in str(deep.exception)
    bare = tmp_path / "bare"
    write_dataset(Dataset("bare", (Document("x", "Short."),), {}, {}), bare)
    with pytest.raises(DataError, match=r"--cloze .*bare: no sentence of its 1 passages gives a question"):
        raise run(data, tmp_path / "cloze", encoder, "--cloze", bare).exception or AssertionError


def test_weights_that_do_not_ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("experiments.reading.LLAMA_WEIGHTS", tmp_path)
    with pytest.raises(
        ArtefactError, match="--generator llama: no weights ship with this installation; train some with"
    ):
        make_reader("llama", "cpu")
