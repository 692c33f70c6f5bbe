"""Generators of an evaluation are looked at before the first question is asked, and told apart by weights and settings."""

import shutil
from pathlib import Path

import pytest

from experiments.rag_evaluation import reading as rag_reading
from experiments.rag_evaluation.models import check_model
from experiments.rag_evaluation.reading import fingerprint
from experiments.reading import make_reader
from genir.errors import GenirError
from tests.bridges import write_bridges
from tests.evaluated_bridges import fault, named_builder, rag_eval
from tests.tiny_llama import save_tiny_llama


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole LLaMA, and others of which a file is missing."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_llama(folder / "whole")
    for name, missing in (("wordless", "tokenizer"), ("weightless", "model"), ("shapeless", "config")):
        shutil.copytree(folder / "whole", folder / name)
        for path in (folder / name).glob(f"{missing}*"):
            path.unlink()
    return folder


@pytest.mark.parametrize("name", ["hf:whole", "llama:whole", "llama:whole,stages=2,dtype=float32", "extractive"])
def test_what_can_be_loaded(name: str, models: Path) -> None:
    check_model(make_reader(name.replace("whole", str(models / "whole")), "cpu"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:shapeless", "shapeless': cannot be loaded: "),
        ("hf:weightless", "weightless': cannot be loaded: the folder has no weights"),
        ("llama:weightless", "has no model.safetensors and no model.safetensors.index.json"),
        ("llama:wordless", "wordless"),
        ("llama:whole,stages=9", "9 stages"),
        ("openai:nowhere", "base_url 'nowhere': expected http://HOST:PORT/v1"),
    ],
)
def test_what_cannot_be_loaded(name: str, message: str, models: Path) -> None:
    kind, _, source = name.partition(":")
    reader = make_reader(f"{kind}:{source if kind == 'openai' else models / source}", "cpu")
    with pytest.raises(GenirError) as caught:
        check_model(reader)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_evaluation_ends_before_the_first_of_several_is_read(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault of the second showed only behind the whole arms of the first."""
    write_bridges(tmp_path / "bridges")
    monkeypatch.setattr(rag_reading, "answer", None)  # it must not be asked
    given = ("--retrievers", "oracle", "--generator", f"builder,llama:{models / 'weightless'},stages=2")
    with named_builder():
        assert "has no model.safetensors" in fault(rag_eval(tmp_path, tmp_path / "out", *given))
    assert [path.name for path in tmp_path.iterdir()] == ["bridges"]


def test_settings_of_an_engine_tell_its_answers_apart(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text("{}")
    plain, staged = fingerprint(f"llama:{tmp_path / 'llama'}"), fingerprint(f"llama:{tmp_path / 'llama'},stages=2")
    assert staged.split() == ["llama", "stages=2", plain.split()[1]]  # the weights, not the folder's name
