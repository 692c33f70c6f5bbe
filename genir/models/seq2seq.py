"""Text -> identifier by a Hugging Face encoder-decoder (T5, mT5, BART, ...), or by a T5 made from nothing.

Identifiers come in two kinds. Those with a vocabulary of their own (residual, hierarchical, atomic, numeric, random)
get new embedding rows of their own, for input and output alike, and the output is projected onto these only. Those made
of text tokens (titles) use the network's vocabulary as it is, and end with its end-of-sequence token.

Scores are log-probabilities over the identifier vocabulary ("vocabulary" scoring). In a search the encoder runs once
per query, and so do the cross-attention's projections (`shared_attention`).

Known gap: tokens that a network's generation configuration forces (BART's first token) are not forced.

Shape letters: B texts, T text tokens, M identifiers, L identifier length, N live beams, D hidden size, V identifier
vocabulary.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genir.devices import Precision, autocast
from genir.embedding import DEFAULT_ENCODER, resolve_encoder
from genir.errors import ArtefactError, ConfigError
from genir.manifest import write_atomically, write_json
from genir.models.code_decoder import pad_identifiers
from genir.models.shared_attention import share_cross_attention
from genir.protocols import NextToken, Scoring
from genir.records import DocIDTokens

_START = -1  # stands for the token in front of every identifier
_SCORED_AT_ONCE = 1 << 25  # logits held at a time by `score`: 128 MiB


@dataclass(frozen=True)
class T5Shape:
    """A T5 to be made from nothing. The defaults suit a CPU; T5-small is 512, 2048, 6, 8, 64."""

    d_model: int = 256
    d_ff: int = 1024
    num_layers: int = 3
    num_heads: int = 4
    d_kv: int = 64
    dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.d_model, self.d_ff, self.num_layers, self.num_heads, self.d_kv)
        if min(sizes) < 1 or not 0 <= self.dropout_rate < 1:
            raise ConfigError(f"impossible t5: {self}; expected sizes of 1 or more, and a dropout_rate in 0..1")


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Where the network comes from: an empty `source` makes a T5 of shape `t5` over the vocabulary of `tokenizer`."""

    source: str = ""
    tokenizer: str = DEFAULT_ENCODER
    t5: T5Shape = field(default_factory=T5Shape)
    max_text_tokens: int = 128

    def __post_init__(self) -> None:
        if self.max_text_tokens < 2:
            raise ConfigError(f"impossible seq2seq: max_text_tokens = {self.max_text_tokens}; expected 2 or more")


class Seq2SeqModel(nn.Module):
    """Implements genir.protocols.IdentifierModel; make one with `build` or `load`.

    `vocab_size` is that of the identifiers (end token included), or None for identifiers made of text tokens, whose end
    token is then the network's. `tokenizer` may be None where texts are only ever given as token ids.
    """

    logit_scale: Tensor

    def __init__(
        self, network: Any, tokenizer: Any, config: Seq2SeqConfig, vocab_size: int | None, end_token: int | None
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.config = config
        self.scoring: Scoring = "vocabulary"
        self.precision: Precision = "float32"
        self.pretrained: tuple[str, ...] = ("network.",) if config.source else ()
        self.shares_cross_attention = share_cross_attention(network)
        self.own_embedding: nn.Embedding | None = None
        self.vocab_size: int = network.config.vocab_size
        self.end_token: int | None = network.config.eos_token_id
        if vocab_size is not None:
            self.vocab_size, self.end_token = vocab_size, end_token
            text = network.get_decoder().get_input_embeddings()
            spread = text(torch.arange(min(1000, text.num_embeddings), device=self.device)).std().detach()
            self.own_embedding = nn.Embedding(vocab_size, text.embedding_dim, device=self.device)
            nn.init.normal_(self.own_embedding.weight, std=float(spread))
            # logits of unit variance at the start, as T5's own
            self.register_buffer("logit_scale", 1.0 / (spread * text.embedding_dim**0.5))

    @classmethod
    def build(
        cls, config: Seq2SeqConfig, vocab_size: int | None = None, end_token: int | None = None
    ) -> "Seq2SeqModel":
        """A model before training. Raises ArtefactError where the network or its tokenizer cannot be loaded."""
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

        try:
            tokenizer = AutoTokenizer.from_pretrained(config.source or resolve_encoder(config.tokenizer))
            if config.source:
                network = AutoModelForSeq2SeqLM.from_pretrained(config.source)
                return cls(network, tokenizer, config, vocab_size, end_token)
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            name = config.source or config.tokenizer
            raise ArtefactError(f"{name!r}: no encoder-decoder: {reason}; give a folder or a hub name") from None
        shape = T5Config(
            **vars(config.t5),
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
        return cls(T5ForConditionalGeneration(shape), tokenizer, config, vocab_size, end_token)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    # --- reading ------------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `max_text_tokens`; one warning says how many were cut."""
        limit = self.config.max_text_tokens
        rows = self.tokenizer(list(texts), verbose=False)["input_ids"]
        longer = sum(len(row) > limit for row in rows)
        if longer:
            warnings.warn(f"{longer} of {len(rows)} texts are longer than {limit} tokens and were cut", stacklevel=2)
            rows = self.tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        return [list(row) for row in rows]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask (B, T) on the model's device; T in steps of 8, so that few shapes occur."""
        T = (max(len(row) for row in rows) + 7) // 8 * 8
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(T) < lengths[:, None]
        input_ids = torch.full((len(rows), T), int(self.network.config.pad_token_id or 0))
        input_ids[mask] = torch.tensor([token for row in rows for token in row])
        return input_ids.to(self.device), mask.long().to(self.device)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the encoder once over (B, T): states (B, T, D)."""
        encoder = self.network.get_encoder()
        states: Tensor = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states

    # --- writing ------------------------------------------------------------------------------------------------------

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor, identifiers: Tensor) -> Tensor:
        """Shape (B, L, V): teacher-forced logits along identifiers (B, L), filled up with -1; differentiable."""
        return self._decode(_shifted(identifiers), self.encode(input_ids, attention_mask), attention_mask)

    def begin(self, texts: Sequence[str]) -> NextToken:
        """Encode B texts once and return the step function of the search. Puts the model into evaluation mode."""
        return self.begin_tokens(*self.pad(self.tokenize(texts)))

    @torch.inference_mode()
    def begin_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> NextToken:
        """`begin` for texts that are token ids (B, T) already."""
        self.eval()
        with autocast(self.device, self.precision):
            return _Search(self, self.encode(input_ids, attention_mask), attention_mask)

    @torch.inference_mode()
    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> Tensor:
        """Shape (B, M): log-probability of every identifier (the end token is added here) after every text."""
        self.eval()
        tokens = pad_identifiers(identifiers, self.end_token).to(self.device)
        input_ids, mask = self.pad(self.tokenize(texts))
        M, L = tokens.shape
        at_once = max(1, _SCORED_AT_ONCE // (L * self.vocab_size))
        scores = torch.empty(len(texts), M)
        with autocast(self.device, self.precision):
            states = self.encode(input_ids, mask)
            for row in range(len(texts)):
                for start in range(0, M, at_once):
                    part = tokens[start : start + at_once]
                    logits = self._decode(_shifted(part), states[row : row + 1], mask[row : row + 1]).float()
                    steps = logits.gather(2, part.clamp(min=0)[..., None])[..., 0] - logits.logsumexp(2)
                    scores[row, start : start + at_once] = steps.masked_fill(part < 0, 0.0).sum(1).cpu()
        return scores

    def _decode(
        self, previous: Tensor, states: Tensor, mask: Tensor, cache: Any = None, cross_rows: Tensor | None = None
    ) -> Tensor:
        """Logits (N, S, V) after the tokens `previous` (N, S), _START in front; texts may have fewer rows than N."""
        options = {"past_key_values": cache, "use_cache": cache is not None}
        if self.shares_cross_attention:
            options["cross_rows"] = cross_rows
        elif len(states) == 1:
            states, mask = states.expand(len(previous), -1, -1), mask.expand(len(previous), -1)
        start_id = self.network.config.decoder_start_token_id
        if self.own_embedding is None:
            ids = previous.where(previous >= 0, start_id)
            output = self.network(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=ids, **options)
            logits: Tensor = output.logits
            return logits
        decoder = self.network.get_decoder()
        start = decoder.get_input_embeddings()(torch.tensor(start_id, device=previous.device))
        embeddings = torch.where(previous[..., None] >= 0, self.own_embedding(previous.clamp(min=0)), start)
        output = decoder(inputs_embeds=embeddings, encoder_hidden_states=states, encoder_attention_mask=mask, **options)
        hidden: Tensor = output.last_hidden_state
        return hidden @ self.own_embedding.weight.T * self.logit_scale

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write config.json, network/ (a Hugging Face folder) and, for tokens of its own, own_embedding.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder / "network")
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder / "network")
        if self.own_embedding is not None:
            own = {
                "weight": self.own_embedding.weight.detach().cpu().contiguous(),
                "logit_scale": self.logit_scale.cpu(),
            }
            write_atomically(folder / "own_embedding.safetensors", lambda temporary: save_file(own, temporary))
        shape = {
            "vocab_size": None if self.own_embedding is None else self.vocab_size,
            "end_token": self.end_token,
            "max_text_tokens": self.config.max_text_tokens,
        }
        write_json(folder / "config.json", {"architecture": "seq2seq", **shape})

    @classmethod
    def load(cls, folder: Path, saved: dict[str, Any]) -> "Seq2SeqModel":
        """The model saved in `folder`; `saved` is its config.json. Raises ArtefactError where weights do not fit."""
        config = Seq2SeqConfig(source=str(folder / "network"), max_text_tokens=saved["max_text_tokens"])
        model = cls.build(config, saved["vocab_size"], saved["end_token"])
        if model.own_embedding is not None:
            path = folder / "own_embedding.safetensors"
            try:
                own = load_file(path)
                model.own_embedding.load_state_dict({"weight": own["weight"]})
                model.logit_scale.copy_(own["logit_scale"])
            except (OSError, RuntimeError, KeyError, SafetensorError) as error:
                raise ArtefactError(f"{path}: cannot be loaded: {error}; train the model again") from None
        return model.eval()


class _Search:
    """The decoder's side of a search: self-attention's cache per live beam, cross-attention's per query if possible."""

    def __init__(self, model: Seq2SeqModel, states: Tensor, mask: Tensor) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        self.model = model
        self.states, self.mask = states, mask  # one row a query that is still running; else one a live beam
        self.query = torch.arange(len(states), device=states.device)  # (N,) row of `states` of each live beam
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        previous = tokens[:, None]
        if parents is None:
            previous = torch.full_like(self.query, _START)[:, None]
        else:
            self._follow(parents)
        even = bool((self.query.bincount() * len(self.states) == len(self.query)).all())
        with autocast(self.model.device, self.model.precision):
            rows = None if even else self.query
            return self.model._decode(previous, self.states, self.mask, self.cache, rows)[:, -1].float()

    def _follow(self, parents: Tensor) -> None:
        self.cache.self_attention_cache.reorder_cache(parents)
        live = parents
        if self.model.shares_cross_attention:
            live, self.query = torch.unique_consecutive(self.query[parents], return_inverse=True)
            if len(live) == len(self.states):
                return
        self.states, self.mask = self.states[live], self.mask[live]
        self.cache.cross_attention_cache.reorder_cache(live)


def _shifted(identifiers: Tensor) -> Tensor:
    """What the decoder reads (M, L) in order to write identifiers (M, L)."""
    return torch.cat([torch.full_like(identifiers[:, :1], _START), identifiers[:, :-1]], dim=1)
