"""What the decoding benchmark searches for: semantic codes drawn at random, or a corpus's titles, and a T5 that writes them.

Shape letters: B texts, T tokens.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genir.models.seq2seq import T5Shape

LEVELS, CODES, FIRST_CODE = 4, 256, 1000
T5_VOCABULARY = 32_128


@dataclass(frozen=True)
class Case:
    """What is searched for: identifiers with their end token, texts (B, T) with their mask, and free choice a step."""

    identifiers: list[tuple[int, ...]]
    input_ids: torch.Tensor
    mask: torch.Tensor
    vocabulary: int
    end_token: int
    free: list[torch.Tensor]


def semantic(docs: int, batch: int, query_tokens: int, seed: int) -> Case:
    """Distinct identifiers of LEVELS codes drawn at random, and texts of random tokens."""
    end_token = 1
    drawn = np.random.default_rng(seed).integers(0, CODES, (docs + docs // 50 + 16, LEVELS))
    codes = np.unique(drawn, axis=0)[:docs] + np.arange(LEVELS) * CODES + FIRST_CODE
    input_ids = torch.randint(2, T5_VOCABULARY, (batch, query_tokens))
    free = [torch.arange(CODES) + FIRST_CODE + level * CODES for level in range(LEVELS)]
    free.append(torch.tensor([end_token]))
    identifiers = [(*row, end_token) for row in codes.tolist()]
    return Case(identifiers, input_ids, torch.ones_like(input_ids), T5_VOCABULARY, end_token, free)


def titles(data: Path, batch: int, query_tokens: int) -> Case:
    """Titles of a corpus and queries of its test split, in MiniLM's vocabulary."""
    from transformers import AutoTokenizer

    from docids.title import TitleScheme
    from genir.embedding import DEFAULT_ENCODER, resolve_encoder
    from genir.formats import load_dataset

    dataset = load_dataset(data)
    table = TitleScheme().assign(dataset.corpus)
    tokenizer = AutoTokenizer.from_pretrained(resolve_encoder(DEFAULT_ENCODER))
    end_token = int(tokenizer.sep_token_id)
    identifiers = [(*tokens, end_token) for tokens in table.identifiers()]
    texts = [query.text for query in dataset.split("test")[:batch]]
    encoded = tokenizer(texts, truncation=True, max_length=query_tokens, padding=True, return_tensors="pt")
    usual = int(statistics.median(map(len, identifiers))) - 1
    free = [torch.arange(len(tokenizer))] * usual + [torch.tensor([end_token])]
    return Case(identifiers, encoded.input_ids, encoded.attention_mask, len(tokenizer), end_token, free)


def random_t5(shape: T5Shape, case: Case) -> Any:
    """A T5 with random weights that reads and writes a case's tokens."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(**vars(shape), vocab_size=case.vocabulary, decoder_start_token_id=0, eos_token_id=case.end_token)
    return T5ForConditionalGeneration(config).eval()
