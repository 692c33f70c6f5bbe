"""The reader's network: made from an encoder, kept as a Hugging Face folder, or packed to int8.

A folder has LlamaForCausalLM's layout (config.json, model.safetensors, tokenizer.json), so that the project's engine,
Hugging Face and others load it. A packed folder holds the same weights in a quarter of the space under another name,
for shipping; `unpacked` makes an ordinary folder of it, which is what engines read.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genir.checkpoint import save_weights
from genir.embedding import load_encoder
from genir.errors import ArtefactError, ConfigError
from genir.models.pretrained import load_saved_tokenizer
from rag.llama_reader.start import start_from_encoder
from rag.span.storage import Storage, load_state, save_state

WEIGHTS_FILE = "model.safetensors"
PACKED_FILE = "model.int8.safetensors"
ANSWERS, NONE = "[ANSWER]", "[NONE]"  # what is written first: that an answer follows, or that there is none
_SAMPLE = 48  # texts of at most so many tokens, that the start is fitted on
_SAMPLE_TOKENS = 128


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What of LLaMA's shape the encoder leaves open."""

    num_hidden_layers: int = 7
    rope_theta: float = 1e5
    max_position_embeddings: int = 512


def new_network(encoder: str, shape: NetworkShape, texts: Sequence[str], seed: int) -> tuple[Any, Any]:
    """(tokenizer, LlamaForCausalLM) started from an encoder by name or folder; `texts` are ordinary ones, a few dozen.

    Raises ArtefactError where there is no such encoder, ConfigError where it is not built like BERT.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer, loaded = load_encoder(encoder, attn_implementation="eager")
    if not getattr(tokenizer, "is_fast", False) or tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise ConfigError(f"the encoder {encoder!r} has no fast tokenizer with [CLS] and [SEP]")
    tokenizer.add_special_tokens({"additional_special_tokens": [ANSWERS, NONE]})
    theirs = loaded.config
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=theirs.hidden_size,
        intermediate_size=theirs.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=theirs.num_attention_heads,
        num_key_value_heads=theirs.num_attention_heads,
        max_position_embeddings=shape.max_position_embeddings,
        rope_theta=shape.rope_theta,
        rms_norm_eps=1e-6,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    longest = min(_SAMPLE_TOKENS, theirs.max_position_embeddings)
    sample = tokenizer(
        list(texts[:_SAMPLE]), padding=True, truncation=True, max_length=longest, return_tensors="pt", verbose=False
    )
    start_from_encoder(model, loaded.float().eval(), sample["input_ids"], sample["attention_mask"], seed)
    model.set_attn_implementation("sdpa")
    return tokenizer, model


def save_network(folder: Path, tokenizer: Any, model: Any, storage: Storage) -> None:
    """Write an ordinary folder, or with "int8" a packed one; the tokenizer ends texts as the model does."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # tied
    if storage == "int8":
        save_state(folder / PACKED_FILE, state, "int8")
    else:
        plain = {name: tensor.detach().float().cpu() for name, tensor in state.items()}
        save_weights(folder / WEIGHTS_FILE, plain, {"format": "pt"})


def load_network(folder: Path) -> tuple[Any, Any]:
    """(tokenizer, LlamaForCausalLM) of an ordinary or packed folder, in float32. Raises ArtefactError where it cannot be loaded."""
    from transformers import LlamaConfig, LlamaForCausalLM

    packed = folder / PACKED_FILE
    state = load_state(packed if packed.is_file() else folder / WEIGHTS_FILE)
    try:
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
        missing, unknown = model.load_state_dict(state, strict=False)
        if set(missing) - {"lm_head.weight"} or unknown:
            raise ValueError(f"weights are missing or unknown: {sorted({*missing, *unknown})[:3]}")
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(folder, error) from None
    return load_tokenizer(folder), model.eval()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of an ordinary or packed folder. Raises ArtefactError where it is missing, broken, or another model's."""
    from transformers import LlamaConfig

    try:
        tokenizer = load_saved_tokenizer(folder, LlamaConfig.from_pretrained(folder).vocab_size)
        if missing := sorted({ANSWERS, NONE} - set(tokenizer.get_vocab())):
            raise ValueError(f"its tokenizer does not know {' and '.join(missing)}, so it is another model's")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    return tokenizer


def unpacked(folder: Path, into: Path) -> Path:
    """A folder that engines read: `folder` itself, or where it is packed, `into`, with the same in float32."""
    if not (folder / PACKED_FILE).is_file():
        return folder
    state = load_state(folder / PACKED_FILE)
    for path in folder.iterdir():
        if path.is_file() and path.suffix == ".json":
            shutil.copyfile(path, into / path.name)
    save_weights(
        into / WEIGHTS_FILE, {name: tensor.to(torch.float32) for name, tensor in state.items()}, {"format": "pt"}
    )
    return into


def _unreadable(folder: Path, error: Exception) -> ArtefactError:
    reason = str(error).splitlines()[0]
    return ArtefactError(f"{folder}: a llama reader that cannot be loaded: {reason}; train it again")
