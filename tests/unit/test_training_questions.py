"""Fewer training questions: which are taken, what else stays, and when the folder is made anew."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.quality.training_questions import fewer_questions, take_questions
from genir.formats import load_dataset, write_dataset
from genir.manifest import MANIFEST
from genir.records import Query
from tests.quality_towns import towns, write_towns


def test_the_fewer_lie_among_the_more_and_nothing_else_is_taken_away() -> None:
    dataset = towns()
    one, three, all_of_them = (take_questions(dataset, number, 0) for number in (1, 3, 7))
    assert [len(found.qrels["train"]) for found in (one, three, all_of_them)] == [1, 3, 7]
    assert set(one.qrels["train"]) < set(three.qrels["train"])
    assert all_of_them.queries == dataset.queries
    asked_elsewhere = {query_id for split in ("dev", "test", "spring") for query_id in dataset.qrels[split]}
    assert set(one.queries) == asked_elsewhere | set(one.qrels["train"])
    assert one.corpus == dataset.corpus
    assert {split: one.qrels[split] for split in ("dev", "test", "spring")} == {
        split: dataset.qrels[split] for split in ("dev", "test", "spring")
    }
    assert set(take_questions(dataset, 3, 1).qrels["train"]) != set(three.qrels["train"])


def test_with_no_more_questions_the_folder_is_the_data_itself(tmp_path: Path) -> None:
    data = write_towns(tmp_path)
    assert fewer_questions(towns(), data, tmp_path / "work", 7, 0) == data
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("fault", ["another data set", "no manifest", "an empty folder", "a shorter file"])
def test_what_is_there_is_trusted_only_where_its_manifest_vouches_for_it(tmp_path: Path, fault: str) -> None:
    data, dataset = write_towns(tmp_path), towns()
    folder = fewer_questions(dataset, data, tmp_path / "work", 3, 0)
    assert folder.name == "towns"
    made = (folder / MANIFEST).stat().st_mtime_ns
    assert fewer_questions(dataset, data, tmp_path / "work", 3, 0) == folder
    assert (folder / MANIFEST).stat().st_mtime_ns == made
    if fault == "another data set":
        dataset = replace(dataset, queries={**dataset.queries, "q99": Query("q99", "who asks")})
        write_dataset(dataset, data)
    elif fault == "no manifest":
        (folder / MANIFEST).unlink()
        (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    elif fault == "an empty folder":
        for file in [path for path in folder.rglob("*") if path.is_file()]:
            file.unlink()
    else:
        (folder / "queries.jsonl").write_text("")
    again = fewer_questions(dataset, data, tmp_path / "work", 3, 0)
    assert again == folder
    assert (folder / MANIFEST).is_file()
    found, expected = load_dataset(folder), take_questions(dataset, 3, 0)
    assert (found.queries, found.qrels) == (expected.queries, expected.qrels)


def test_seeds_and_numbers_have_folders_of_their_own(tmp_path: Path) -> None:
    data, dataset = write_towns(tmp_path), towns()
    folders = {
        fewer_questions(dataset, data, tmp_path / "work", number, seed) for number, seed in ((3, 0), (3, 1), (2, 0))
    }
    assert len(folders) == 3
