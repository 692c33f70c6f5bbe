"""Training a decoder-only model: the failures that show nowhere but in the scores, each with its test, under LoRA and without.

Next to test_causal.py, which tests the parts, these go the whole way: a folder as a hub gives it, the objective, the loop, the save.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from genir.objectives import CrossEntropyObjective, TrainingBatch
from genir.training import Example, TrainingConfig, train
from tests.tiny_text_models import save_byte_tokenizer

END = 8
IDENTIFIERS = [(3,), (3, 4), (3, 4, 5), (6, 7)]  # each of the first three begins the next
TEXTS = ["who", "where is it", "when was it that it began", "why"]
LORA = pytest.mark.parametrize("lora_rank", [0, 8], ids=["whole", "lora"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random LLaMA over bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"vocab_size": save_byte_tokenizer(folder), "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": None}
    config = LlamaConfig(**shape, **tokens, max_position_embeddings=64, initializer_range=0.4)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def make(source: str, lora_rank: int = 0, **settings: Any) -> CausalModel:
    if lora_rank:
        pytest.importorskip("peft")
    torch.manual_seed(1)
    config = CausalConfig(source, max_text_tokens=32, prompt="{text} =", lora_rank=lora_rank, **settings)
    return CausalModel.build(config, END + 1, END)


def loss(model: CausalModel, texts: list[str], targets: list[int]) -> torch.Tensor:
    batch = TrainingBatch(*model.pad(model.tokenize(texts)), torch.tensor(targets), torch.ones(len(targets)))
    return CrossEntropyObjective(model, IDENTIFIERS).loss(batch)


def learn(model: CausalModel, folder: Path) -> CausalModel:
    config = TrainingConfig(
        epochs=80, batch_size=4, learning_rate=1e-2, fresh_learning_rate=2e-2, evaluate_every=80, precision="float32"
    )
    examples = [Example(text, target) for target, text in enumerate(TEXTS)]

    def figure() -> float:
        return -float(loss(model, TEXTS, [0, 1, 2, 3]).detach())

    train(model, CrossEntropyObjective(model, IDENTIFIERS), examples, figure, config, folder)
    return model.eval()


@LORA
def test_the_loss_holds_the_identifier_and_nothing_of_the_prompt(source: str, lora_rank: int) -> None:
    """A loss over the prompt, too, would be what the text's own tokens are worth; most of it, for a short identifier."""
    model = make(source, lora_rank).eval()
    scores = model.score(TEXTS, IDENTIFIERS)
    lengths = torch.tensor([len(identifier) + 1 for identifier in IDENTIFIERS])  # the end counts
    for target in range(len(TEXTS)):
        found = loss(model, [TEXTS[target]], [target]).detach()
        torch.testing.assert_close(found, -scores[target, target] / lengths[target], atol=1e-4, rtol=1e-4)
    # through the text's embeddings no gradient comes but by way of what the identifier's positions attend to
    loss(model, TEXTS, [0, 1, 2, 3]).backward()
    head = model.network.get_output_embeddings().weight  # what would write the prompt's tokens
    assert head.grad is None or not head.grad.any()


@LORA
def test_new_embeddings_learn(source: str, lora_rank: int, tmp_path: Path) -> None:
    model = make(source, lora_rank)
    assert model.own_embedding is not None
    before = model.own_embedding.weight.detach().clone()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    learn(model, tmp_path)
    used = sorted({token for identifier in IDENTIFIERS for token in identifier} | {END})
    assert ((model.own_embedding.weight - before)[used].abs().amax(1) > 0.01).all()
    assert bool(frozen) == bool(lora_rank)
    assert all(torch.equal(dict(model.named_parameters())[name], value) for name, value in frozen.items())


@LORA
def test_left_padding_trains_and_scores_as_no_padding(source: str, lora_rank: int) -> None:
    model = make(source, lora_rank).eval()
    together = loss(model, TEXTS, [0, 1, 2, 3]).detach()
    alone = torch.stack([loss(model, [text], [i]).detach() for i, text in enumerate(TEXTS)])
    torch.testing.assert_close(together, alone.mean(), atol=1e-5, rtol=1e-5)
    scores = model.score(TEXTS, IDENTIFIERS)
    torch.testing.assert_close(
        scores, torch.cat([model.score([text], IDENTIFIERS) for text in TEXTS]), atol=1e-4, rtol=0
    )


@LORA
def test_the_end_is_learnt(source: str, lora_rank: int, tmp_path: Path) -> None:
    """Where one identifier begins another only the end token tells them apart."""
    model = learn(make(source, lora_rank), tmp_path)
    for target, text in enumerate(TEXTS[:3]):
        written = torch.tensor([[*IDENTIFIERS[target], END]])
        logits = model.step_logits(*model.pad(model.tokenize([text])), written)[0].detach()
        assert logits.argmax(1).tolist() == [*IDENTIFIERS[target], END]
    assert model.score(TEXTS, IDENTIFIERS).argmax(1).tolist() == [0, 1, 2, 3]


@LORA
def test_what_was_trained_is_what_is_loaded(source: str, lora_rank: int, tmp_path: Path) -> None:
    model = learn(make(source, lora_rank), tmp_path / "training")
    expected = model.score(TEXTS, IDENTIFIERS)
    model.save(tmp_path / "model")
    again = CausalModel.load(tmp_path / "model", json.loads((tmp_path / "model" / "config.json").read_text()))
    torch.testing.assert_close(again.score(TEXTS, IDENTIFIERS), expected, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(make(source).eval().score(TEXTS, IDENTIFIERS), expected, atol=0.1)
