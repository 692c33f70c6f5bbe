"""Shapes of LLaMA models by name, so that a plan needs neither weights nor a network."""

from pathlib import Path
from typing import TYPE_CHECKING

from genir.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from rag.llama.config import LlamaConfig


def known_shapes() -> dict[str, "LlamaConfig"]:
    """Names whose shape is built in, Hugging Face's and short ones -> configuration."""
    from rag.llama.config import LlamaConfig

    def shape(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, third: bool) -> LlamaConfig:
        return LlamaConfig(
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=hidden // heads,
            vocab_size=128_256 if third else 32_000,
            max_position_embeddings=8192 if third else 4096,
            rope_theta=500_000.0 if third else 10_000.0,
            dtype="bfloat16" if third else "float16",
        )

    second = {
        "7b": shape(4096, 11_008, 32, 32, 32, third=False),
        "13b": shape(5120, 13_824, 40, 40, 40, third=False),
        "70b": shape(8192, 28_672, 80, 64, 8, third=False),
    }
    third = {"8b": shape(4096, 14_336, 32, 32, 8, third=True), "70b": shape(8192, 28_672, 80, 64, 8, third=True)}
    named = {}
    for size, config in second.items():
        for name in (f"llama-2-{size}", f"meta-llama/Llama-2-{size}-hf", f"meta-llama/Llama-2-{size}-chat-hf"):
            named[name] = config
    for size, config in third.items():
        upper = size.upper()
        for name in (
            f"llama-3-{size}",
            f"meta-llama/Meta-Llama-3-{upper}",
            f"meta-llama/Meta-Llama-3-{upper}-Instruct",
        ):
            named[name] = config
    return named


def find_shape(name: str) -> "LlamaConfig":
    """The configuration of a folder, or of a name whose shape is known. Raises ConfigError with a suggestion otherwise."""
    from rag.llama.config import read_config

    shapes = known_shapes()
    if name in shapes:
        return shapes[name]
    if Path(name).is_dir():
        return read_config(Path(name))
    raise ConfigError(f"{unknown_name('model', name, shapes)}; or give a folder with a config.json")
