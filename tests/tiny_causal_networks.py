"""Tiny random causal networks of several architectures, for tests: the same 24 tokens, 0 for padding and 1 for the end."""

from typing import Any

import torch

VOCAB, PAD, END = 24, 0, 1
_TOKENS = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": None}
_LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    **_TOKENS,
}


def tiny_causal(kind: str) -> Any:
    """A network of one architecture, in evaluation mode; the spread of its weights makes every token's scores differ."""
    import transformers

    torch.manual_seed(0)
    networks: dict[str, Any] = {
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**{**_LLAMA, "num_key_value_heads": 4})
        ),
        "llama_gqa": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**_LLAMA)),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.4, **_TOKENS)
        ),
        # positions behind an offset
        "opt": lambda: transformers.OPTForCausalLM(
            transformers.OPTConfig(
                hidden_size=16,
                word_embed_proj_dim=16,
                ffn_dim=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                init_std=0.4,
                **_TOKENS,
            )
        ),
        # attention of its own, with ALiBi
        "bloom": lambda: transformers.BloomForCausalLM(
            transformers.BloomConfig(hidden_size=16, n_layer=2, n_head=2, initializer_range=0.4, **_TOKENS)
        ),
        # a sliding window that is shorter than the prompts, and longer than what a trial of six tokens would notice
        "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(sliding_window=8, **_LLAMA)),
        # caps its attention's scores
        "gemma2": lambda: transformers.Gemma2ForCausalLM(
            transformers.Gemma2Config(
                **_LLAMA, head_dim=4, query_pre_attn_scalar=4, layer_types=["full_attention", "full_attention"]
            )
        ),
        # does not pass a search's arguments on to its attention
        "nemotron": lambda: transformers.NemotronForCausalLM(transformers.NemotronConfig(**_LLAMA)),
        # scales its logits
        "cohere": lambda: transformers.CohereForCausalLM(transformers.CohereConfig(**_LLAMA)),
    }
    return networks[kind]().eval()
