"""The likelihood of a question is the negative of Hugging Face's own loss, whatever stands beside it in a batch."""

from pathlib import Path

import pytest
import torch
import transformers

from genir.records import Document
from retrievers.likelihood import PROMPT, QueryLikelihood
from tests.tiny_text_models import save_byte_tokenizer, save_tiny_t5

PAIRS = [
    ("Where is Oslo?", Document("a", "Oslo lies at the head of a fjord.", "Oslo")),
    ("Where?", Document("b", "Lima is by the sea.")),
    ("什么？", Document("c", "东京是日本的首都。", "东京")),
    ("Who wrote the very first of all novels, and when?", Document("d", "")),
]
KINDS = ("llama", "gpt2", "bloom", "opt")


def save_network(kind: str, folder: Path, side: str = "right") -> Path:
    if kind == "t5":
        return save_tiny_t5(folder)
    size = save_byte_tokenizer(folder, bos_token="[CLS]", eos_token="[SEP]", padding_side=side)
    torch.manual_seed(0)
    tokens = {"vocab_size": size, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    wide = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256}
    networks = {
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**tokens, **wide, intermediate_size=32, initializer_range=0.3)
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(**tokens, n_embd=16, n_layer=2, n_head=2, n_positions=256, initializer_range=0.3)
        ),
        "bloom": lambda: transformers.BloomForCausalLM(
            transformers.BloomConfig(**tokens, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3)
        ),
        "opt": lambda: transformers.OPTForCausalLM(
            transformers.OPTConfig(**tokens, **wide, word_embed_proj_dim=16, ffn_dim=32, init_std=0.3)
        ),
    }
    networks[kind]().save_pretrained(folder)
    return folder


def scorer(folder: Path, batch_size: int = 16) -> QueryLikelihood:
    return QueryLikelihood(str(folder), batch_size=batch_size, precision="float32", device="cpu")


def loss_of(made: QueryLikelihood, question: str, document: Document) -> float:
    """Hugging Face's loss of one question behind one document, labels made by hand."""
    tokenizer, network = made.load()
    prompt = tokenizer(PROMPT.replace("{document}", document.title_and_text))["input_ids"]
    with torch.no_grad():
        if network.config.is_encoder_decoder:
            labels = tokenizer(question)["input_ids"]
            return float(network(input_ids=torch.tensor([prompt]), labels=torch.tensor([labels])).loss)
        asked = tokenizer(f" {question}", add_special_tokens=False)["input_ids"]
        labels = [-100] * len(prompt) + asked
        return float(network(input_ids=torch.tensor([prompt + asked]), labels=torch.tensor([labels])).loss)


@pytest.mark.parametrize("kind", [*KINDS, "t5"])
def test_the_score_is_minus_the_loss(kind: str, tmp_path: Path) -> None:
    made = scorer(save_network(kind, tmp_path))
    expected = [-loss_of(made, question, document) for question, document in PAIRS]
    assert made.score(PAIRS) == pytest.approx(expected, abs=2e-4)
    assert len({round(one, 3) for one in expected}) == len(PAIRS)


@pytest.mark.parametrize("kind", [*KINDS, "t5"])
def test_a_batch_scores_as_its_pairs_do_alone(kind: str, tmp_path: Path) -> None:
    folder = save_network(kind, tmp_path)
    assert scorer(folder).score(PAIRS) == pytest.approx(scorer(folder, 1).score(PAIRS), abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizers_side_of_padding_does_not_matter(kind: str, tmp_path: Path) -> None:
    right, left = (scorer(save_network(kind, tmp_path / side, side)) for side in ("right", "left"))
    assert left.load()[0].padding_side == "left"
    assert left.score(PAIRS) == right.score(PAIRS)


def test_a_network_that_computes_all_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scorer(save_network("llama", tmp_path))
    before = made.score(PAIRS)
    monkeypatch.setattr("retrievers.likelihood._keeps_logits", lambda network: False)
    assert made.score(PAIRS) == pytest.approx(before, abs=1e-5)
