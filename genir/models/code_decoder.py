"""A pretrained text encoder with a small decoder over the identifier vocabulary: the default model on a CPU.

The decoder's token embeddings are one table, used for input and output. With residual codes that table starts from the codebooks
and the decoder's correction starts at zero, so that the untrained model scores a document d with codes c_1..c_L as

    s(q, d) = sum_i h_i(q, c_<i) . E[c_i],   h_i = pool(q) + correction_i(q, c_<i),   correction = 0 at the start

which is the inner product of the query's embedding with the document's quantised embedding: it already ranks like the quantised
dense index (RIPOR, Zeng et al. 2024, arXiv:2311.09134). Training moves the encoder, the table and the correction.

Scores are sums of logits, not log-probabilities: the model is trained to rank documents and their prefixes.

Shape letters: B texts, T text tokens, M identifiers a text, L identifier length, N live beams, D hidden size, V identifier vocabulary.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genir.devices import Precision, autocast, runs_in_bfloat16
from genir.embedding import DEFAULT_ENCODER, load_encoder, mean_pool
from genir.errors import ArtefactError, ConfigError
from genir.identifier_rows import IGNORED, TokenSums, pad_identifiers
from genir.manifest import write_atomically, write_json
from genir.models.beam_tree import BeamTree, TreeLayer
from genir.models.code_layers import DecoderLayer
from genir.models.frozen_layers import FrozenLayers
from genir.models.projection import project
from genir.models.search_twin import SearchTwin
from genir.protocols import NextToken, Scoring, SplitScores
from genir.records import DocIDTokens


@dataclass(frozen=True)
class CodeDecoderConfig:
    """Architecture of a CodeDecoder. `layers` 0 is the quantised dense index with a trainable codebook, and no correction."""

    encoder: str = DEFAULT_ENCODER
    layers: int = 1
    heads: int = 6
    feedforward: int = 768
    max_text_tokens: int = 64

    def __post_init__(self) -> None:
        if self.layers < 0 or self.heads < 1 or self.max_text_tokens < 2:
            raise ConfigError(
                f"impossible code_decoder: {self}; expected layers >= 0, heads >= 1, max_text_tokens >= 2"
            )


@dataclass
class EncodedText:
    """What the encoder says of B texts: its states, pooled unit rows, and per layer the cross-attention's keys and values."""

    hidden: Tensor  # (B, T, D)
    pooled: Tensor  # (B, D)
    memory: list[Tensor]  # per layer (2, B, heads, T, D / heads)
    memory_mask: Tensor  # (B, 1, 1, T) bool

    def take(self, rows: Tensor) -> "EncodedText":
        """The same for texts `rows` (N,)."""
        memory = [kv[:, rows] for kv in self.memory]
        return EncodedText(self.hidden[rows], self.pooled[rows], memory, self.memory_mask[rows])


class CodeDecoder(nn.Module):
    """Text -> identifier, for identifiers over a vocabulary of their own. Implements genir.protocols.IdentifierModel."""

    pretrained = ("encoder.",)

    def __init__(self, config: CodeDecoderConfig, vocab_size: int, max_identifier: int, end_token: int | None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.max_identifier = max_identifier
        self.end_token = end_token
        self.scoring: Scoring = "logits"
        self.precision: Precision = "float32"
        self._twin = SearchTwin()
        self._frozen: FrozenLayers | None = None
        self.tokenizer, self.encoder = load_encoder(config.encoder, attn_implementation="sdpa")
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):  # costs two thirds of the training speed on a CPU, and buys nothing here
                module.p = 0.0
        hidden_size = int(self.encoder.config.hidden_size)
        if hidden_size % config.heads:
            raise ConfigError(
                f"code_decoder heads = {config.heads} does not divide the encoder's hidden size {hidden_size}"
            )
        positions = getattr(self.encoder.config, "max_position_embeddings", config.max_text_tokens)
        if config.max_text_tokens > positions:
            raise ConfigError(
                f"code_decoder max_text_tokens = {config.max_text_tokens}, but the encoder reads {positions} at most"
            )
        self.codes = nn.Embedding(vocab_size, hidden_size)
        nn.init.normal_(self.codes.weight, std=hidden_size**-0.5)
        self.positions = nn.Embedding(max_identifier, hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(hidden_size, config.heads, config.feedforward) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.correction = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.zeros_(self.correction.weight)

    def train(self, mode: bool = True) -> "CodeDecoder":
        """Into training mode, in which the weights may change, or out of it."""
        if mode:
            self._twin.drop()
        return super().train(mode)

    def freeze(self, layers: int) -> None:
        """The encoder's embeddings and its lowest `layers` layers learn no more. Raises ConfigError where it has no such layers."""
        self._frozen = FrozenLayers(self.encoder, layers).freeze()

    def keep_frozen(self, rows: Sequence[Sequence[int]], max_bytes: float) -> None:
        """Compute once what the frozen layers say of these token rows, as many as `max_bytes` hold; `thaw` forgets it."""
        assert self._frozen is not None
        self._frozen.keep(rows, self.pad, max_bytes)

    def thaw(self) -> None:
        """Everything learns again."""
        if self._frozen is not None:
            self._frozen.thaw()
            self._frozen = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.codes.weight.device

    def start_from_codebooks(self, codebooks: np.ndarray) -> None:
        """Set the token embeddings to codebooks (L, C, D), token = level * C + code. Raises ConfigError on another shape."""
        rows = torch.from_numpy(np.ascontiguousarray(codebooks, dtype=np.float32)).reshape(-1, codebooks.shape[-1])
        have = self.codes.weight[: len(rows)]
        if rows.shape != have.shape:
            raise ConfigError(
                f"codebooks of shape {codebooks.shape} do not fit {tuple(self.codes.weight.shape)} token embeddings: the "
                "identifiers were built with another encoder; build them and the model with the same one"
            )
        with torch.no_grad():
            self.codes.weight[: len(rows)] = rows

    # --- reading ---------------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `max_text_tokens`; one warning says how many were cut."""
        limit = self.config.max_text_tokens
        rows = self.tokenizer(list(texts), truncation=True, max_length=limit, verbose=False)["input_ids"]
        full = sum(len(row) == limit for row in rows)
        longer = full and sum(
            len(self.tokenizer(text, verbose=False)["input_ids"]) > limit
            for text, row in zip(texts, rows, strict=True)
            if len(row) == limit
        )
        if longer:
            warnings.warn(f"{longer} of {len(rows)} texts are longer than {limit} tokens and were cut", stacklevel=2)
        return [list(row) for row in rows]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, each (B, T), on the model's device; T is a multiple of 8, so that few shapes occur."""
        T = (max(len(row) for row in rows) + 7) // 8 * 8
        input_ids = torch.full((len(rows), T), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros(len(rows), T, dtype=torch.long)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return input_ids.to(self.device), mask.to(self.device)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, encoder: Any = None) -> EncodedText:
        """Run the encoder (or `encoder`, its twin) once over (B, T); in training, its frozen layers only for unknown texts."""
        reader = encoder or (self._frozen if self.training else None) or self.encoder
        hidden = reader(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        memory = [layer.cross_attention.keys_values(hidden) for layer in self.layers]  # type: ignore[union-attr, operator]
        return EncodedText(hidden, mean_pool(hidden, attention_mask), memory, attention_mask[:, None, None, :].bool())

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) under each token of each text; (0, 0) under special tokens.

        Raises ConfigError for a tokenizer that does not know them.
        """
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"the tokenizer of {self.config.encoder!r} does not say where its tokens stand; use an encoder with a fast one"
            )
        limit = self.config.max_text_tokens
        read = self.tokenizer(
            list(texts), truncation=True, max_length=limit, return_offsets_mapping=True, verbose=False
        )
        return [[(int(start), int(end)) for start, end in row] for row in read["offset_mapping"]]

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> EncodedText:
        """What the encoder says of B texts, by the weights as they are."""
        with autocast(self.device, self.precision):
            return self.encode(*self.pad(self.tokenize(texts)))

    def identifier_vectors(self, identifiers: Sequence[DocIDTokens]) -> Tensor:
        """Shape (M, D): sums of token embeddings; times a pooled text, its scores without the decoder's correction."""
        sums = TokenSums.of(pad_identifiers(identifiers, self.end_token).to(self.device))
        return sums(self.codes.weight.T).T

    # --- writing ---------------------------------------------------------------------------------------------------------

    def embed(self, tokens: Tensor, pooled: Tensor, first: int) -> Tensor:
        """Decoder inputs (B, S, D) for positions first..first+S-1; position 0 reads no token."""
        S = tokens.shape[1]
        x = pooled[:, None] + self.positions.weight[first : first + S]
        read: Tensor = self.codes(tokens.clamp(min=0))
        if first == 0:
            read = torch.cat([torch.zeros_like(read[:, :1]), read[:, 1:]], dim=1)
        return x + read

    def states(self, text: EncodedText, identifiers: Tensor) -> Tensor:
        """h (B * M, L, D), teacher-forced along identifiers (B * M, L), M of them for each text; IGNORED may fill the ends."""
        pooled = text.pooled.repeat_interleave(len(identifiers) // len(text.pooled), dim=0)
        if not self.layers:
            return pooled[:, None].expand(-1, identifiers.shape[1], -1)
        shifted = torch.cat([identifiers[:, :1], identifiers[:, :-1]], dim=1)
        x = self.embed(shifted, pooled, 0)
        for layer, memory in zip(self.layers, text.memory, strict=True):
            x = layer(x, memory, text.memory_mask)
        correction: Tensor = self.correction(self.norm(x))
        return pooled[:, None] + correction.float()

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor, identifiers: Tensor) -> Tensor:
        """Shape (B, L, V): teacher-forced logits along identifiers (B, L), differentiable; for cross-entropy on tokens."""
        states = self.states(self.encode(input_ids, attention_mask), identifiers)
        return states @ self.codes.weight.T

    def token_scores(self, text: EncodedText, identifiers: Tensor) -> Tensor:
        """Shape (B, M, L): the logit of every token of identifiers (B, M, L), each text with its own M; 0 behind the ends."""
        B, M, L = identifiers.shape
        states = self.states(text, identifiers.reshape(B * M, L)).view(B, M, L, -1)
        logits: Tensor = (states * self.codes(identifiers.clamp(min=0))).sum(-1)
        return logits.masked_fill(identifiers == IGNORED, 0.0)

    def begin(self, texts: Sequence[str]) -> NextToken:
        """Encode B texts once and return the step function of the search."""
        return self._begin(texts)

    def begin_with_states(self, texts: Sequence[str]) -> tuple[NextToken, Tensor]:
        """`begin`, and the encoder's states (B, T, D), float32."""
        search = self._begin(texts)
        return search, search.text.hidden.float()

    @torch.inference_mode()
    def begin_split(self, texts: Sequence[str]) -> SplitScores:
        """`begin`, its logits as what the pooled text says of each code and what the decoder corrects, and the encoder's states."""
        search = self._begin(texts, correction_alone=True)
        pooled = search.text.pooled.float()
        return SplitScores(pooled @ self.codes.weight.T, search, search.text.hidden.float())

    @torch.inference_mode()
    def _begin(self, texts: Sequence[str], correction_alone: bool = False) -> "_Search":
        encoder = self._twin.of(self.encoder, runs_in_bfloat16(self.device, self.precision))
        with autocast(self.device, self.precision):
            return _Search(self, encoder, *self.pad(self.tokenize(texts)), correction_alone)

    @torch.inference_mode()
    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> Tensor:
        """Shape (B, M): every text against every identifier (the end token is added here where there is one)."""
        M = len(identifiers)
        padded = pad_identifiers(identifiers, self.end_token).to(self.device)
        with autocast(self.device, self.precision):
            text = self.encode(*self.pad(self.tokenize(texts)))
            scores = torch.empty(len(texts), M)
            for row in range(len(texts)):
                one = text.take(torch.tensor([row], device=self.device))
                for start in range(0, M, 4096):
                    part = padded[None, start : start + 4096]
                    scores[row, start : start + 4096] = self.token_scores(one, part)[0].float().sum(-1).cpu()
        return scores

    # --- keeping ---------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write config.json, encoder/ (a Hugging Face folder) and model.safetensors (everything but the encoder)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save_pretrained(folder / "encoder")
        self.tokenizer.save_pretrained(folder / "encoder")
        own = {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("encoder.")}
        write_atomically(folder / "model.safetensors", lambda temporary: save_file(own, temporary))
        shape = {"vocab_size": self.vocab_size, "max_identifier": self.max_identifier, "end_token": self.end_token}
        config = {**vars(self.config), "encoder": "encoder"}
        write_json(folder / "config.json", {"architecture": "code_decoder", "config": config, **shape})

    @classmethod
    def load(cls, folder: Path, saved: dict[str, Any]) -> "CodeDecoder":
        """The model saved in `folder`; `saved` is its config.json. Raises ArtefactError where the weights do not fit."""
        config = CodeDecoderConfig(**{**saved["config"], "encoder": str(folder / saved["config"]["encoder"])})
        model = cls(config, saved["vocab_size"], saved["max_identifier"], saved["end_token"])
        path = folder / "model.safetensors"
        try:
            own = load_file(path)
            missing, unexpected = model.load_state_dict(own, strict=False)
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ArtefactError(f"{path}: cannot be loaded: {error}; train the model again") from None
        if unexpected or any(not key.startswith("encoder.") for key in missing):
            raise ArtefactError(f"{path}: holds other tensors than its config.json names; train the model again")
        return model.eval()


class _Search:
    """The decoder's side of one search: everything about a text once a text, every written token once (`BeamTree`).

    With `correction_alone` logits lack what the pooled text itself says of a code.
    """

    def __init__(
        self, model: CodeDecoder, encoder: Any, input_ids: Tensor, mask: Tensor, correction_alone: bool
    ) -> None:
        self.model, self.correction_alone = model, correction_alone
        self.text = model.encode(input_ids, mask, encoder)
        self.tree = BeamTree(len(input_ids), model.device)
        self.past = [TreeLayer(self.tree) for _ in model.layers]

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, parents: Tensor | None, allowed: Tensor | None) -> Tensor:
        model, tree = self.model, self.tree
        previous = tokens if parents is not None else torch.zeros_like(tree.texts)
        if parents is not None:
            self._follow(parents)
        pooled = self.text.pooled[tree.texts]
        with autocast(model.device, model.precision):
            state = torch.zeros_like(pooled) if self.correction_alone else pooled
            if model.layers:
                x = model.embed(previous[:, None], pooled, tree.length - 1)
                for layer, past, memory in zip(model.layers, self.past, self.text.memory, strict=True):
                    x = layer.step(x, past, memory, self.text.memory_mask)  # type: ignore[operator]
                state = state + model.correction(model.norm(x[:, 0])).float()
            return project(state, model.codes.weight, allowed).float()

    def _follow(self, parents: Tensor) -> None:
        remaining = self.tree.follow(parents)
        if remaining is not None:
            self.text = self.text.take(remaining)
            for layer in self.past:
                layer.keep(remaining)
