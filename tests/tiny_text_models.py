"""Text models for tests, made in milliseconds without a network: a byte tokenizer, a random BERT, and an encoder of
words.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genir.embedding import TextEncoder
from genir.models.code_decoder import CodeDecoder, CodeDecoderConfig


def save_byte_tokenizer(folder: Path, **special: str) -> int:
    """Write a tokenizer of 4 special tokens and one for each byte into `folder`, and return its size.

    Padding and unknown tokens have their role; `special` gives others one, e.g. sep_token="[SEP]".
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", **special}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    return len(pieces)


def decoded(folder: str, rows: Iterable[Sequence[int]]) -> list[str]:
    """What tokens say, by a folder's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return [tokenizer.decode(row) for row in rows]


def save_tiny_bert(folder: Path, width: int = 32) -> Path:
    """Write a random two-layer BERT over bytes, with its tokenizer, into `folder`."""
    from transformers import BertConfig, BertModel

    vocab_size = save_byte_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_tiny_t5(folder: Path) -> Path:
    """Write a random T5 over bytes into `folder`, with its tokenizer."""
    from transformers import T5Config, T5ForConditionalGeneration

    size = save_byte_tokenizer(folder)
    torch.manual_seed(0)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    tokens = {"vocab_size": size, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(**shape, **tokens)).save_pretrained(folder)
    return folder


@dataclass
class WordEncoder(TextEncoder):
    """Unit vectors that are sums of one random vector a word: no weights, and texts that share words lie together."""

    name: str = "words"
    width: int = 16

    def encode(self, texts: Sequence[str], progress: str = "") -> np.ndarray:
        """Shape (len(texts), width), float32; the zero text gets the first axis."""
        rows = np.stack([self._text(text) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def _text(self, text: str) -> np.ndarray:
        total = np.zeros(self.width)
        for word in text.split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
            total += np.random.default_rng(seed).standard_normal(self.width)
        return total if total.any() else np.eye(1, self.width)[0]


def tiny_code_decoder(folder: Path, vocab_size: int, length: int) -> CodeDecoder:
    """One over an encoder of random weights in `folder`, whose corrections are no zeros."""
    torch.manual_seed(0)
    config = CodeDecoderConfig(str(save_tiny_bert(folder, 16)), heads=2, feedforward=16)
    made = CodeDecoder(config, vocab_size, length, None).eval()
    torch.nn.init.normal_(made.correction.weight, std=0.3)
    return made
