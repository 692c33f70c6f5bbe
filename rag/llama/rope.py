"""Rotary position embedding with its scaling variants.

Notation: theta_i = rope_theta ** (-2i / D) for i < D/2 (Su et al. 2021, RoFormer, equation 15). Heads are split in halves, as in
Hugging Face's checkpoints, so that a rotation pairs numbers i and i + D/2.

Shape letters: T tokens, H heads, D size of a head.
"""

import math

import torch

from rag.llama.config import LlamaConfig


def inverse_frequencies(config: LlamaConfig) -> tuple[torch.Tensor, float]:
    """(theta (D/2,) float32, factor on cosines and sines) of the configured variant."""
    size = config.head_dim
    theta = 1.0 / config.rope_theta ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size)
    variants = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
    variant = variants.get(config.rope.rope_type)
    return (theta, 1.0) if variant is None else variant(theta, config)


def rotation(theta: torch.Tensor, factor: float, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (T, D/2), float32, at positions (T,)."""
    angles = positions[:, None] * theta
    return angles.cos() * factor, angles.sin() * factor


def both_halves(cos: torch.Tensor, sin: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The same as (T, 1, D) for `rotate`; the first half of the sines is negated, so that `rotate` needs no negation of its own."""
    return torch.cat([cos, cos], -1).to(dtype)[:, None], torch.cat([-sin, sin], -1).to(dtype)[:, None]


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Heads (T, H, D) turned by their tokens' angles (T, 1, D)."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)


def _linear(theta: torch.Tensor, config: LlamaConfig) -> tuple[torch.Tensor, float]:
    """Position interpolation (Chen et al. 2023)."""
    return theta / config.rope.factor, 1.0


def _llama3(theta: torch.Tensor, config: LlamaConfig) -> tuple[torch.Tensor, float]:
    """LLaMA-3.1: long waves are stretched, short ones kept, those between blended (Dubey et al. 2024, section 3.2)."""
    rope, original = config.rope, _original_context(config)
    waves = 2 * math.pi / theta
    smooth = (original / waves - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    smooth = smooth.clamp(0, 1)
    return (1 - smooth) * theta / rope.factor + smooth * theta, 1.0


def _yarn(theta: torch.Tensor, config: LlamaConfig) -> tuple[torch.Tensor, float]:
    """YaRN (Peng et al. 2023, section 3.2): a ramp between interpolated and kept frequencies, and warmer attention."""
    rope, size, original = config.rope, config.head_dim, _original_context(config)

    def dimension(rotations: float) -> float:
        return size * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    ramp = ((torch.arange(size // 2).float() - low) / max(high - low, 0.001)).clamp(0, 1)
    return theta / rope.factor * ramp + theta * (1 - ramp), _yarn_warmth(config)


def _yarn_warmth(config: LlamaConfig) -> float:
    rope = config.rope

    def mscale(weight: float = 1.0) -> float:
        return 0.1 * weight * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return mscale(rope.mscale) / mscale(rope.mscale_all_dim)
    return mscale()


def _original_context(config: LlamaConfig) -> int:
    return config.rope.original_max_position_embeddings or config.max_position_embeddings
