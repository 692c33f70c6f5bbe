"""Seq2SeqModel on tiny random networks: search equals scoring, sharing changes nothing, and it can be kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.errors import ArtefactError, ConfigError
from genir.models.seq2seq import Seq2SeqConfig, Seq2SeqModel, T5Shape

WORDS = ["[PAD]", "[END]", "[UNK]", *"abcdefghijkl"]
TEXTS = ["a b c d e f g h i j", "k", "l a"]
END = 12
IDENTIFIERS = [(3, 4), (3,), (5, 6, 7), (5, 6, 8), (9, 4, 4, 4), (10,), (3, 4, 5)]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]")


def network(kind: str) -> Any:
    torch.manual_seed(0)
    tokens = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    if kind == "t5":
        from transformers import T5Config, T5ForConditionalGeneration

        shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        return T5ForConditionalGeneration(T5Config(**tokens, **shape))
    from transformers import BartConfig, BartForConditionalGeneration

    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "max_position_embeddings": 32, "init_std": 0.4}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    return BartForConditionalGeneration(BartConfig(**tokens, **shape, **heads))


def build(kind: str = "t5", own_tokens: bool = True, max_text_tokens: int = 16) -> Seq2SeqModel:
    vocab_size, end = (END + 1, END) if own_tokens else (None, None)
    config = Seq2SeqConfig(max_text_tokens=max_text_tokens)
    return Seq2SeqModel(network(kind), tokenizer(), config, vocab_size, end).eval()


def search(model: Seq2SeqModel, num_beams: int = 20) -> list[dict[int, float]]:
    tree = PrefixTree.build([(*identifier, model.end_token) for identifier in IDENTIFIERS])
    found = beam_search(model.begin(TEXTS), tree, len(TEXTS), num_beams, scoring=model.scoring)
    return [{hypothesis.leaf: hypothesis.score for hypothesis in row} for row in found]


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_search_gives_the_scores_of_every_identifier(kind: str, own_tokens: bool) -> None:
    model = build(kind, own_tokens)
    scores = model.score(TEXTS, IDENTIFIERS)
    for row, found in zip(scores.tolist(), search(model), strict=True):
        assert found == pytest.approx(dict(enumerate(row)), abs=1e-4)
        assert list(found) == sorted(found, key=lambda leaf: -found[leaf])


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("num_beams", [2, 3, 20])
def test_shared_cross_attention_equals_a_row_for_every_beam(kind: str, num_beams: int) -> None:
    model = build(kind)
    assert model.shares_cross_attention
    shared, scores = search(model, num_beams), model.score(TEXTS, IDENTIFIERS)
    model.shares_cross_attention = False
    for with_sharing, without in zip(shared, search(model, num_beams), strict=True):
        assert with_sharing == pytest.approx(without, abs=1e-4)
    assert torch.allclose(scores, model.score(TEXTS, IDENTIFIERS), atol=1e-4)


def test_a_batch_scores_like_each_text_alone() -> None:
    model = build()
    alone = torch.cat([model.score([text], IDENTIFIERS) for text in TEXTS])
    assert torch.allclose(model.score(TEXTS, IDENTIFIERS), alone, atol=1e-4)


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_step_logits_train_what_score_measures(own_tokens: bool) -> None:
    model = build(own_tokens=own_tokens)
    end = model.end_token or 0
    tokens = torch.tensor([[3, 4, end, -1], [3, end, -1, -1], [9, 4, 4, 4]])
    logits = model.step_logits(*model.pad(model.tokenize(TEXTS)), tokens)
    assert logits.shape == (3, 4, model.vocab_size)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens.flatten(), ignore_index=-1, reduction="none"
    )
    expected = model.score(TEXTS, [(3, 4), (3,)])
    assert -losses.view(3, 4).sum(1)[:2].detach().numpy() == pytest.approx(expected.diagonal().numpy(), abs=1e-4)
    losses.sum().backward()
    table = model.own_embedding if model.own_embedding is not None else model.network.get_input_embeddings()
    assert table.weight.grad is not None
    assert table.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_save_and_load(own_tokens: bool, tmp_path: Path) -> None:
    model = build(own_tokens=own_tokens)
    model.save(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    again = Seq2SeqModel.load(tmp_path, saved)
    assert (again.vocab_size, again.end_token) == (model.vocab_size, model.end_token)
    assert torch.equal(again.score(TEXTS, IDENTIFIERS), model.score(TEXTS, IDENTIFIERS))
    if own_tokens:
        (tmp_path / "own_embedding.safetensors").write_text("cut short")
        with pytest.raises(ArtefactError, match=r"own_embedding\.safetensors: cannot be loaded"):
            Seq2SeqModel.load(tmp_path, saved)


def test_a_t5_from_a_shape(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    shape = T5Shape(d_model=16, d_ff=32, num_layers=1, num_heads=2, d_kv=8)
    model = Seq2SeqModel.build(Seq2SeqConfig(tokenizer=str(tmp_path), t5=shape), END + 1, END)
    assert model.network.config.vocab_size == len(WORDS)
    assert model.score(TEXTS, IDENTIFIERS).shape == (3, len(IDENTIFIERS))
    assert Seq2SeqModel.build(Seq2SeqConfig(tokenizer=str(tmp_path), t5=shape)).end_token == 1


def test_long_texts_are_cut_with_one_warning() -> None:
    model = build(max_text_tokens=4)
    with pytest.warns(UserWarning, match="1 of 3 texts are longer than 4 tokens and were cut") as caught:
        rows = model.tokenize(TEXTS)
    assert len(caught) == 1
    assert [len(row) for row in rows] == [4, 1, 2]


def test_an_empty_text_is_legal() -> None:
    assert build().score(["", "a"], IDENTIFIERS).isfinite().all()


def test_refuses_what_is_no_encoder_decoder(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nowhere.*: no encoder-decoder: .*; give a folder or a hub name"):
        Seq2SeqModel.build(Seq2SeqConfig(source=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="max_text_tokens = 1; expected 2 or more"):
        Seq2SeqConfig(max_text_tokens=1)
