"""Our decoding loop is Hugging Face's: greedy tokens of a left-padded batch equal `generate` on one prompt at a time."""

from pathlib import Path

import pytest
import torch

from genir.protocols import SamplingParams
from rag.generators.hf import HFGenerator
from tests.tiny_text_models import save_byte_tokenizer

PROMPTS = ["Once upon a time", "Lily", "The big red ball was in the"]
STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260k"


def check(source: Path) -> list[str]:
    generator = HFGenerator(str(source), device="cpu", dtype="float32")
    tokenizer, model = generator.load()
    ours = generator.generate(PROMPTS, SamplingParams(max_new_tokens=20))
    for prompt, one in zip(PROMPTS, ours, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            theirs = model.generate(ids, do_sample=False, max_new_tokens=20, num_beams=1, use_cache=True)
            logprobs = model(theirs).logits[0, ids.shape[1] - 1 : -1].log_softmax(-1)
        written = theirs[0, ids.shape[1] :]
        assert list(one.tokens) == written.tolist()
        torch.testing.assert_close(
            torch.tensor(one.logprobs), logprobs.gather(1, written[:, None])[:, 0], atol=1e-4, rtol=1e-4
        )
    return [one.text for one in ours]


def test_a_tiny_random_llama(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    vocab_size = save_byte_tokenizer(tmp_path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=3,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    check(tmp_path)


def test_a_real_llama() -> None:
    if not STORIES.is_dir():
        pytest.skip("no real model here: ../shared/models is absent")
    first, *_ = check(STORIES)
    assert first.lstrip().startswith(", there was a little girl named Lily.")
