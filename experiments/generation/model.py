"""A LLaMA of random weights for the generation benchmark: only times and the agreement of engines mean anything.

Its folder is a Hugging Face one, so that every engine reads the same files. The tokenizer writes one token a byte; the benchmark
speaks token ids, which is why the vocabulary may be larger.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

FIRST_TOKEN = 300  # prompts are drawn from here on: no special token, no byte


@dataclass(frozen=True)
class LlamaShape:
    """Hugging Face's names; heads of `hidden_size / num_attention_heads`."""

    num_hidden_layers: int = 8
    hidden_size: int = 512
    intermediate_size: int = 1376
    num_attention_heads: int = 8
    num_key_value_heads: int = 8
    vocab_size: int = 32_000
    max_position_embeddings: int = 4096


SMALL = LlamaShape()
LLAMA_2_7B = LlamaShape(32, 4096, 11_008, 32, 32)


def save_random_llama(folder: Path, shape: LlamaShape, dtype: str = "float32", seed: int = 0) -> Path:
    """Write the model and its tokenizer into `folder`, and return it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    kind = getattr(torch, dtype)
    config = LlamaConfig(**asdict(shape), bos_token_id=0, eos_token_id=1, dtype=kind)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).to(kind).save_pretrained(folder)
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


def random_prompts(count: int, tokens: int, vocab_size: int, seed: int = 0) -> list[list[int]]:
    """`count` prompts of `tokens` ids each, without a common prefix."""
    first = min(FIRST_TOKEN, vocab_size // 2)
    drawn: list[list[int]] = np.random.default_rng(seed).integers(first, vocab_size, (count, tokens)).tolist()
    return drawn
