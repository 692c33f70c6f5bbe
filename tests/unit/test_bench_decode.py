"""The decoding benchmark in miniature: it runs, compares, and writes what it found."""

import json
from pathlib import Path

import pytest

from experiments.bench_decode import agree, run
from genir.models.seq2seq import T5Shape


def test_runs_and_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = T5Shape(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
    figures = run(docs=200, batch=2, beams=4, out=tmp_path / "decode.json", repeats=1, query_tokens=4, shape=shape)
    assert figures["identical"]
    assert figures["speedup_fp32"] == pytest.approx(figures["ours_fp32_qps"] / figures["hf_qps"])
    assert json.loads((tmp_path / "decode.json").read_text()) == figures
    assert "same results: yes" in capsys.readouterr().out


def test_agree_sees_differences() -> None:
    ranking = [[((1, 2), -1.0), ((3, 4), -2.0)]]
    assert agree(ranking, [[((1, 2), -1.00001), ((3, 4), -2.0)]])
    assert agree([[((1, 2), -1.0), ((3, 4), -1.00001)]], [[((3, 4), -1.0), ((1, 2), -1.00001)]])
    assert not agree(ranking, [[((1, 2), -1.0), ((3, 4), -2.1)]])
    assert not agree(ranking, [[((3, 4), -1.0), ((1, 2), -2.0)]])
    assert not agree(ranking, [[((1, 2), -1.0)]])
    assert not agree(ranking, [[((5, 6), -1.0), ((3, 4), -2.0)]])
