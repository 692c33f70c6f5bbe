"""Starting weights of the reader: a pretrained BERT-like encoder, rewritten as the lower layers of a LLaMA, and two
layers that copy.

A LLaMA of this size that starts at random learns in days, not in minutes, where to look; an encoder knows words
already. A BERT layer is

    y = LN(y + attention(y)),   y = LN(y + W_out gelu(W_in y))

and a LLaMA layer h = h + attention(N(h)), h = h + W_down (silu(W_gate N(h)) * W_up N(h)) with N(h) = h / rms(h) *
gain. With biases, which a LLaMA configuration may have, the second can almost say the first:
- W_gate = 1.702 W_in, and W_up = 0 with bias 1 / 1.702: then silu(..) * .. = x sigmoid(1.702 x), which is gelu(x) to
  .02 (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2);
- the residual stream h stays as it is, where BERT's is normalised at every turn. Sample texts tell for each dimension
  the line from N(h) to y (least squares; folded into gain and biases) and how much larger y's spread is than h's,
  which what is written into h is divided by;
- positions, which BERT's embeddings learnt, become rotary ones: each head's score of two positions, as a function of
  their distance, is fitted by cosines of the rotary angles, which biases of its queries and keys add; the dimensions
  in which its queries and keys vary least go where the angles turn fastest.

With all-MiniLM-L6-v2 the hidden states keep a mean cosine of .82 to the encoder's (under a causal mask, about their
mean) five layers up.

Above stand two layers after the induction heads of Olsson et al. (2022, arXiv:2209.11895), in the spirit of mimetic
initialisation (Trockman & Kolter 2023, arXiv:2305.09828): heads of the first look one token back; heads of the second
look for what followed an earlier occurrence of the current token, and all of them write the embeddings of the tokens
they see, which the tied output layer takes for a prediction.

Known gaps: attention is causal, so that a token knows what stands behind it only where the text is read twice; for
encoders with BERT's modules only.

Shape letters: N tokens of the sample, T positions, D hidden size, H head size.
"""

import math
from typing import Any

import torch
from torch import Tensor

from genir.errors import ConfigError

COPYING = 2  # layers above the encoder's
_GELU = 1.702
_BACK = 4  # heads that look one token back, and as many that look for an earlier occurrence
_FAST = 3  # rotary frequencies by which they look back, fastest first
_SHARP = 8.0  # attention logit at the peak of such a head, per frequency
_MATCH = 24.0  # attention logit of two equal tokens
_SLOW = 0.01  # radians a token: below, a rotary dimension carries content
_WRITTEN = 1.5  # what is written by looking back, and by copying, in units of the residual stream's spread
_COPIED = 2.0
_NOISE = 0.02
_LOGIT = 10.0  # what a token's own embedding, written once, scores for it
_RANGE = 96  # distances that positions are fitted over; near ones count more


@torch.no_grad()
def start_from_encoder(model: Any, encoder: Any, sample: Tensor, mask: Tensor, seed: int) -> None:
    """Set the weights of `model`, a LlamaForCausalLM with biases and tied embeddings, in place.

    All its layers but COPYING take after the lowest ones of `encoder`. `sample`, `mask` (B, T): token ids of ordinary texts, padded right.
    Raises ConfigError where the encoder is not built like BERT, or its shape is another.
    """
    layers = _bert_layers(encoder, model.config)
    random = torch.Generator().manual_seed(seed)
    table = _table(encoder)
    rows = model.model.embed_tokens.weight
    rows.copy_(table.mean(0))
    rows.add_(table.std(0) * torch.randn(rows.shape, generator=random))  # for tokens that the encoder does not have
    rows[: len(table)] = table
    seen = mask.bool()
    causal = torch.ones(sample.shape[1], sample.shape[1], dtype=torch.bool).tril()
    allowed = (causal & seen[:, None, None, :]) | torch.eye(len(causal), dtype=torch.bool)
    bias = torch.zeros(allowed.shape).masked_fill(~allowed, -1e9)
    rotary = model.model.rotary_emb(table[:1, None], torch.arange(sample.shape[1])[None])
    y, hidden = encoder.embeddings(sample), table[sample]
    for block, bert in zip(model.model.layers, layers, strict=False):
        between = _first(bert.attention(y, attention_mask=bias))
        _set_attention(block, bert.attention, hidden, y, seen, model.config)
        hidden = hidden + _first(
            block.self_attn(block.input_layernorm(hidden), position_embeddings=rotary, attention_mask=bias)
        )
        y = _first(bert(y, attention_mask=bias))
        _set_mlp(block, bert, hidden[seen], between[seen])
        hidden = hidden + block.mlp(block.post_attention_layernorm(hidden))
    _set_copying(model, hidden[seen], table[sample][seen], random)


def _bert_layers(encoder: Any, config: Any) -> list[Any]:
    layers = list(getattr(getattr(encoder, "encoder", None), "layer", ()))
    if not layers or not hasattr(layers[0], "attention") or not hasattr(encoder, "embeddings"):
        raise ConfigError(f"the reader llama starts from an encoder built like BERT; {type(encoder).__name__} is not")
    count = config.num_hidden_layers - COPYING
    if not 0 <= count <= len(layers):
        raise ConfigError(
            f"num_hidden_layers = {config.num_hidden_layers}: expected {COPYING} to {COPYING + len(layers)}, the layers of the encoder "
            f"and {COPYING} that copy"
        )
    return layers[:count]


def _table(encoder: Any) -> Tensor:
    """(V, D): what the encoder's first layer reads of each token, at a mean position."""
    parts = encoder.embeddings
    words = parts.word_embeddings.weight + parts.position_embeddings.weight[:256].mean(0)
    table: Tensor = parts.LayerNorm(words + parts.token_type_embeddings.weight[0])
    return table


def _set_attention(block: Any, bert: Any, hidden: Tensor, y: Tensor, seen: Tensor, config: Any) -> None:
    """BERT's attention for a residual stream hidden (B, T, D) that stands for y (B, T, D)."""
    gain, shift = _line(_normed(hidden[seen]), y[seen])
    size = config.head_dim or config.hidden_size // config.num_attention_heads
    heads = (config.num_attention_heads, size)
    block.input_layernorm.weight.copy_(gain)
    read = _normed(hidden) * gain + shift
    inner, own = bert.self, block.self_attn
    queries, keys = (part(read)[seen].unflatten(1, heads) for part in (inner.query, inner.key))
    order = (queries.var(0) * keys.var(0)).argsort(1)
    order = torch.cat([order[:, 0::2], order[:, 1::2]], 1)  # Hugging Face pairs dimension f with f + H / 2
    order = (order + size * torch.arange(heads[0])[:, None]).flatten()
    for ours, theirs in ((own.q_proj, inner.query), (own.k_proj, inner.key)):
        ours.weight.copy_(theirs.weight[order])
        ours.bias.copy_((theirs.bias + theirs.weight @ shift)[order])
    own.v_proj.weight.copy_(inner.value.weight)
    own.v_proj.bias.copy_(inner.value.bias + inner.value.weight @ shift)
    positions = _mean_of_positions(y - read, seen)
    queries, keys = ((positions @ part.weight.T).unflatten(1, heads) for part in (inner.query, inner.key))
    angles = _angles(config, size)
    for head in range(heads[0]):
        query, key = _position_biases(queries[:, head] @ keys[:, head].T, angles)
        part = slice(head * size, (head + 1) * size)
        own.q_proj.bias[part] += query
        own.k_proj.bias[part] += key
    _set_output(own.o_proj, bert.output.dense, hidden[seen], y[seen])


def _set_mlp(block: Any, bert: Any, hidden: Tensor, y: Tensor) -> None:
    """BERT's feed-forward part for a residual stream hidden (N, D) that stands for y (N, D)."""
    gain, shift = _line(_normed(hidden), y)
    inner = bert.intermediate.dense
    block.post_attention_layernorm.weight.copy_(gain)
    block.mlp.gate_proj.weight.copy_(_GELU * inner.weight)
    block.mlp.gate_proj.bias.copy_(_GELU * (inner.bias + inner.weight @ shift))
    block.mlp.up_proj.weight.zero_()
    block.mlp.up_proj.bias.fill_(1 / _GELU)
    _set_output(block.mlp.down_proj, bert.output.dense, hidden, y)


def _set_output(ours: Any, theirs: Any, hidden: Tensor, y: Tensor) -> None:
    """What is written to y, written to the residual stream."""
    spread = (y.std(0) / hidden.std(0).clamp(min=1e-6)).clamp(min=1e-3)
    ours.weight.copy_(theirs.weight / spread[:, None])
    ours.bias.copy_(theirs.bias / spread)


def _mean_of_positions(left: Tensor, seen: Tensor) -> Tensor:
    """(T, D): the mean over texts of what is left (B, T, D), for positions that most texts reach."""
    texts = seen.sum(0)
    reached = texts >= max(1, int(texts.max()) // 2)
    return (left * seen[..., None]).sum(0)[reached] / texts[reached, None]


def _position_biases(scores: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Biases (H,) of queries and keys whose rotary score fits scores (T, T) of two positions as a function of their distance."""
    distances = torch.arange(min(_RANGE, len(scores)))
    wanted = torch.stack([scores.diagonal(-int(distance)).mean() for distance in distances])
    turned = distances[:, None] * angles
    weight = 1 / (1 + distances[:, None] / 16)
    size = 2 * len(angles)
    design = torch.cat([weight * torch.cat([turned.cos(), turned.sin()], 1), 0.3 * torch.eye(size)])
    target = torch.cat([weight[:, 0] * (wanted - wanted.mean()), torch.zeros(size)])
    cosines, sines = torch.linalg.lstsq(design, target[:, None]).solution[:, 0].chunk(2)
    amplitude, phase = torch.hypot(cosines, sines).sqrt(), torch.atan2(sines, cosines)
    query = torch.cat([amplitude, torch.zeros_like(amplitude)])
    return query, torch.cat([amplitude * phase.cos(), amplitude * phase.sin()])


def _set_copying(model: Any, hidden: Tensor, tokens: Tensor, random: torch.Generator) -> None:
    """The two upper layers and the last norm, for a residual stream hidden (N, D) of tokens with embeddings (N, D)."""
    config = model.config
    D, heads = config.hidden_size, config.num_attention_heads
    size = config.head_dim or D // heads
    scale = hidden.square().mean().sqrt()
    known = _normed(hidden)
    # The map from a normed stream to the token's own embedding, about its mean, in units of the stream.
    centre, mean = known.mean(0), tokens.mean(0)
    spread, size_of_token = hidden.std(0).clamp(min=1e-6), (tokens - mean).square().mean().sqrt()
    gram = (known - centre).T @ (known - centre) + 0.01 * len(known) * torch.eye(D)
    identity = torch.linalg.solve(gram, (known - centre).T @ (tokens - mean)).T
    angles = _angles(config, size)
    slow = [f for f in range(size // 2) if angles[f] < _SLOW] or [size // 2 - 1]
    slow += [f + size // 2 for f in slow]
    unit = (tokens - mean).square().sum(1).mean().sqrt()
    views = [torch.linalg.qr(torch.randn(D, len(slow), generator=random))[0].T / unit for _ in range(min(_BACK, heads))]
    subspaces = [torch.linalg.qr(torch.randn(D, len(slow), generator=random))[0] for _ in views]
    back, copy = model.model.layers[-2:]
    for layer in (back, copy):
        for name, weight in layer.named_parameters():
            if "layernorm" in name:
                weight.fill_(1.0)
            elif weight.ndim == 1:
                weight.zero_()
            else:
                weight.normal_(0, _NOISE, generator=random)
        layer.mlp.down_proj.weight.zero_()
    back.self_attn.o_proj.weight.zero_()
    left, strength, right = torch.linalg.svd(identity)
    left = left * (_COPIED / size_of_token * spread[:, None])  # each dimension in units of its own spread in the stream
    for number, (view, subspace) in enumerate(zip(views, subspaces, strict=True)):
        first = number * size
        query, key = _look_back(angles, size)
        back.self_attn.q_proj.bias[first : first + size] = query
        back.self_attn.k_proj.bias[first : first + size] = key
        back.self_attn.v_proj.weight[first : first + len(slow)] = view @ identity
        back.self_attn.v_proj.bias[first : first + len(slow)] = -view @ identity @ centre
        written = _WRITTEN * math.sqrt(D)
        back.self_attn.o_proj.weight[:, first : first + len(slow)] = written * spread[:, None] * subspace
        # The copying head reads the token before through `subspace`, and the current one as `view` showed it.
        content = [first + place for place in slow]
        gain = math.sqrt(_MATCH * math.sqrt(size))
        copy.self_attn.q_proj.weight[content] = gain * view @ identity * math.sqrt(D / len(slow))
        copy.self_attn.q_proj.bias[content] = -gain * view @ identity @ centre * math.sqrt(D / len(slow))
        copy.self_attn.k_proj.weight[content] = gain * scale / written * subspace.T / spread * math.sqrt(D / len(slow))
    copy.self_attn.v_proj.weight.copy_(strength[:, None] * right)
    copy.self_attn.v_proj.bias.copy_(-(strength[:, None] * right) @ centre)
    copy.self_attn.o_proj.weight.copy_(left)
    model.model.norm.weight.copy_(_LOGIT * scale / (D * size_of_token * spread))


def _look_back(angles: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Biases (H,) of query and key whose rotary score, sum over f of c^2 cos((i - j - 1) angle_f), peaks one token back."""
    query, key = torch.zeros(size), torch.zeros(size)
    gain = math.sqrt(_SHARP * math.sqrt(size))
    for f in range(min(_FAST, size // 2)):
        key[f] = gain
        query[f] = gain * math.cos(float(angles[f]))
        query[f + size // 2] = -gain * math.sin(float(angles[f]))
    return query, key


def _angles(config: Any, size: int) -> Tensor:
    """(H / 2,) rotary angles, radians a token, fastest first."""
    theta: float = config.rope_parameters["rope_theta"]
    angles: Tensor = theta ** (-torch.arange(size // 2) / (size // 2))
    return angles


def _normed(hidden: Tensor) -> Tensor:
    return hidden / hidden.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(slope, intercept), each (D,), of the least-squares line from x to y, both (N, D), dimension by dimension."""
    centre, mean = x.mean(0), y.mean(0)
    slope = ((x - centre) * (y - mean)).mean(0) / (x - centre).square().mean(0).clamp(min=1e-9)
    return slope, mean - slope * centre


def _first(found: Any) -> Tensor:
    """The hidden states that a module returns, alone or first of several."""
    hidden: Tensor = found[0] if isinstance(found, tuple) else found
    return hidden
