"""CausalModel on tiny random networks: search equals scoring, sharing prompts changes nothing, and what fails silently."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genir.beam_search import beam_search
from genir.constraints import PrefixTree
from genir.errors import ArtefactError, ConfigError, DataError, MissingExtraError
from genir.models import causal_scoring
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig, LlamaShape
from genir.objectives import CrossEntropyObjective
from genir.training import Example, TrainingConfig, train
from tests.tiny_causal_networks import tiny_causal

WORDS = ["[PAD]", "[END]", "[UNK]", *"abcdefghijkl", ":", "docid"]
TEXTS = ["a b c d e f g h i j", "k", "l a"]
END = 12
IDENTIFIERS = [(3, 4), (3,), (5, 6, 7), (5, 6, 8), (9, 4, 4, 4), (10,), (3, 4, 5)]
SHARING = ["llama", "llama_gqa", "gpt2", "opt", "cohere"]
NOT_SHARING = ["bloom", "mistral", "gemma2", "nemotron"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]")


def build(kind: str = "llama_gqa", own_tokens: bool = True, **settings: Any) -> CausalModel:
    torch.manual_seed(1)
    vocab_size, end = (END + 1, END) if own_tokens else (None, None)
    config = CausalConfig(**{"max_text_tokens": 16, "prompt": "{text} docid :", **settings})
    return CausalModel(tiny_causal(kind), tokenizer(), config, vocab_size, end).eval()


def search(model: CausalModel, num_beams: int = 20, texts: list[str] = TEXTS, **options: Any) -> list[dict[int, float]]:
    tree = PrefixTree.build([(*identifier, model.end_token) for identifier in IDENTIFIERS])
    found = beam_search(model.begin(texts), tree, len(texts), num_beams, **{"scoring": model.scoring, **options})
    return [{hypothesis.leaf: hypothesis.score for hypothesis in row} for row in found]


def trainable(model: CausalModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


# --- search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
@pytest.mark.parametrize("kind", [*SHARING, *NOT_SHARING])
def test_search_gives_the_scores_of_every_identifier(kind: str, own_tokens: bool) -> None:
    model = build(kind, own_tokens)
    scores = model.score(TEXTS, IDENTIFIERS)
    for row, found in zip(scores.tolist(), search(model), strict=True):
        assert found == pytest.approx(dict(enumerate(row)), abs=1e-4)
        assert list(found) == sorted(found, key=lambda leaf: -found[leaf])
    assert model.shares_prompts is (kind in SHARING)


@pytest.mark.parametrize("kind", SHARING)
@pytest.mark.parametrize("num_beams", [2, 3, 20])
def test_shared_prompts_equal_a_row_for_every_beam(kind: str, num_beams: int) -> None:
    model = build(kind)
    shared = search(model, num_beams)
    assert model.shares_prompts
    model.shares_prompts = False
    for with_sharing, without in zip(shared, search(model, num_beams), strict=True):
        assert with_sharing == pytest.approx(without, abs=1e-4)


def test_queries_with_unequal_numbers_of_beams_and_queries_that_end() -> None:
    model = build()
    steps = [
        ([0, 0, 0, 1, 2, 2], [1, 2, 3, 4, 5, 6]),  # 3, 1 and 2 beams
        ([1, 0, 4, 5, 5], [3, 3, 1, 2, 4]),  # the second query has ended
        ([2, 3, 2, 4], [5, 6, 7, 8]),  # only the third is left: its prompt is copied, the others' are dropped
        ([0, 0, 3], [1, 2, 3]),
    ]
    runs = []
    for shares in (True, False):
        model.shares_prompts = None if shares else False
        next_token = model.begin(TEXTS)
        logits = [next_token(torch.zeros(3, dtype=torch.int64), None, None)]
        logits += [next_token(torch.tensor(tokens), torch.tensor(parents), None) for parents, tokens in steps]
        runs.append(logits)
    for shared, apart in zip(*runs, strict=True):
        assert torch.allclose(shared, apart, atol=1e-4)


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
@pytest.mark.parametrize("kind", ["llama", "cohere"])
def test_allowed_tokens_are_those_of_the_whole_vocabulary(kind: str, own_tokens: bool) -> None:
    model = build(kind, own_tokens)
    for allowed in (torch.tensor([[3], [3], [4]]), torch.tensor([[0, 3, 9, 9, 1], [5, 5, 5, 5, 5], [8, 7, 6, 5, 4]])):
        whole, some = (model.begin(TEXTS)(torch.zeros(3), None, names) for names in (None, allowed))
        assert torch.allclose(some, whole.gather(1, allowed), atol=1e-5)
    with pytest.raises(DataError, match=r"holds token 99, but the model writes tokens 0 to \d+ only"):
        model.begin(TEXTS)(torch.zeros(3), None, torch.tensor([[99], [1], [1]]))


def test_search_over_the_allowed_tokens_only() -> None:
    for with_sharing, row in zip(
        search(build(), scoring="allowed"), search(build("bloom"), scoring="allowed"), strict=True
    ):
        assert sum(torch.tensor(list(with_sharing.values())).exp()) == pytest.approx(1, abs=1e-4)
        assert sum(torch.tensor(list(row.values())).exp()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("fault", ["drops it", "refuses it", "reads something else with it"])
def test_a_network_that_cannot_read_a_tree_keeps_a_row_for_every_beam(fault: str) -> None:
    """Attention layers that are not handed the search's arguments would read other prompts, and perhaps fail nowhere."""
    model = build()
    expected = model.score(TEXTS, IDENTIFIERS)
    decoder = model.network.get_decoder()
    forward = decoder.forward

    def dropping(*, inputs_embeds: Any, beams: Any = None, **options: Any) -> Any:
        if fault == "drops it" or beams is None:
            return forward(inputs_embeds=inputs_embeds, **options)
        if fault == "refuses it":
            raise TypeError("forward() got an unexpected keyword argument 'beams'")
        return forward(inputs_embeds=2 * inputs_embeds.roll(1, 0), beams=beams, **options)

    decoder.forward = dropping
    model.__dict__["_takes_positions"] = True  # the wrapper hides the signature
    for row, found in zip(expected.tolist(), search(model), strict=True):
        assert found == pytest.approx(dict(enumerate(row)), abs=1e-4)
    assert model.shares_prompts is False
    assert model.network.config._attn_implementation == "sdpa"


def test_identifiers_of_one_token_without_an_end() -> None:
    torch.manual_seed(1)
    model = CausalModel(tiny_causal("llama"), tokenizer(), CausalConfig(max_text_tokens=16), 9, None)
    scores = model.score(TEXTS, [(i,) for i in range(9)])
    assert scores.exp().sum(1).tolist() == pytest.approx([1, 1, 1])
    found = beam_search(model.begin(TEXTS), PrefixTree.build([(i,) for i in range(9)]), 3, 9, scoring=model.scoring)
    for row, hypotheses in zip(scores.tolist(), found, strict=True):
        assert {h.leaf: h.score for h in hypotheses} == pytest.approx(dict(enumerate(row)), abs=1e-5)


def test_scores_do_not_depend_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    expected = model.score(TEXTS, IDENTIFIERS)
    monkeypatch.setattr(causal_scoring, "_HELD_AT_ONCE", 1)
    assert torch.allclose(model.score(TEXTS, IDENTIFIERS), expected, atol=1e-5)


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_bfloat16_is_near_float32(own_tokens: bool) -> None:
    model = build(own_tokens=own_tokens)
    exact = search(model)
    model.precision = "bfloat16"
    for row, near in zip(exact, search(model), strict=True):
        assert near == pytest.approx(row, rel=0.1, abs=0.5)
        assert near != row


# --- what fails silently elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*SHARING, *NOT_SHARING])
def test_padding_changes_nothing(kind: str) -> None:
    """Padding that is attended to, or counted as positions, shifts every score a little and fails nowhere."""
    model = build(kind)
    tokens = torch.tensor([[3, 4, END], [5, END, -1], [10, END, -1]])
    rows = model.tokenize(TEXTS)
    left_ids, left_mask = model.pad(rows)
    assert left_mask[:, -1].all()
    assert not left_mask[1, 0]
    right_ids, right_mask = torch.zeros_like(left_ids), torch.zeros_like(left_mask)
    for i, row in enumerate(rows):
        right_ids[i, : len(row)], right_mask[i, : len(row)] = torch.tensor(row), 1
    begun, trained = [], []
    for input_ids, mask in (
        (left_ids, left_mask),
        (right_ids, right_mask),
        (left_ids + 5 * (1 - left_mask), left_mask),
    ):
        next_token = model.begin_tokens(input_ids, mask)
        first = next_token(torch.zeros(3, dtype=torch.int64), None, None)
        begun.append(torch.cat([first, next_token(torch.tensor([3, 4, 5]), torch.arange(3), None)], 1))
        trained.append(model.step_logits(input_ids, mask, tokens)[tokens >= 0])
    for other in (1, 2):
        assert torch.allclose(begun[0], begun[other], atol=1e-5)
        assert torch.allclose(trained[0], trained[other], atol=1e-5)
    alone = torch.cat([model.score([text], IDENTIFIERS) for text in TEXTS])
    assert torch.allclose(model.score(TEXTS, IDENTIFIERS), alone, atol=1e-4)
    for text, together in zip(TEXTS, search(model), strict=True):
        assert search(model, texts=[text])[0] == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_step_logits_train_what_score_measures(own_tokens: bool, lora_rank: int) -> None:
    if lora_rank:
        pytest.importorskip("peft")
    model = build(own_tokens=own_tokens, lora_rank=lora_rank)
    end = model.end_token or 0
    tokens = torch.tensor([[3, 4, end, -1], [3, end, -1, -1], [9, 4, 4, 4]])
    logits = model.step_logits(*model.pad(model.tokenize(TEXTS)), tokens)
    assert logits.shape == (3, 4, model.vocab_size)  # of the identifier alone: a loss cannot hold the prompt
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens.flatten(), ignore_index=-1, reduction="none"
    )
    expected = model.score(TEXTS, [(3, 4), (3,)])
    assert -losses.view(3, 4).sum(1)[:2].detach().numpy() == pytest.approx(expected.diagonal().numpy(), abs=1e-4)
    losses.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_new_embeddings_are_trained(lora_rank: int) -> None:
    """With a frozen network the identifiers' embeddings stay noise, unless they are trained for themselves."""
    if lora_rank:
        pytest.importorskip("peft")
    model = build(lora_rank=lora_rank, source="anywhere")
    names = trainable(model)
    if lora_rank:
        assert names - {"own_embedding.weight"} == {name for name in dict(model.named_parameters()) if "lora_" in name}
        assert len(names) == 1 + 2 * 2 * 7  # A and B of seven linear layers in each of two
        assert model.pretrained == ()
    else:
        assert names == set(dict(model.named_parameters()))
        assert model.pretrained == ("network.",)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    tokens = torch.tensor([[3, 4, END], [5, 6, END], [10, END, -1]])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):  # A of an adapter moves from the second step on, B being zero at first
        optimizer.zero_grad()
        logits = model.train().step_logits(*model.pad(model.tokenize(TEXTS)), tokens)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=-1).backward()
        optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == names - {"network.lm_head.weight"}  # which identifiers of their own do not use
    # tokens are read as well as written: of those that stand in front of others, the input gradient arrives, too
    assert model.own_embedding is not None
    assert (model.own_embedding.weight != before["own_embedding.weight"]).any(1).all()


@pytest.mark.parametrize("lora_rank", [0, 8])
def test_training_makes_it_retrieve(lora_rank: int, tmp_path: Path) -> None:
    if lora_rank:
        pytest.importorskip("peft")
    model = build(lora_rank=lora_rank)
    texts = ["a b", "c d", "e f", "g h", "i j", "k l", "a l"]
    objective = CrossEntropyObjective(model, IDENTIFIERS)
    config = TrainingConfig(epochs=60, batch_size=7, fresh_learning_rate=0.02, evaluate_every=60, precision="float32")

    def right() -> float:
        found = search(model, 3, texts)
        model.train()
        return sum(next(iter(row)) == leaf for leaf, row in enumerate(found)) / len(texts)

    examples = [Example(text, target) for target, text in enumerate(texts)]
    progress = train(model, objective, examples, right, config, tmp_path)
    assert progress.history[0]["dev"] < 0.5
    assert right() == progress.best == 1.0


def test_a_position_does_not_see_what_it_shall_write() -> None:
    model = build()
    ids, mask = model.pad(model.tokenize(TEXTS[:1]))
    first, second = (model.step_logits(ids, mask, torch.tensor([[a, 4]]))[0] for a in (3, 5))
    assert torch.allclose(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama_gqa", "gpt2"])
def test_adapters_are_merged_when_saved(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model = build(kind, lora_rank=2)
    start = build(kind).score(TEXTS, IDENTIFIERS)
    assert torch.allclose(model.score(TEXTS, IDENTIFIERS), start, atol=1e-5)  # B is zero
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    expected, state = model.score(TEXTS, IDENTIFIERS), {k: v.clone() for k, v in model.state_dict().items()}
    assert not torch.allclose(expected, start, atol=0.1)
    for row, found in zip(expected.tolist(), search(model), strict=True):
        assert found == pytest.approx(dict(enumerate(row)), abs=1e-4)
    model.save(tmp_path)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    again = CausalModel.load(tmp_path, json.loads((tmp_path / "config.json").read_text()))
    assert torch.allclose(again.score(TEXTS, IDENTIFIERS), expected, atol=1e-4)
    assert not any("lora" in name for name in again.state_dict())


def test_adapters_where_named() -> None:
    pytest.importorskip("peft")
    names = trainable(build(lora_rank=1, lora_targets=("q_proj",)))
    assert {name.rsplit(".", 4)[1] for name in names if "lora" in name} == {"q_proj"}
    with pytest.raises(ConfigError, match=r"lora_targets = \['nowhere'\]: not all of them are layers"):
        build(lora_rank=1, lora_targets=("nowhere",))


def test_adapters_need_peft_and_a_trained_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="lora_rank adapts a trained network: give one as source"):
        CausalModel.build(CausalConfig(lora_rank=4))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"needs peft, which is not installed: pip install 'genir\[lora\]'"):
        build(lora_rank=4)


# --- keeping and reading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_tokens", [True, False], ids=["own", "text"])
def test_save_and_load(own_tokens: bool, tmp_path: Path) -> None:
    model = build(own_tokens=own_tokens)
    search(model)  # switches the attention over, which must not be saved
    model.save(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    again = CausalModel.load(tmp_path, saved)
    assert (again.vocab_size, again.end_token, again.config.prompt) == (
        model.vocab_size,
        model.end_token,
        "{text} docid :",
    )
    assert torch.equal(again.score(TEXTS, IDENTIFIERS), model.score(TEXTS, IDENTIFIERS))
    if own_tokens:
        (tmp_path / "own_embedding.safetensors").write_text("cut short")
        with pytest.raises(ArtefactError, match=r"own_embedding\.safetensors: cannot be loaded"):
            CausalModel.load(tmp_path, saved)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_llama_from_a_shape(dtype: Any, tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    shape = LlamaShape(32, 48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
    config = CausalConfig(tokenizer=str(tmp_path), llama=shape, dtype=dtype)
    model = CausalModel.build(config, END + 1, END)
    assert model.network.config.vocab_size == len(WORDS)
    assert str(model.network.dtype) == f"torch.{dtype}"
    assert model.score(TEXTS, IDENTIFIERS).shape == (3, len(IDENTIFIERS))
    assert [len(found) for found in search(model)] == [len(IDENTIFIERS)] * 3
    assert CausalModel.build(config).end_token == 1


def test_long_texts_are_cut_and_their_prompt_is_not() -> None:
    model = build(max_text_tokens=4)
    with pytest.warns(UserWarning, match="1 of 3 texts are longer than 4 tokens and were cut") as caught:
        rows = model.tokenize(TEXTS)
    assert len(caught) == 1
    words = [[WORDS[token] for token in row] for row in rows]
    assert words == [[*"abcd", "docid", ":"], ["k", "docid", ":"], ["l", "a", "docid", ":"]]


def test_an_empty_text_is_legal() -> None:
    for prompt in ("{text}", "{text} docid :"):
        model = build(prompt=prompt)
        assert model.score(["", "a"], IDENTIFIERS).isfinite().all()
        assert [len(found) for found in search(model, texts=["", "a"])] == [len(IDENTIFIERS)] * 2


def test_an_identifier_beyond_the_last_position() -> None:
    model = build(max_text_tokens=60)
    with pytest.raises(ConfigError, match="have 65 tokens or more, but the network has 64 positions; lower"):
        search(model, texts=[" ".join("a" * 60)])
    with pytest.raises(ConfigError, match="max_text_tokens = 64, but the network has 64 positions"):
        build(max_text_tokens=64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_text_tokens": 1}, "max_text_tokens = 1; expected 2 or more"),
        ({"prompt": "Find it"}, r"prompt = 'Find it'; expected \{text\} in it, once"),
        ({"prompt": "{text}{text}"}, r"expected \{text\} in it, once"),
        ({"dtype": "float8"}, "dtype = 'float8'; expected float32 or bfloat16"),
        ({"lora_rank": -1}, "lora_rank = -1, .* expected a rank of 0 or more"),
        ({"lora_dropout": 1.0}, "a dropout in 0..1"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CausalConfig(), **settings)


def test_impossible_shapes_and_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected sizes of 1 or more"):
        LlamaShape(num_hidden_layers=0)
    with pytest.raises(ConfigError, match="num_key_value_heads to divide num_attention_heads"):
        LlamaShape(num_attention_heads=4, num_key_value_heads=3)
    with pytest.raises(ArtefactError, match=r"nowhere.*: no causal language model: .*; give a folder or a hub name"):
        CausalModel.build(CausalConfig(source=str(tmp_path / "nowhere")))
