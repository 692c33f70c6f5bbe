"""A folder without a manifest is unfinished; one with another manifest belongs to something else."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import genir
from genir.errors import ArtefactError
from genir.manifest import (
    MANIFEST,
    PASSING,
    is_current,
    provenance,
    read_manifest,
    sha256_of,
    write_atomically,
    write_json,
    write_manifest,
)
from genir.training import BEST, CHECKPOINT


@dataclass(frozen=True)
class Settings:
    levels: tuple[int, ...] = (8, 8)
    folder: Path = Path("x")


def test_a_manifest_says_what_made_the_folder(tmp_path: Path) -> None:
    write_manifest(tmp_path, "docids", Settings(), {"data": "abc"}, seed=3, seconds=1.5)
    found = read_manifest(tmp_path, "docids", "genir docids build")
    assert found["config"] == {"levels": [8, 8], "folder": "x"}
    assert (found["inputs"], found["seed"], found["facts"]) == ({"data": "abc"}, 3, {"seconds": 1.5})
    assert {"genir", "torch", "numpy"} <= found["versions"].keys()
    assert {"cpu", "cores", "system", "python"} == found["machine"].keys()
    assert found["git_commit"]
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_source_tree_tells_its_own_version_installed_or_not(tmp_path: Path) -> None:
    written = tomllib.loads((Path(genir.__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
    assert genir.__version__ == provenance("x", {}, {})["versions"]["genir"] == written
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "genir"\nversion = "7.8.9"\n')
    assert genir._version(tmp_path) == "7.8.9"
    elsewhere = genir._version(tmp_path / "none")
    for others in ('[project]\nname = "another"\nversion = "7.8.9"\n', "[tool]\n", "no toml"):
        (tmp_path / "pyproject.toml").write_text(others)
        assert genir._version(tmp_path) == elsewhere


def test_a_stage_is_current_only_for_the_same_configuration_inputs_and_seed(tmp_path: Path) -> None:
    assert not is_current(tmp_path, "docids", Settings(), {})
    write_manifest(tmp_path, "docids", Settings(), {"data": "abc"}, seed=3)
    assert is_current(tmp_path, "docids", Settings(), {"data": "abc"}, seed=3)
    assert not is_current(tmp_path, "docids", Settings(levels=(8,)), {"data": "abc"}, seed=3)
    assert not is_current(tmp_path, "docids", Settings(), {"data": "abd"}, seed=3)
    assert not is_current(tmp_path, "docids", Settings(), {"data": "abc"}, seed=4)
    assert not is_current(tmp_path, "train", Settings(), {"data": "abc"}, seed=3)
    write_json(tmp_path / MANIFEST, {"stage": "docids"})
    assert not is_current(tmp_path, "docids", Settings(), {"data": "abc"}, seed=3)


def test_what_is_wrong_with_a_folder_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere: no such folder; make one with `genir train`"):
        read_manifest(tmp_path / "nowhere", "model", "genir train")
    with pytest.raises(ArtefactError, match=r"has no manifest\.json, so it is unfinished .* `genir train`"):
        read_manifest(tmp_path, "model", "genir train")
    write_manifest(tmp_path, "docids", {}, {})
    with pytest.raises(ArtefactError, match="holds 'docids', expected 'model'; make one with `genir train`"):
        read_manifest(tmp_path, "model", "genir train")


def finished_folder(folder: Path) -> Path:
    """A stage's folder with a file, a file in a sub-folder, and files that are no outputs."""
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt", ".hidden", *PASSING):
        (folder / name).write_text("four")
    write_manifest(folder, "docids", {}, {})
    return folder


def test_outputs_are_recorded_but_not_the_manifest_nor_what_is_hidden_or_only_for_resuming(tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "f")
    assert {CHECKPOINT, BEST} == set(PASSING)
    for _ in range(2):  # the second time over the first one's manifest
        assert write_manifest(folder, "docids", {}, {})["outputs"] == {"a.txt": 4, "sub/b.txt": 4}
    for name in (".hidden", *PASSING):
        (folder / name).unlink()
    (folder / "more").touch()
    assert is_current(folder, "docids", {}, {})


@pytest.mark.parametrize("name", ["a.txt", "sub/b.txt"])
def test_a_folder_with_an_output_gone_or_cut_is_refused_and_not_current(tmp_path: Path, name: str) -> None:
    folder = finished_folder(tmp_path / "f")
    (folder / name).write_text("cut")
    with pytest.raises(
        ArtefactError, match=rf"{name}: has 3 bytes, but had 4 .*; make the folder again with `genir d`"
    ):
        read_manifest(folder, "docids", "genir d")
    assert not is_current(folder, "docids", {}, {})
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=rf"{name}: is missing, manifest\.json lists it; make .* with `genir d`"):
        read_manifest(folder, "docids", "genir d")
    assert not is_current(folder, "docids", {}, {})


def test_a_manifest_of_an_earlier_version_is_read_but_not_current(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "docids", {}, {})
    assert is_current(tmp_path, "docids", {}, {})
    del manifest["outputs"]
    write_json(tmp_path / MANIFEST, manifest)
    assert read_manifest(tmp_path, "docids", "genir docids build") == manifest
    assert not is_current(tmp_path, "docids", {}, {})


@pytest.mark.parametrize("content", [b'{"stage": "mod', b"[]", b"{}", b"\xff", b'{"stage": "model", "outputs": "a"}'])
def test_a_broken_manifest_is_no_crash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ArtefactError, match=r"manifest\.json: not a readable manifest .* make the folder again with"):
        read_manifest(tmp_path, "model", "genir train")
    assert not is_current(tmp_path, "model", {}, {})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"é": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}

    def cut_short(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, cut_short)
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]


def test_a_digest_covers_names_and_contents_but_not_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("x")
    (folder / "sub" / "b").write_text("y")
    before = sha256_of(folder)
    (folder / ".cache").write_text("z")
    assert sha256_of(folder) == before
    (folder / "a").rename(folder / "c")
    assert sha256_of(folder) != before
    assert sha256_of(folder / "c") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
