"""The network that a joint model starts from: any trained causal language model, or a small LLaMA that can copy from the start."""

from genir.errors import ConfigError
from genir.models.causal import CausalModel
from genir.models.causal_config import CausalConfig
from rag.small_reader.start import start_with_copying

_ROPE_THETA = 1e6  # slow enough that half of the rotary dimensions carry content, which copying matches by


def start_causal(
    config: CausalConfig, vocab_size: int | None, end_token: int | None, copying: bool = True, seed: int = 0
) -> CausalModel:
    """A model before training; `vocab_size` and `end_token` as in `CausalModel`.

    With `copying` a LLaMA from nothing starts with induction heads (`rag.small_reader.start`), with tied embeddings. Raises ConfigError
    for a shape that cannot hold them.
    """
    model = CausalModel.build(config, vocab_size, end_token)
    if config.source or not copying:
        return model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = config.llama
    if shape.num_key_value_heads != shape.num_attention_heads:
        raise ConfigError(
            f"copying_start needs a key head for every query head, got {shape.num_key_value_heads} and {shape.num_attention_heads}: set "
            "num_key_value_heads = num_attention_heads, or copying_start = false"
        )
    plain = model.network.config
    tied = LlamaConfig(
        **vars(shape),
        vocab_size=plain.vocab_size,
        rope_theta=_ROPE_THETA,
        tie_word_embeddings=True,
        pad_token_id=plain.pad_token_id,
        bos_token_id=plain.bos_token_id,
        eos_token_id=plain.eos_token_id,
    )
    network = LlamaForCausalLM(tied).to(model.network.dtype)
    start_with_copying(network, seed)
    return CausalModel(network, model.tokenizer, config, vocab_size, end_token)
