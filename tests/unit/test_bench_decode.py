"""The decoding benchmark in miniature: it runs, compares, and writes what it found."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.bench.decode import run
from experiments.bench.decoding_baseline import agree
from experiments.bench.decoding_cost import TimedConstraint, Unconstrained, operations
from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.errors import ConfigError
from genir.formats import write_dataset
from genir.models.packed_linear import PackedLinear
from genir.models.seq2seq import T5Shape
from genir.records import Dataset, Document, Qrels, Query

TINY = T5Shape(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
KEYS = [
    *("hf_qps", "ours_fp32_qps", "ours_bf16_qps", "unconstrained_qps", "speedup_fp32", "speedup_bf16"),
    *("constraint_share", "share_of_peak_fp32", "share_of_peak_bf16"),
]


def test_runs_and_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "decode.json"
    figures = run(docs=200, batch=2, beams=4, out=out, repeats=1, query_tokens=4, shape=TINY)
    assert figures["identical"]
    assert figures["hf_qps"] == max(figures["hf_vocabulary_qps"], figures["hf_allowed_qps"])
    assert figures["speedup_fp32"] == pytest.approx(figures["ours_fp32_qps"] / figures["hf_qps"])
    assert all(figures[key] > 0 for key in KEYS)
    assert json.loads(out.read_text()) == figures
    assert json.loads((tmp_path / "decode.manifest.json").read_text())["stage"] == "bench decode"
    assert (tmp_path / "decode.svg").read_text().count("Hugging Face") >= 3
    assert "same results as Hugging Face: yes" in capsys.readouterr().out


def test_titles_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = ["Flu", "Flu shot", "Flu season in spring", "Fever", "Measles", "Mumps"]
    corpus = tuple(Document(f"d{i}", title, "text") for i, title in enumerate(titles))
    queries = {f"q{i}": Query(f"q{i}", f"what is {title}?") for i, title in enumerate(titles)}
    write_dataset(
        Dataset("tiny", corpus, queries, {"test": Qrels({f"q{i}": {f"d{i}": 1} for i in range(6)})}), tmp_path
    )
    figures = run(batch=3, beams=4, repeats=1, query_tokens=6, shape=TINY, data=tmp_path, scheme="title")
    assert figures["identical"]
    assert (figures["settings"]["docs"], figures["settings"]["batch"]) == (6, 3)


@pytest.mark.parametrize("case", [{"scheme": "title"}, {"data": Path("somewhere")}, {"scheme": "url"}])
def test_a_scheme_needs_its_data(case: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected semantic, or title with a data set's folder"):
        run(**case)


def test_agree_sees_differences() -> None:
    ranking = [[((1, 2), -1.0), ((3, 4), -2.0)]]
    assert agree(ranking, [[((1, 2), -1.00001), ((3, 4), -2.0)]])
    assert agree([[((1, 2), -1.0), ((3, 4), -1.00001)]], [[((3, 4), -1.0), ((1, 2), -1.00001)]])
    assert not agree(ranking, [[((1, 2), -1.0), ((3, 4), -2.1)]])
    assert not agree(ranking, [[((3, 4), -1.0), ((1, 2), -2.0)]])
    assert not agree(ranking, [[((1, 2), -1.0)]])
    assert not agree(ranking, [[((5, 6), -1.0), ((3, 4), -2.0)]])


def uniform(tokens: torch.Tensor, parents: torch.Tensor | None, allowed: torch.Tensor) -> torch.Tensor:
    return torch.zeros(allowed.shape)


def test_a_timed_constraint_is_the_constraint() -> None:
    tree = PrefixTree.build([(1, 2, 3), (1, 3), (2, 2)])
    timed = TimedConstraint(tree)
    assert beam_search(uniform, timed, 2, 3, scoring="logits") == beam_search(uniform, tree, 2, 3, scoring="logits")
    assert timed.seconds > 0


def test_without_a_constraint_every_choice_is_open() -> None:
    free = Unconstrained([torch.arange(3), torch.arange(3, 5), torch.tensor([9])])
    found = beam_search(uniform, free, 1, 10, scoring="allowed")[0]
    assert {hypothesis.tokens for hypothesis in found} == {(a, b, 9) for a in range(3) for b in (3, 4)}


def test_operations_of_a_product() -> None:
    assert operations(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 2 * 3 * 4 * 5
    packed = PackedLinear(torch.ones(5, 4))
    assert operations(lambda: packed(torch.ones(6, 4))) == 2 * 6 * 4 * 5
