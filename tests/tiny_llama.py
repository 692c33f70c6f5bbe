"""Random LLaMA folders for tests: bytes for tokens, weights large enough that greedy choices are far apart."""

from pathlib import Path
from typing import Any

import torch

from tests.tiny_text_models import save_byte_tokenizer

END = 3  # [SEP] of the byte tokenizer


def save_tiny_llama(folder: Path, *, layers: int = 5, heads: int = 4, key_heads: int = 2, **settings: Any) -> Path:
    """Write a random LLaMA with a byte tokenizer into `folder`; `settings` are further fields of Hugging Face's LlamaConfig."""
    from transformers import LlamaConfig, LlamaForCausalLM

    vocab_size = save_byte_tokenizer(folder)
    torch.manual_seed(settings.pop("seed", 0))
    fields = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "max_position_embeddings": 128,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": END,
        "pad_token_id": 0,
    }
    shards = settings.pop("max_shard_size", "1GB")
    LlamaForCausalLM(LlamaConfig(**(fields | settings))).save_pretrained(folder, max_shard_size=shards)
    return folder
