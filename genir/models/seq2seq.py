"""Text -> identifier by a Hugging Face encoder-decoder (T5, mT5, BART, ...), or by a T5 made from nothing.

Identifiers come in two kinds. Those with a vocabulary of their own (residual, hierarchical, atomic, numeric, random)
get new embedding rows of their own, for input and output alike, and the output is projected onto these only. Those made
of text tokens (titles) use the network's vocabulary as it is, and end with its end-of-sequence token.

Scores are log-probabilities over the identifier vocabulary ("vocabulary" scoring). In a search the encoder runs once
per query, and so do the cross-attention's projections (`seq2seq_search`, `beam_attention`).

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
from torch import Tensor, nn

from genir.devices import Precision, autocast, runs_in_bfloat16
from genir.embedding import DEFAULT_ENCODER, resolve_encoder
from genir.errors import ConfigError
from genir.identifier_rows import pad_identifiers
from genir.manifest import write_json
from genir.models.own_embedding import load_own_embedding, save_own_embedding
from genir.models.pretrained import loading
from genir.models.search_twin import SearchTwin
from genir.models.seq2seq_search import START, Decoder, RowSearch, SharedSearch
from genir.protocols import NextToken, Scoring
from genir.records import DocIDTokens

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
        from genir.models.beam_attention import use_beam_attention

        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.config = config
        self.scoring: Scoring = "vocabulary"
        self.precision: Precision = "float32"
        self.pretrained: tuple[str, ...] = ("network.",) if config.source else ()
        self.shares_cross_attention = use_beam_attention(network)
        self._twin = SearchTwin()
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

        with loading(repr(config.source or config.tokenizer), "no encoder-decoder"):
            tokenizer = AutoTokenizer.from_pretrained(config.source or resolve_encoder(config.tokenizer))
            if config.source:
                network = AutoModelForSeq2SeqLM.from_pretrained(config.source)
                return cls(network, tokenizer, config, vocab_size, end_token)
        shape = T5Config(
            **vars(config.t5),
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
        return cls(T5ForConditionalGeneration(shape), tokenizer, config, vocab_size, end_token)

    def train(self, mode: bool = True) -> "Seq2SeqModel":
        """Into training mode, in which the weights may change, or out of it."""
        if mode:
            self._twin.drop()
        return super().train(mode)

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
        return [list(row) or [self.network.config.eos_token_id or 0] for row in rows]  # something to read

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
        network = self._twin.of(self.network, runs_in_bfloat16(self.device, self.precision))
        search = SharedSearch if self.shares_cross_attention else RowSearch
        with autocast(self.device, self.precision):
            states = network.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return search(self._decoder(network), states, attention_mask)

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

    def _decode(self, previous: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, S, V) after the tokens `previous` (N, S), START in front; all N read one text, or each its own."""
        if not self.shares_cross_attention and len(states) == 1:
            states, mask = states.expand(len(previous), -1, -1), mask.expand(len(previous), -1)
        decoder = self._decoder(self.network)
        output = decoder.layers(
            **decoder.read(previous), encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        )
        return decoder.logits(output.last_hidden_state)

    def _decoder(self, network: Any) -> Decoder:
        """The decoder of `network`, which is the model's own or its twin in bfloat16."""
        layers, read = network.get_decoder(), self._read
        if self.own_embedding is not None:
            return Decoder(layers, read, self.own_embedding.weight, None, float(self.logit_scale), self.precision)
        head, bias = network.get_output_embeddings(), getattr(network, "final_logits_bias", None)
        scale = network.config.d_model**-0.5 if getattr(network.config, "scale_decoder_outputs", False) else 1.0
        bias = head.bias if bias is None else bias[0]
        return Decoder(layers, read, head.weight, bias, scale, self.precision)

    def _read(self, previous: Tensor) -> dict[str, Tensor]:
        """The decoder's arguments for identifier tokens (N, S)."""
        start_id = self.network.config.decoder_start_token_id
        if self.own_embedding is None:
            return {"input_ids": previous.where(previous >= 0, start_id)}
        start = self.network.get_decoder().get_input_embeddings()(torch.tensor(start_id, device=previous.device))
        return {
            "inputs_embeds": torch.where(previous[..., None] >= 0, self.own_embedding(previous.clamp(min=0)), start)
        }

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write config.json, network/ (a Hugging Face folder) and, for tokens of its own, own_embedding.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder / "network")
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder / "network")
        if self.own_embedding is not None:
            save_own_embedding(folder, self.own_embedding, self.logit_scale)
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
            load_own_embedding(folder, model.own_embedding, model.logit_scale)
        return model.eval()


def _shifted(identifiers: Tensor) -> Tensor:
    """What the decoder reads (M, L) in order to write identifiers (M, L)."""
    return torch.cat([torch.full_like(identifiers[:, :1], START), identifiers[:, :-1]], dim=1)
