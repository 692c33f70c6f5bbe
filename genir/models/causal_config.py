"""Settings of a causal model: which network, which prompt, which adapters."""

from dataclasses import dataclass, field
from typing import Literal

from genir.embedding import DEFAULT_ENCODER
from genir.errors import ConfigError

PLACE_OF_TEXT = "{text}"


@dataclass(frozen=True)
class LlamaShape:
    """A LLaMA to be made from nothing, in its own configuration's words. The defaults suit a CPU."""

    hidden_size: int = 256
    intermediate_size: int = 688
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 2048

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1:
            raise ConfigError(f"impossible llama: {self}; expected sizes of 1 or more")
        if self.hidden_size % (2 * self.num_attention_heads) or self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"impossible llama: {self}; expected num_attention_heads to divide half of hidden_size, and "
                "num_key_value_heads to divide num_attention_heads"
            )


@dataclass(frozen=True)
class CausalConfig:
    """Where the network comes from: an empty `source` makes a LLaMA of shape `llama` over the vocabulary of `tokenizer`.

    `prompt` holds the text at `{text}`; `max_text_tokens` counts the text alone. With `lora_rank` above 0 the network is
    frozen and adapters are trained in the layers `lora_targets` (none named: every linear layer).
    """

    source: str = ""
    tokenizer: str = DEFAULT_ENCODER
    llama: LlamaShape = field(default_factory=LlamaShape)
    max_text_tokens: int = 128
    prompt: str = PLACE_OF_TEXT
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the network's weights
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_text_tokens < 2:
            raise ConfigError(f"impossible causal: max_text_tokens = {self.max_text_tokens}; expected 2 or more")
        if self.prompt.count(PLACE_OF_TEXT) != 1:
            raise ConfigError(f"impossible causal: prompt = {self.prompt!r}; expected {PLACE_OF_TEXT} in it, once")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"impossible causal: dtype = {self.dtype!r}; expected float32 or bfloat16")
        if self.lora_rank < 0 or self.lora_alpha <= 0 or not 0 <= self.lora_dropout < 1:
            raise ConfigError(
                f"impossible causal: lora_rank = {self.lora_rank}, lora_alpha = {self.lora_alpha}, lora_dropout = "
                f"{self.lora_dropout}; expected a rank of 0 or more, an alpha above 0, and a dropout in 0..1"
            )
