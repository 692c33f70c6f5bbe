"""The rules that all stages keep: what may be written over, and what is reused."""

import json
from pathlib import Path
from typing import Any

import pytest

from docids.numeric import NumericScheme
from experiments.data_stage import build_docids, import_data
from genir.embedding import encoder_fingerprint
from genir.errors import ArtefactError, DataError
from genir.manifest import check_out
from genir.records import Dataset
from tests.tiny_journey import Journey
from tests.tiny_text_models import save_tiny_bert

NAMES = ("a.json", "weights")


def test_a_new_an_empty_and_an_unfinished_folder_may_be_written(tmp_path: Path) -> None:
    check_out(tmp_path / "new", NAMES)
    check_out(tmp_path, NAMES)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "anything").touch()
    (tmp_path / ".a.json.12.tmp").touch()
    check_out(tmp_path, NAMES)
    (tmp_path / "manifest.json").touch()
    check_out(tmp_path, NAMES)


def test_what_somebody_else_wrote_may_not(tmp_path: Path) -> None:
    for name in ("thesis.doc", "b", "c", "d"):
        (tmp_path / name).touch()
    with pytest.raises(ArtefactError, match=r"already holds other things \(b, c, d\); give the name of a new folder"):
        check_out(tmp_path, NAMES)
    with pytest.raises(ArtefactError, match="is a file; give the name of a new folder"):
        check_out(tmp_path / "b", NAMES)


def test_identifiers_are_made_again_only_for_another_corpus_scheme_or_setting(
    tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "docids"

    def build(scheme: str = "numeric", *settings: str) -> str:
        return str(build_docids(tiny_folder, out, scheme, settings, "no encoder", None)["facts"])

    first = build()
    made = (out / "manifest.json").stat().st_mtime_ns
    assert build() == first
    assert build("numeric", "zero_padded=false") == first  # the default, said
    assert (out / "manifest.json").stat().st_mtime_ns == made
    assert build("numeric", "zero_padded=true") == first.replace("'zero_padded': False", "'zero_padded': True")
    assert (out / "manifest.json").stat().st_mtime_ns > made
    corpus = tiny_folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '{"_id": "d5", "text": "Rome."}\n')
    assert "'documents': 5" in build()


def test_identifiers_are_made_again_where_a_default_has_changed(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> dict[str, Any]:
        return build_docids(tiny_folder, tmp_path / "docids", "numeric", (), "no encoder", None)

    assert made()["config"]["settings"] == {"zero_padded": False}
    monkeypatch.setattr(NumericScheme.__init__, "__defaults__", (True,))
    assert made()["config"]["settings"] == {"zero_padded": True}


def test_identifiers_are_made_again_for_a_deleted_file_another_encoder_or_another_seed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    out, encoder = tmp_path / "docids", save_tiny_bert(tmp_path / "encoder", 16)

    def made(*settings: str) -> dict[str, Any]:
        chosen = ("levels=2", "codes=2", *settings)
        return build_docids(tiny_folder, out, "residual", chosen, str(encoder), tmp_path / "cache")

    first = made()
    assert (first["seed"], first["inputs"]["encoder"]) == (0, encoder_fingerprint(str(encoder)))
    assert made() == first
    (out / "docids.jsonl").unlink()
    made()
    assert (out / "docids.jsonl").is_file()
    assert made("seed=3")["seed"] == 3
    weights = encoder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert made("seed=3")["inputs"]["encoder"] != first["inputs"]["encoder"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_model_is_trained_again_for_another_encoder_or_a_deleted_file(tmp_path: Path, tiny_dataset: Dataset) -> None:
    journey = Journey.begin(tmp_path, tiny_dataset)
    journey.build()

    def made() -> bytes:
        assert journey.train(None, "--replace").code == 0
        return (journey.model / "manifest.json").read_bytes()

    first = made()
    assert made() == first
    assert not {"checkpoint.safetensors", "best.safetensors"} & json.loads(first)["outputs"].keys()
    (journey.model / "titles.json").unlink()
    made()
    assert (journey.model / "titles.json").is_file()
    weights = journey.encoder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert json.loads(made())["inputs"]["pretrained"] != json.loads(first)["inputs"]["pretrained"]


def test_an_import_never_goes_into_a_folder_that_holds_anything(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already; give a new folder, or remove it first"):
        import_data(str(tiny_folder), tiny_folder)
    out = tmp_path / "empty"
    out.mkdir()
    assert import_data(str(tiny_folder), out)["facts"]["documents"] == 4
