"""The shape of a LLaMA model, read from the config.json of a Hugging Face folder.

Fields have Hugging Face's names. Both spellings of RoPE's settings are read: `rope_parameters` (transformers 5) and `rope_theta`
with `rope_scaling` (before); of both objects together `rope_scaling` alone counts, as in transformers. Light: nothing but the standard
library is imported.

Known gap: only `model_type` "llama" is read; its relatives (Mistral's sliding window, Qwen's norms) are refused, not approximated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from genir.errors import ArtefactError, unknown_name

ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched to longer contexts; names are Hugging Face's, `None` is its default.

    `dynamic` is exact up to `max_position_embeddings`, which is all that the engine serves: beyond it Hugging Face's frequencies
    depend on the longest sequence of the batch, so that a text would depend on its neighbours.
    """

    rope_type: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """A LLaMA-2 or LLaMA-3 model. Lengths are in tokens, sizes in numbers."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    head_dim: int = 128
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope: RopeScaling = RopeScaling()
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    dtype: str = "float32"
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None

    @property
    def queries_per_key(self) -> int:
        """Query heads that share one key and value head: 1 is MHA, all of them MQA."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def qkv_size(self) -> int:
        """Width of the fused query, key and value projection."""
        return (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim


def read_config(folder: Path) -> LlamaConfig:
    """The model of a Hugging Face folder. Raises ArtefactError, in one line, where it is missing, broken or no LLaMA."""
    raw = _read_json(folder / "config.json", folder)
    if raw.get("model_type") != "llama":
        raise ArtefactError(
            f"{folder}: model_type is {raw.get('model_type')!r}, this engine runs 'llama' only; use --backend hf"
        )
    if raw.get("hidden_act", "silu") != "silu":
        raise ArtefactError(f"{folder}: hidden_act is {raw['hidden_act']!r}, LLaMA's is 'silu'; use --backend hf")
    if (quantised := raw.get("quantization_config")) is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise ArtefactError(
            f"{folder}: the weights are quantised ({method}), which this engine does not read; give the unquantised model "
            "(int8 is an option of its own), or use --backend vllm"
        )
    try:
        heads = int(raw["num_attention_heads"])
        config = LlamaConfig(
            vocab_size=int(raw["vocab_size"]),
            hidden_size=int(raw["hidden_size"]),
            intermediate_size=int(raw["intermediate_size"]),
            num_hidden_layers=int(raw["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or int(raw["hidden_size"]) // max(heads, 1)),
            max_position_embeddings=int(raw.get("max_position_embeddings") or 2048),
            rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            rope_theta=_rope_theta(raw),
            rope=_rope_scaling(raw, folder),
            tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
            attention_bias=bool(raw.get("attention_bias", False)),
            mlp_bias=bool(raw.get("mlp_bias", False)),
            dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "float32"),
            eos_token_ids=_end_tokens(folder, raw),
            bos_token_id=raw.get("bos_token_id"),
        )
    except KeyError as missing:
        raise ArtefactError(f"{folder}/config.json: has no {missing}; expected a LLaMA model's configuration") from None
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{folder}/config.json: {error}; expected a LLaMA model's configuration") from None
    _check(config, folder)
    return config


def _check(config: LlamaConfig, folder: Path) -> None:
    sizes = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    for name in (*sizes, "head_dim", "max_position_embeddings"):
        if getattr(config, name) < 1:
            raise ArtefactError(f"{folder}/config.json: {name} is {getattr(config, name)}, expected at least 1")
    if config.num_attention_heads % config.num_key_value_heads:
        raise ArtefactError(
            f"{folder}/config.json: {config.num_attention_heads} attention heads cannot share {config.num_key_value_heads} "
            "key and value heads evenly"
        )
    if config.head_dim % 2:
        raise ArtefactError(f"{folder}/config.json: head_dim is {config.head_dim}, RoPE needs an even one")


def _rope_theta(raw: Mapping[str, Any]) -> float:
    return float(_rope_settings(raw).get("rope_theta") or raw.get("rope_theta") or 10000.0)


def _rope_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The object that counts, in either spelling; empty where there is none."""
    for name in ("rope_scaling", "rope_parameters"):
        settings = raw.get(name) or {}
        if not isinstance(settings, dict):
            raise ValueError(f"{name} is {settings!r}, expected an object")
        if settings:
            return dict(settings)
    return {}


def _rope_scaling(raw: Mapping[str, Any], folder: Path) -> RopeScaling:
    """The scaling that either spelling asks for."""
    given = _rope_settings(raw)
    kind = given.pop("rope_type", None) or given.pop("type", None) or "default"
    if kind not in ROPE_TYPES:
        raise ArtefactError(f"{folder}/config.json: {unknown_name('rope_type', str(kind), ROPE_TYPES)}")
    if float(given.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ArtefactError(f"{folder}/config.json: partial_rotary_factor is not supported; LLaMA turns whole heads")
    known = {field.name for field in fields(RopeScaling)}
    if raw.get("original_max_position_embeddings") is not None:
        given.setdefault("original_max_position_embeddings", raw["original_max_position_embeddings"])
    for key in known & given.keys() - {"truncate"}:
        value = given[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
            raise ArtefactError(f"{folder}/config.json: {key} of RoPE is {value!r}, expected a number above 0")
    if kind != "default" and given.get("factor") is None:
        raise ArtefactError(f"{folder}/config.json: RoPE of type {kind!r} has no factor, expected a number above 0")
    return RopeScaling(
        rope_type=kind, **{key: value for key, value in given.items() if key in known and value is not None}
    )


def _end_tokens(folder: Path, raw: Mapping[str, Any]) -> tuple[int, ...]:
    """All ids that end a text: the generation configuration's and the model's."""
    found: dict[int | None, None] = {}
    generation = folder / "generation_config.json"
    for source in (_read_json(generation, folder) if generation.is_file() else {}, raw):
        configured = source.get("eos_token_id")
        found |= dict.fromkeys(configured if isinstance(configured, list) else [configured])
    return tuple(token for token in found if token is not None)


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder; give the folder of a Hugging Face LLaMA model")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{folder}: has no {path.name}; give the folder of a Hugging Face LLaMA model") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: expected a JSON object")
    return value
