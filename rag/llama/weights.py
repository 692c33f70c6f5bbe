"""A stage's weights from a Hugging Face folder: each stage reads its own layers' tensors out of the shards, and nothing else.

Tensors are fused on the way in (query, key and value; gate and up), so that a stage never holds its weights twice, a layer's at most.
A missing tensor or a wrong shape is an ArtefactError of one line.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genir.errors import ArtefactError, ConfigError
from rag.llama.attention import pick_attention
from rag.llama.config import LlamaConfig
from rag.llama.linear import make_linear
from rag.llama.model import Layer, RMSNorm, Stage
from rag.llama.stages import StageSlice

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


def pick_dtype(name: str, config: LlamaConfig) -> torch.dtype:
    """The torch dtype; "auto" is the checkpoint's. Raises ConfigError for an unknown one."""
    wanted = config.dtype if name == "auto" else name
    if wanted not in _DTYPES:
        raise ConfigError(f"dtype {wanted!r}: expected auto, float32, bfloat16 or float16")
    return _DTYPES[wanted]


class Shards:
    """The tensors of a folder by name, read one at a time. `bytes_read` counts what was read from the files."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self.folder, self.dtype, self.device = folder, dtype, device
        self.bytes_read = 0
        self._files = _files(folder)
        self._open: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str, *shape: int) -> torch.Tensor:
        """A whole tensor in the wanted dtype, on the device. Raises ArtefactError where it is missing or has another shape."""
        if name not in self._files:
            raise ArtefactError(f"{self.folder}: the shards hold no tensor {name!r}; are all of them there?")
        tensor = self._tensor(name)
        if tensor.dtype not in (*_DTYPES.values(), torch.float64):
            raise ArtefactError(
                f"{self.folder}: tensor {name!r} is {str(tensor.dtype).removeprefix('torch.')}: quantised weights are not read; "
                "give the unquantised model"
            )
        if tuple(tensor.shape) != shape:
            raise ArtefactError(
                f"{self.folder}: tensor {name!r} has shape {tuple(tensor.shape)}, config.json says {shape}; "
                "configuration and weights belong to different models"
            )
        self.bytes_read += tensor.numel() * tensor.element_size()
        return tensor.to(self.device, self.dtype)

    def _tensor(self, name: str) -> torch.Tensor:
        from safetensors import SafetensorError

        try:
            tensor: torch.Tensor = self._shard(self._files[name]).get_tensor(name)
        except SafetensorError as error:
            raise ArtefactError(
                f"{self.folder / self._files[name]}: tensor {name!r} cannot be read, though the index names it ({error})"
            ) from None
        return tensor

    def _shard(self, file: str) -> Any:
        from safetensors import SafetensorError, safe_open

        if file not in self._open:
            try:
                self._open[file] = safe_open(self.folder / file, framework="pt")
            except (OSError, SafetensorError) as error:
                raise ArtefactError(f"{self.folder / file}: not a readable safetensors file ({error})") from None
        return self._open[file]


def load_stage(
    folder: Path,
    config: LlamaConfig,
    part: StageSlice,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    int8: bool = False,
    attention: str = "auto",
) -> tuple[Stage, int]:
    """(the stage, bytes read from the shards). Raises ArtefactError as `Shards.read` does."""
    device = torch.device(device)
    shards = Shards(folder, dtype, device)
    layers = [_layer(shards, config, number, int8) for number in range(part.start, part.stop)]
    table = "model.embed_tokens.weight"
    embedding = shards.read(table, config.vocab_size, config.hidden_size) if part.first else None
    norm = head = None
    if part.last:
        norm = _norm(shards, config, "model.norm")
        if not config.tie_word_embeddings:
            weight = shards.read("lm_head.weight", config.vocab_size, config.hidden_size)
        else:
            weight = embedding if embedding is not None else shards.read(table, config.vocab_size, config.hidden_size)
        head = make_linear(weight, int8=int8)
    chosen = pick_attention(attention, device, dtype)
    stage = Stage(config, layers, chosen, dtype, device, embedding, norm, head)
    return stage.eval(), shards.bytes_read


def _layer(shards: Shards, config: LlamaConfig, number: int, int8: bool) -> Layer:
    prefix, hidden, inner = f"model.layers.{number}", config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim

    def fused(parts: dict[str, int], width: int, bias: bool) -> nn.Module:
        weights = [shards.read(f"{prefix}.{name}.weight", size, width) for name, size in parts.items()]
        biases = [shards.read(f"{prefix}.{name}.bias", size) for name, size in parts.items()] if bias else []
        return make_linear(torch.cat(weights), torch.cat(biases) if bias else None, int8)

    qkv = {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": keys}
    return Layer(
        config,
        _norm(shards, config, f"{prefix}.input_layernorm"),
        fused(qkv, hidden, config.attention_bias),
        fused({"self_attn.o_proj": hidden}, queries, config.attention_bias),
        _norm(shards, config, f"{prefix}.post_attention_layernorm"),
        fused({"mlp.gate_proj": inner, "mlp.up_proj": inner}, hidden, config.mlp_bias),
        fused({"mlp.down_proj": hidden}, inner, config.mlp_bias),
    )


def _norm(shards: Shards, config: LlamaConfig, name: str) -> RMSNorm:
    return RMSNorm(shards.read(f"{name}.weight", config.hidden_size), config.rms_norm_eps)


def _files(folder: Path) -> dict[str, str]:
    """Tensor name -> file, from the index or the single shard."""
    from safetensors import SafetensorError, safe_open

    if (folder / _INDEX).is_file():
        try:
            mapping = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{folder / _INDEX}: not a readable index of shards ({error!r})") from None
        if not isinstance(mapping, dict) or not all(isinstance(file, str) for file in mapping.values()):
            raise ArtefactError(f"{folder / _INDEX}: its weight_map is no object that gives each tensor's file")
        absent = sorted({file for file in mapping.values() if not (folder / file).is_file()})
        if absent:
            raise ArtefactError(
                f"{folder}: {_INDEX} names {', '.join(absent[:3])}, which is not there; fetch all shards"
            )
        return mapping
    if not (folder / _SINGLE).is_file():
        raise ArtefactError(f"{folder}: has no {_SINGLE} and no {_INDEX}; give a folder with weights in safetensors")
    try:
        with safe_open(folder / _SINGLE, framework="pt") as shard:
            return dict.fromkeys(shard.keys(), _SINGLE)
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{folder / _SINGLE}: not a readable safetensors file ({error})") from None
