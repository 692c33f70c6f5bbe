"""A llama reader for tests, made in milliseconds without a network: it starts from the random one-layer BERT over a few words."""

from pathlib import Path
from typing import Any

import torch

from rag.llama_reader.network import NetworkShape, new_network
from rag.llama_reader.reader import LlamaReaderSettings
from tests.tiny_span_reader import save_word_encoder

SMALL = LlamaReaderSettings(max_evidence_tokens=24, max_question_tokens=12, max_answer_tokens=6)
SHAPE = NetworkShape(num_hidden_layers=3, max_position_embeddings=128)
TEXTS = (
    "the capital of norway is oslo .",
    "the nile lies in the east of egypt .",
    "lima is the capital of peru and lies on the sea .",
)


def tiny_network(folder: Path) -> tuple[Any, Any]:
    """(tokenizer, model) over the words of `save_word_encoder`; heads of 16 dimensions."""
    torch.manual_seed(1)
    tokenizer, model = new_network(str(save_word_encoder(folder, width=32)), SHAPE, TEXTS, seed=0)
    return tokenizer, model.eval()
