"""Text -> identifier by a Hugging Face causal language model (LLaMA, Qwen, GPT-2, ...), or by a LLaMA made from nothing.

The text stands in a prompt, and the identifier is what the model writes behind it: the state of the prompt's last token
gives the first identifier token. Identifiers come in two kinds. Those with a vocabulary of their own get new embedding
rows, for input and output alike, which are trained whatever else is frozen, and the output is projected onto these
only. Those made of text tokens (titles) use the network's vocabulary as it is, and end with its end-of-sequence token.

Invariants: batches are left-padded before the network sees them, whichever side they came padded on, and positions
count real tokens; only identifier positions have logits, so a loss cannot contain the prompt. Scores are
log-probabilities over the identifier vocabulary. In a search a prompt's keys and values exist once a query where the
architecture allows it (`causal_search`).

Known gaps: networks that derive positions from the length of the padded batch and take none (none is known among
those with rotary or learned positions) are wrong for padded batches. Dropout is the network's own configuration's.

Shape letters: B texts, T text tokens, M identifiers, L identifier length, N live beams, D hidden size, V identifier
vocabulary, F tokens asked for.
"""

import inspect
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genir.beam_search import check_tokens
from genir.devices import Precision, runs_in_bfloat16
from genir.embedding import resolve_encoder
from genir.errors import ArtefactError, ConfigError
from genir.identifier_rows import pad_identifiers
from genir.manifest import write_json
from genir.models.beam_tree import BeamTree
from genir.models.causal_config import PLACE_OF_TEXT, CausalConfig
from genir.models.causal_scoring import positions_of, score_after
from genir.models.causal_search import RowPerBeamSearch, SharedPromptSearch, prompts_can_be_shared
from genir.models.language_head import has_plain_head
from genir.models.lora import add_adapters, merged_weights
from genir.models.own_embedding import load_own_embedding, save_own_embedding
from genir.models.pretrained import TOKENIZER_FILE, check_tokenizer, load_fast_tokenizer, loading
from genir.models.projection import project
from genir.models.search_twin import SearchTwin
from genir.protocols import NextToken, Scoring
from genir.records import DocIDTokens


class CausalModel(nn.Module):
    """Implements genir.protocols.IdentifierModel; make one with `build` or `load`.

    `vocab_size` is that of the identifiers (end token included), or None for identifiers made of text tokens, whose end
    token is then the network's. `tokenizer` may be None where texts are only ever given as token ids.
    """

    logit_scale: Tensor

    def __init__(
        self, network: Any, tokenizer: Any, config: CausalConfig, vocab_size: int | None, end_token: int | None
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.config = config
        self.scoring: Scoring = "vocabulary"
        self.precision: Precision = "float32"
        self.shares_prompts: bool | None = None  # None: not tried yet
        self._twin = SearchTwin()
        self.pretrained: tuple[str, ...] = ("network.",) if config.source and not config.lora_rank else ()
        shape = network.config.get_text_config()
        self.positions: int | None = getattr(shape, "max_position_embeddings", None)
        if self.positions is not None and config.max_text_tokens >= self.positions:
            raise ConfigError(
                f"causal max_text_tokens = {config.max_text_tokens}, but the network has {self.positions} positions, "
                "which must hold the identifier, too"
            )
        self.own_embedding: nn.Embedding | None = None
        if vocab_size is None:
            ends = shape.eos_token_id
            self.vocab_size: int = shape.vocab_size
            self.end_token: int | None = ends[0] if isinstance(ends, list) else ends
        else:
            self.vocab_size, self.end_token = vocab_size, end_token
            text = network.get_input_embeddings()
            some = torch.arange(min(1000, text.num_embeddings), device=self.device)
            spread = text(some).detach().float().std()
            self.own_embedding = nn.Embedding(vocab_size, text.embedding_dim, device=self.device)
            nn.init.normal_(self.own_embedding.weight, std=float(spread))
            # logits of about unit variance at the start, for states of about unit variance
            self.register_buffer("logit_scale", 1.0 / (spread * text.embedding_dim**0.5))
        if config.lora_rank:
            add_adapters(network, config.lora_rank, config.lora_alpha, config.lora_dropout, config.lora_targets)

    @classmethod
    def build(cls, config: CausalConfig, vocab_size: int | None = None, end_token: int | None = None) -> "CausalModel":
        """A model before training. Raises ArtefactError where the network or its tokenizer cannot be loaded."""
        from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

        if config.lora_rank and not config.source:
            raise ConfigError("causal lora_rank adapts a trained network: give one as source, or set lora_rank = 0")
        dtype = getattr(torch, config.dtype)
        with loading(repr(config.source or config.tokenizer), "no causal language model"):
            tokenizer = load_fast_tokenizer(config.source or resolve_encoder(config.tokenizer))
            if config.source:
                network = AutoModelForCausalLM.from_pretrained(config.source, dtype=dtype)
                check_tokenizer(tokenizer, network.config.get_text_config().vocab_size)
                return cls(network, tokenizer, config, vocab_size, end_token)
        shape = LlamaConfig(
            **vars(config.llama),
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id,
            eos_token_id=tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
        )
        return cls(LlamaForCausalLM(shape).to(dtype), tokenizer, config, vocab_size, end_token)

    def train(self, mode: bool = True) -> "CausalModel":
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
        """Token ids of each text in its prompt, texts cut at `max_text_tokens`; one warning says how many were cut."""
        limit = self.config.max_text_tokens
        rows = self._prompts(texts)
        suspects = [i for i, row in enumerate(rows) if len(row) > limit]
        if suspects:
            alone = self.tokenizer(
                [texts[i] for i in suspects], add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )["offset_mapping"]
            cut = {
                i: texts[i][: spans[limit - 1][1]]
                for i, spans in zip(suspects, alone, strict=True)
                if limit < len(spans)
            }
            if cut:
                message = f"{len(cut)} of {len(rows)} texts are longer than {limit} tokens and were cut"
                warnings.warn(message, stacklevel=2)
                for i, row in zip(cut, self._prompts(list(cut.values())), strict=True):
                    rows[i] = row
        return rows

    def _prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole prompts; where that is none at all (a blank text), one token to write behind."""
        tokenizer = self.tokenizer
        rows = tokenizer([self.config.prompt.replace(PLACE_OF_TEXT, text) for text in texts], verbose=False)[
            "input_ids"
        ]
        begins = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [list(row) or [begins or 0] for row in rows]

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Left-padded input_ids and attention_mask (B, T) on the model's device; T in steps of 8: few shapes occur."""
        T = (max(len(row) for row in rows) + 7) // 8 * 8
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(T, 0, -1) <= lengths[:, None]
        input_ids = torch.zeros(len(rows), T, dtype=torch.int64)
        input_ids[mask] = torch.tensor([token for row in rows for token in row])
        return input_ids.to(self.device), mask.long().to(self.device)

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Shape (B, T) -> (B, T, D)."""
        embeddings: Tensor = self.network.get_input_embeddings()(input_ids)
        return embeddings

    def embed_identifiers(self, tokens: Tensor) -> Tensor:
        """Shape (N, S) -> (N, S, D); -1 stands where nothing is read, and gets some embedding."""
        if self.own_embedding is None:
            return self.embed_text(tokens.clamp(min=0))
        embeddings: Tensor = self.own_embedding(tokens.clamp(min=0))
        return embeddings.to(self.network.dtype)

    # --- the network --------------------------------------------------------------------------------------------------

    @cached_property
    def _plain_head(self) -> bool:
        return has_plain_head(self.network)

    @cached_property
    def _takes_positions(self) -> bool:
        return "position_ids" in inspect.signature(self.network.get_decoder().forward).parameters

    def states(
        self,
        network: Any,
        embeddings: Tensor,
        attention_mask: Tensor | None,
        positions: Tensor,
        *,
        keep: int,
        cache: Any = None,
        beams: BeamTree | None = None,
    ) -> Tensor:
        """What `project` makes logits of, at the last `keep` of the positions (N, S) that `network` reads: (N, keep, D).

        These are the decoder's states, or the logits themselves of a network that does more than to project them.
        """
        options = {"attention_mask": attention_mask, "past_key_values": cache, "use_cache": cache is not None}
        if self._takes_positions:
            options["position_ids"] = positions
        if beams is not None:
            options["beams"] = beams
        if self.own_embedding is None and not self._plain_head:
            logits: Tensor = network(inputs_embeds=embeddings, logits_to_keep=keep, **options).logits
            return logits[:, -keep:]
        states: Tensor = network.get_decoder()(inputs_embeds=embeddings, **options).last_hidden_state
        return states[:, -keep:]

    def project(self, network: Any, states: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Logits (..., V) of states (..., D); with `allowed` (N, F), of these tokens only: (N, F)."""
        if self.own_embedding is not None:
            weight = self.own_embedding.weight
            return project(states.to(weight.dtype), weight, allowed) * self.logit_scale
        if self._plain_head:
            head = network.get_output_embeddings()
            return project(states.to(head.weight.dtype), head.weight, allowed, head.bias)
        if allowed is None:
            return states
        check_tokens(allowed, self.vocab_size)
        return states.gather(1, allowed)

    # --- writing ------------------------------------------------------------------------------------------------------

    def step_logits(self, input_ids: Tensor, attention_mask: Tensor, identifiers: Tensor) -> Tensor:
        """Shape (B, L, V): teacher-forced logits along identifiers (B, L), filled up with -1; differentiable."""
        input_ids, attention_mask = _left_padded(input_ids, attention_mask)
        read = identifiers[:, :-1]
        embeddings = torch.cat([self.embed_text(input_ids), self.embed_identifiers(read)], 1)
        mask = torch.cat([attention_mask, (read >= 0).to(attention_mask.dtype)], 1)
        states = self.states(self.network, embeddings, mask, positions_of(mask), keep=identifiers.shape[1])
        return self.project(self.network, states)

    def begin(self, texts: Sequence[str]) -> NextToken:
        """Read B prompts once and return the step function of the search. Puts the model into evaluation mode."""
        return self.begin_tokens(*self.pad(self.tokenize(texts)))

    @torch.inference_mode()
    def begin_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> NextToken:
        """`begin` for prompts that are token ids (B, T) already, padded on either side."""
        self.eval()
        if self.shares_prompts is None:
            self.shares_prompts = prompts_can_be_shared(self)
        rounded = runs_in_bfloat16(self.device, self.precision) and self.network.dtype == torch.float32
        network = self._twin.of(self.network, rounded)
        search = SharedPromptSearch if self.shares_prompts else RowPerBeamSearch
        return search(self, network, *_left_padded(input_ids, attention_mask))

    @torch.inference_mode()
    def score(self, texts: Sequence[str], identifiers: Sequence[DocIDTokens]) -> Tensor:
        """Shape (B, M): log-probability of every identifier (the end token is added here) after every text."""
        self.eval()
        tokens = pad_identifiers(identifiers, self.end_token).to(self.device)
        prompts = (torch.tensor([row], device=self.device) for row in self.tokenize(texts))
        return torch.stack([score_after(self, prompt, tokens).cpu() for prompt in prompts])

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write config.json, network/ (a Hugging Face folder) and, for tokens of its own, own_embedding.safetensors.

        Adapters are merged into the weights that are written (see `lora`); the model itself keeps them.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weights = merged_weights(self.network) if self.config.lora_rank else None
        self.network.save_pretrained(folder / "network", state_dict=weights)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder / "network")
        if self.own_embedding is not None:
            save_own_embedding(folder, self.own_embedding, self.logit_scale)
        shape = {
            "vocab_size": None if self.own_embedding is None else self.vocab_size,
            "end_token": self.end_token,
            **{name: getattr(self.config, name) for name in ("max_text_tokens", "prompt", "dtype")},
        }
        write_json(folder / "config.json", {"architecture": "causal", **shape})

    @classmethod
    def load(cls, folder: Path, saved: dict[str, Any]) -> "CausalModel":
        """The model saved in `folder`; `saved` is its config.json. Raises ArtefactError where weights do not fit."""
        settings = {name: saved[name] for name in ("max_text_tokens", "prompt", "dtype")}
        config = CausalConfig(source=str(folder / "network"), **settings)
        if not (folder / "network" / TOKENIZER_FILE).is_file():
            raise ArtefactError(f"{folder}: network/{TOKENIZER_FILE} is missing; train the model again")
        model = cls.build(config, saved["vocab_size"], saved["end_token"])
        if model.own_embedding is not None:
            load_own_embedding(folder, model.own_embedding, model.logit_scale)
        return model.eval()


def _left_padded(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same rows (B, T) with their padding in front, in the order of their tokens."""
    order = attention_mask.argsort(dim=1, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)
