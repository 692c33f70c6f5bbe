"""Span scores by hand: legal spans, one normaliser over windows, places of an answer; int8 weights."""

from math import exp, log
from pathlib import Path

import pytest
import torch

from genir.errors import ArtefactError, ConfigError
from rag.span.model import NEVER, SpanModel, log_odds, places_log_odds, span_scores
from rag.span.storage import dequantise, load_state, quantise, save_state
from tests.tiny_span_reader import save_word_encoder


def test_scores_of_spans_by_hand() -> None:
    begins = torch.tensor([[9.0, 1.0, 2.0, 3.0]])
    ends = torch.tensor([[9.0, 0.5, 0.25, 0.0]])
    may_begin = torch.tensor([[False, True, True, False]])
    may_end = torch.tensor([[False, True, False, True]])
    scores = span_scores(begins, ends, may_begin, may_end, 2)
    assert scores.shape == (1, 4, 2)
    legal = {
        (i, i + step): scores[0, i, step].item()
        for i in range(4)
        for step in range(2)
        if scores[0, i, step] > NEVER / 2
    }
    assert legal == {(1, 1): 1.5, (2, 3): 2.0}  # from 1 to 3 is too long, from 3 or to 2 is no word
    assert log_odds(scores).item() == pytest.approx(log(exp(1.5) + exp(2.0)))
    assert places_log_odds(scores, [[(1, 1), (2, 3)]]).item() == pytest.approx(log(exp(1.5) + exp(2.0)))
    assert places_log_odds(scores, [[(2, 3)]]).item() == pytest.approx(2.0)
    assert places_log_odds(scores, [[]]).item() == NEVER


def test_a_window_without_spans_has_no_odds_and_a_gradient() -> None:
    begins = torch.zeros(1, 3, requires_grad=True)
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    odds = log_odds(span_scores(begins, torch.zeros(1, 3), nothing, nothing, 2))
    assert odds.item() < NEVER / 2
    odds.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(begins.grad).all()  # type: ignore[arg-type]


def test_padding_changes_nothing(tmp_path: Path) -> None:
    model = SpanModel.pretrained(str(save_word_encoder(tmp_path)), 64).eval()
    rows = [[2, 5, 3, 7, 8, 3], [2, 5, 6, 3, 7, 8, 9, 10, 3]]
    with torch.inference_mode():
        alone = model(*model.pad(rows[:1]))
        longer = model(*model.pad(rows, least=40))
    assert longer[0].shape == (2, 64)
    for one, other in zip(alone, longer, strict=True):
        torch.testing.assert_close(one[0, :6], other[0, :6])


def test_the_no_answer_score_is_taken_off_every_begin(tmp_path: Path) -> None:
    model = SpanModel.pretrained(str(save_word_encoder(tmp_path)), 64).eval()
    inputs = model.pad([[2, 5, 3, 7, 8, 3]])
    with torch.inference_mode():
        begins, ends = model(*inputs)
        model.head.bias[2] += 1.5
        after, same = model(*inputs)
    torch.testing.assert_close(after, begins - 1.5)
    torch.testing.assert_close(same, ends)


def test_an_encoder_that_reads_less_is_refused(tmp_path: Path) -> None:
    save_word_encoder(tmp_path)
    with pytest.raises(ConfigError, match=r"max_length = 65, but the encoder .* reads 64 at most"):
        SpanModel.pretrained(str(tmp_path), 65)


def test_int8_is_within_half_a_scale(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"matrix": torch.randn(8, 32), "zero": torch.zeros(2, 3), "vector": torch.randn(8)}
    packed = quantise(state)
    assert packed["matrix"].dtype == torch.int8
    widened = dequantise(packed)
    scale = state["matrix"].abs().amax(1, keepdim=True) / 127
    assert ((widened["matrix"] - state["matrix"]).abs() <= scale / 2 + 1e-7).all()
    assert torch.equal(widened["zero"], state["zero"])
    assert torch.equal(widened["vector"], state["vector"])
    again = quantise(widened)  # saving what was loaded loses nothing more
    assert torch.equal(again["matrix"], packed["matrix"])
    for storage in ("int8", "float32"):
        save_state(tmp_path / f"{storage}.safetensors", state, storage)
    assert torch.equal(load_state(tmp_path / "int8.safetensors")["matrix"], widened["matrix"])
    assert torch.equal(load_state(tmp_path / "float32.safetensors")["matrix"], state["matrix"])


def test_broken_weights(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_text("no")
    for name in ("broken", "missing"):
        with pytest.raises(ArtefactError, match=r"no weights that can be read .*; train the reader again"):
            load_state(tmp_path / f"{name}.safetensors")
