"""`genir rag`, end to end on a few lines of data and an encoder of random weights."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments.checkers.benchmark import default_checkers, make_checker
from experiments.commands.rag import rag_app
from genir.errors import ArtefactError, ConfigError
from tests.tiny_checker import save_pair_encoder
from tests.unit.test_checker_data import write_tiny_root

SETTINGS = """
encoder = "{encoder}"
question_tokens = 24
passage_tokens = 100
[training]
epochs = 2
batch_size = 8
precision = "float32"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data below data/, an encoder, and a trained checker."""
    folder = tmp_path_factory.mktemp("world")
    write_tiny_root(folder / "data")
    save_pair_encoder(folder / "encoder")
    (folder / "settings.toml").write_text(SETTINGS.format(encoder=folder / "encoder"))
    done = train(folder, folder / "checker")
    assert done.exit_code == 0, done.output
    assert "AUROC of 4 swapped answers of the dev questions with even numbers: " in done.output
    return folder


def rag(*arguments: object) -> Result:
    return CliRunner().invoke(rag_app, [str(one) for one in arguments])


def train(world: Path, out: Path, *options: object) -> Result:
    data = world / "data"
    where = ("--data", data / "squad-small", "--scifact", data / "scifact", "--config", world / "settings.toml")
    return rag("train-checker", *where, "--out", out, *options)


def test_every_checker_is_measured_beside_the_baselines(world: Path, tmp_path: Path) -> None:
    chosen = ("lexical", f"embedding:{world / 'encoder'}", f"trained:{world / 'checker'}")
    options = [part for one in chosen for part in ("--checker", one)]
    done = rag("check", "--data-root", world / "data", "--out", tmp_path / "made", *options)
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "made" / "summary.json").read_text())["checker"]
    assert list(summary) == ["halueval-qa", "halueval-qa-matched", "squad-swapped", "scifact"]
    others = [f"embedding:{world / 'encoder'}", "trained"]
    for figures in summary.values():
        assert list(figures) == [
            *("name", "auroc", "low", "high", "differences", "length", "containment", "pairs", "others")
        ]
        assert (figures["name"], list(figures["others"])) == ("lexical", others)
        for one in (figures, *figures["others"].values()):
            assert 0.0 <= one["low"] <= one["auroc"] <= one["high"] <= 1.0
            for baseline in ("length", "containment"):
                told = one["differences"][baseline]
                assert told["difference"] == pytest.approx(one["auroc"] - figures[baseline])
                assert told["low"] <= told["difference"] <= told["high"]
    # The lexical checker is containment but for rounding: paired, they never differ.
    assert summary["squad-swapped"]["differences"]["containment"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    swapped = summary["squad-swapped"]
    assert (swapped["auroc"], swapped["length"], swapped["containment"]) == (0.5, 0.5, 0.5)
    assert "squad-swapped" in done.output
    assert "length" in done.output
    lines = [json.loads(line) for line in (tmp_path / "made" / "checker.scores.jsonl").read_text().splitlines()]
    assert {line["set"] for line in lines} == set(summary)
    assert all(list(line["scores"]) == ["lexical", *others] for line in lines)
    manifest = json.loads((tmp_path / "made" / "checker.manifest.json").read_text())
    assert manifest["facts"]["left_out"]["scifact"] == 1
    assert set(manifest["inputs"]) == {"halueval-qa", "squad-small", "scifact", "checker trained"}


def test_what_others_wrote_in_the_folder_stays(world: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"atlas": {"bm25": {}}, "checker": {"old": {}}}')
    arguments = ("check", "--data-root", world / "data", "--out", tmp_path, "--checker", "lexical")
    assert rag(*arguments).exit_code == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["atlas"] == {"bm25": {}}
    assert "old" not in summary["checker"]
    assert rag(*arguments).exit_code == 0
    (tmp_path / "checker.manifest.json").unlink()
    refused = rag(*arguments)
    assert "already holds another checker.scores.jsonl; give the name of a new folder" in str(refused.exception)
    (tmp_path / "summary.json").write_text("[]")
    assert "not a summary of figures" in str(rag(*arguments).exception)


def test_what_is_measured_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.checkers.benchmark.features_can_run", lambda: True)
    assert default_checkers() == ("features", "lexical", "embedding")
    monkeypatch.setattr("experiments.checkers.benchmark.features_can_run", lambda: False)
    assert default_checkers() == ("lexical", "embedding")


def test_json_for_programs(world: Path, tmp_path: Path) -> None:
    done = rag("check", "--data-root", world / "data", "--out", tmp_path / "made", "--checker", "lexical", "--json")
    assert json.loads(done.stdout) == json.loads((tmp_path / "made" / "summary.json").read_text())


def test_a_finished_checker_is_reused_and_another_replaced_where_asked_for(world: Path, tmp_path: Path) -> None:
    again = train(world, world / "checker")
    assert again.exit_code == 0, again.output
    names = {path.name for path in (world / "checker").iterdir()}
    assert names == {"checker.json", "checker.safetensors", "spans", "training.json", "manifest.json"}
    manifest = json.loads((world / "checker" / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"data", "scifact", "pretrained"}
    assert manifest["facts"]["lessons"] == 16
    out = Path(shutil.copytree(world / "checker", tmp_path / "checker"))
    (tmp_path / "plain.toml").write_text(f'scorer = false\nencoder = "{world / "encoder"}"\n')
    options = ("--data", world / "data" / "squad-small", "--config", tmp_path / "plain.toml", "--out", out)
    before = (out / "checker.safetensors").read_bytes()
    kept = rag("train-checker", *options)
    assert str(kept.exception) == (
        f"{out}: holds a finished checker of other inputs or settings, or one that lacks a file; "
        "give the name of a new folder, or --replace to lose it"
    )
    assert (out / "checker.safetensors").read_bytes() == before
    other = rag("train-checker", *options, "--replace")
    assert other.exit_code == 0, other.output
    assert {path.name for path in out.iterdir()} == {"checker.json", "checker.safetensors", "manifest.json"}
    (out / "mine.txt").write_text("a note")
    (tmp_path / "plain.toml").write_text(f'scorer = false\nstrength = 2.0\nencoder = "{world / "encoder"}"\n')
    refused = rag("train-checker", *options, "--replace")
    assert isinstance(refused.exception, ArtefactError)
    assert "already holds other things (mine.txt)" in str(refused.exception)


def test_features_alone(world: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(f'scorer = false\nencoder = "{world / "encoder"}"\n')
    data = world / "data" / "squad-small"
    done = rag("train-checker", "--data", data, "--config", tmp_path / "plain.toml", "--out", tmp_path / "plain")
    assert done.exit_code == 0, done.output
    assert make_checker(f"trained:{tmp_path / 'plain'}").name == "features"


def test_checkers_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown checker 'lexcal': did you mean 'lexical'"):
        make_checker("lexcal")
    with pytest.raises(ConfigError, match="checker 'nli': expected nli:NAME_OR_DIR"):
        make_checker("nli")
    with pytest.raises(ConfigError, match="checker 'lexical:x': expected lexical"):
        make_checker("lexical:x")
    assert make_checker("embedding").name == "embedding:all-MiniLM-L6-v2"
    assert make_checker("nli:some/model").name == "nli:some/model"


def test_a_checker_is_named_once(world: Path, tmp_path: Path) -> None:
    done = rag(
        *("check", "--data-root", world / "data", "--out", tmp_path / "made"),
        *("--checker", "lexical", "--checker", "lexical"),
    )
    assert isinstance(done.exception, ConfigError)
    assert "two are called 'lexical'; name each once" in str(done.exception)
