"""The constraint benchmark in miniature: it measures what it says, and writes what it found."""

import json
from pathlib import Path

import pytest
import torch

from experiments.bench.constraint import run
from experiments.bench.constraint_baselines import BASELINES, Allowed
from genir.errors import ConfigError
from genir.formats import write_dataset
from genir.records import Dataset, Document


def test_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib (extra report)")
    figures = run([500, 2000], tmp_path / "constraint.json", repeats=2, largest_baseline=500)
    assert json.loads((tmp_path / "constraint.json").read_text()) == figures
    assert [row["docs"] for row in figures["rows"]] == [500, 2000]
    for row in figures["rows"]:
        assert {"build_s", "bytes_per_id", "load_ms", "step_us", "search_ms", "update_share", "delete_share"} <= set(
            row
        )
        assert 20 < row["bytes_per_id"] < 60
        assert row["search_found"] == 9 * 70
        assert row["step_level"] >= 2
    assert {name: len(rows) for name, rows in figures["baselines"].items()} == {"nested dicts": 1, "prefix hash": 1}
    assert json.loads((tmp_path / "constraint.manifest.json").read_text())["stage"] == "bench constraint"
    assert (tmp_path / "constraint.svg").read_text().startswith("<?xml")
    printed = capsys.readouterr().out
    assert "nested" in printed
    assert "STATIC" in printed


@pytest.mark.parametrize("docs", [[], [0, 10]])
def test_refuses_sizes(docs: list[int]) -> None:
    with pytest.raises(ConfigError, match="expected numbers of documents, at least 1 each"):
        run(docs)


@pytest.mark.parametrize("make", BASELINES.values())
def test_baselines_allow_the_same(make: type[Allowed]) -> None:
    allowed = make([(1, 2), (1, 3), (4,)])
    assert [sorted(allowed(path)) for path in ((), (1,), (1, 2))] == [[1, 4], [2, 3], []]


def test_the_step_is_the_constraints_part() -> None:
    from experiments.bench.constraint_work import step
    from genir.constraints import PrefixTree

    tree = PrefixTree.build([(1, 2), (1, 3), (4, 0)])
    settled, scores, leaves, goes_on = step(tree, torch.tensor([0, 0]), torch.tensor([[0.0, 1, 2, 3, 4]] * 2))
    assert (settled.tolist(), scores.tolist()) == ([False] * 2, [[1, 4]] * 2)
    assert (leaves.tolist(), goes_on.tolist()) == ([-1] * 2, [True] * 2)


def test_an_index_over_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tuple(Document(f"d{i}", f"Title {i}", "one two three four five six") for i in range(4))
    write_dataset(Dataset("tiny", corpus, {}, {}), tmp_path)
    figures = run([10], repeats=1, data=tmp_path)["fm_index"]
    assert (figures["documents"], figures["data"]) == (4, tmp_path.name)
    assert figures["tokens"] == 4 * 8
    assert list(figures["children_ms"]) == ["1", "2", "3", "4"]
    assert "FM-index over" in capsys.readouterr().out
