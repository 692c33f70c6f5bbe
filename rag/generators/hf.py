"""Any Hugging Face causal language model as a `Generator`: by name or folder, batched, with a KV cache.

The decoding loop is our own, so that every row has its own random state (a prompt is sampled alike whatever batch it
stands in), stop strings end rows one by one, and `stream` is the same loop as `generate`. Prompts are padded on the
left, positions count from the first real token, and padding is masked: a batch gives what one prompt at a time gives
(a test says so, against `model.generate`). Special tokens are added to prompts the way the tokenizer does it, and
never shown in the text; prompt and text together are what decoding all tokens at once gives, so that a space between them is kept.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch

from genir.devices import pick_device
from genir.errors import ArtefactError, ConfigError, GenirError
from genir.protocols import Generation, SamplingParams
from rag.chat_template import worded
from rag.generators.limits import refuse
from rag.llama.text import Decode, border, text_behind


def load_causal_lm(name: str) -> tuple[Any, Any]:
    """(tokenizer, model in evaluation mode) by folder or hub name. Raises ArtefactError where there is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name).eval()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(
            f"language model {name!r}: cannot be loaded: {reason}; give the folder of a Hugging Face causal model or a hub name"
        ) from None


def _with_flash_attention(model: Any) -> Any:
    """The model with flash-attn's kernels where it can use them: installed, on a GPU, in half precision; else as it was."""
    half = model.dtype in (torch.bfloat16, torch.float16)
    if half and model.device.type == "cuda" and find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
    return model


Allowed = Callable[[Sequence[int]], Collection[int]]  # tokens written so far -> tokens that may follow


@dataclass
class _Row:
    """One prompt on its way: what it has written so far."""

    random: torch.Generator
    border: list[int]  # the prompt's last tokens
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""

    def generation(self, params: SamplingParams) -> Generation:
        """What it has written, once it has ended."""
        logprobs = tuple(self.logprobs) if params.logprobs else ()
        return Generation(self.text, tuple(self.tokens), logprobs, self.finish_reason)


@dataclass
class HFGenerator:
    """`source` is a folder or hub name; the weights are loaded at the first prompt.

    `dtype`: "auto" keeps the checkpoint's. `batch_size` prompts run together, sorted by length. `chat`: a prompt is a user's turn, in the
    template of the tokenizer, if it has one; else text to be continued.
    """

    source: str
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 32
    label: str = ""
    chat: bool = False

    def __post_init__(self) -> None:
        self._loaded: tuple[Any, Any] | None = None

    @classmethod
    def of(
        cls, model: Any, tokenizer: Any, label: str = "hf", batch_size: int = 32, chat: bool = False
    ) -> "HFGenerator":
        """A generator around a model that is in memory already."""
        made = cls(source="", device=str(model.device), batch_size=batch_size, label=label, chat=chat)
        made._loaded = tokenizer, model.eval()
        return made

    @property
    def name(self) -> str:
        """The label, or the source where none was given."""
        return self.label or self.source

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, model), loaded once. Raises ArtefactError for an unknown source, ConfigError for an unknown dtype."""
        if self._loaded is None:
            tokenizer, model = load_causal_lm(self.source)
            if self.dtype != "auto":
                kind = getattr(torch, self.dtype, None)
                if not isinstance(kind, torch.dtype):
                    raise ConfigError(f"dtype {self.dtype!r}: expected auto, float32, bfloat16 or float16")
                model = model.to(kind)
            self._loaded = tokenizer, _with_flash_attention(model.to(pick_device(self.device)))
        return self._loaded

    def generate(
        self, prompts: Sequence[str], params: SamplingParams, allowed: Sequence[Allowed | None] | None = None
    ) -> list[Generation]:
        """One generation a prompt, in order; log-probabilities are the model's own (temperature 1, nothing cut off).

        `allowed` names for every prompt the tokens that may follow what it has written; None for any.
        Raises GenirError for a prompt that leaves no room for an answer in the model's context.
        """
        refuse(params, ("num_beams", "length_penalty", "repetition_penalty"), "the generator hf")
        encoded = [self._encode(prompt, params) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        done: dict[int, Generation] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            rows: list[_Row] = []
            limits = None if allowed is None else [allowed[i] for i in chosen]
            for rows in self._decode([encoded[i] for i in chosen], params, limits):  # noqa: B007 - the last state is what counts
                pass
            done |= {i: row.generation(params) for i, row in zip(chosen, rows, strict=True)}
        return [done[i] for i in range(len(prompts))]

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[str]:
        """The text of `generate` in pieces. Text that a stop string or half a character may still end is held back."""
        yield from (piece for piece in self.stream_generation(prompt, params) if isinstance(piece, str))

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces of `stream`, then what `generate` gives."""
        refuse(params, ("num_beams", "length_penalty", "repetition_penalty"), "the generator hf")
        held = max((len(stop) for stop in params.stop), default=1) - 1
        sent, written = 0, Generation("")
        for (row,) in self._decode([self._encode(prompt, params)], params):
            text, written = row.text, row.generation(params)
            safe = len(text) - held - (len(text) - len(text.rstrip("\ufffd")))
            if not row.finish_reason and safe > sent:
                yield text[sent:safe]
                sent = safe
        if written.text[sent:]:
            yield written.text[sent:]
        yield written

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, special ones included."""
        return len(self.tokens(text))

    def context_length(self) -> int | None:
        """The model's `max_position_embeddings`, where it has one."""
        room: int | None = getattr(self.load()[1].config, "max_position_embeddings", None)
        return room

    def tokens(self, prompt: str) -> list[int]:
        """What the model reads of a prompt; a special token that is spelled out in it is text (`rag.chat_template`)."""
        tokenizer, _ = self.load()
        text, special = worded(tokenizer, prompt, self.chat)
        ids: list[int] = (tokenizer(text) if special else tokenizer(text, add_special_tokens=False))["input_ids"]
        return ids

    def _encode(self, prompt: str, params: SamplingParams) -> list[int]:
        ids = self.tokens(prompt)
        if not ids:
            raise GenirError("empty prompt: expected at least one token; this tokenizer adds none of its own")
        room = self.context_length()
        if room is not None and len(ids) + params.max_new_tokens > room:
            raise GenirError(
                f"prompt of {len(ids)} tokens + max_new_tokens {params.max_new_tokens} exceeds the context of {room} tokens of "
                f"{self.name!r}: give fewer or shorter passages, or a smaller max_new_tokens"
            )
        return ids

    @torch.inference_mode()
    def _decode(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        allowed: Sequence[Allowed | None] | None = None,
    ) -> Iterator[list[_Row]]:
        """Prefill once, then one token a step for all rows; yields the rows after every step until all have finished."""
        tokenizer, model = self.load()
        device, longest = model.device, max(map(len, prompts))
        pad = tokenizer.pad_token_id or 0  # masked, so any id will do
        ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        takes_positions = "position_ids" in signature(model.forward).parameters
        ends = set() if params.ignore_eos else _end_tokens(model, tokenizer)
        decode = partial(tokenizer.decode, skip_special_tokens=True)
        rows = [_Row(torch.Generator().manual_seed(params.seed), border(decode, prompt)) for prompt in prompts]
        cache = None
        for _ in range(params.max_new_tokens):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            extra = {"position_ids": positions} if takes_positions else {}
            out = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **extra)
            cache = out.past_key_values
            logits = out.logits[:, -1].float().cpu()
            limited = logits if allowed is None else _within(logits, rows, allowed)
            chosen = [_choose(limited[i], params, row.random) for i, row in enumerate(rows)]
            logprobs = logits.log_softmax(-1)[torch.arange(len(rows)), torch.tensor(chosen)].tolist()
            for row, token, logprob in zip(rows, chosen, logprobs, strict=True):
                if not row.finish_reason:
                    _append(row, token, logprob, ends, params, decode)
            yield rows
            if all(row.finish_reason for row in rows):
                break
            ids = torch.tensor(chosen, device=device).unsqueeze(1)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _within(logits: torch.Tensor, rows: Sequence[_Row], allowed: Sequence[Allowed | None]) -> torch.Tensor:
    """Logits (B, V) with -inf at what a row may not write next; rows that have ended write anything, unseen."""
    limited = logits.clone()
    for i, (row, limit) in enumerate(zip(rows, allowed, strict=True)):
        if limit is not None and not row.finish_reason:
            keep = torch.tensor(sorted(limit(row.tokens)))
            limited[i] = torch.full_like(logits[i], float("-inf")).index_copy(0, keep, logits[i, keep])
    return limited


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """All ids that end a text: the generation configuration's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}


def _choose(logits: torch.Tensor, params: SamplingParams, random: torch.Generator) -> int:
    """The next token from logits (V,): the best one at temperature 0, else drawn after top-k and top-p."""
    if params.temperature <= 0:
        return int(logits.argmax())
    scaled = logits / params.temperature
    if 0 < params.top_k < scaled.numel():
        scaled = scaled.masked_fill(scaled < scaled.topk(params.top_k).values[-1], float("-inf"))
    if params.top_p < 1:
        ordered, index = scaled.sort(descending=True)
        share = ordered.softmax(-1)
        # A token stays while those before it hold less than top_p: the best one always stays.
        scaled = scaled.index_fill(0, index[share.cumsum(-1) - share >= params.top_p], float("-inf"))
    return int(torch.multinomial(scaled.softmax(-1), 1, generator=random))


def _append(row: _Row, token: int, logprob: float, ends: set[int], params: SamplingParams, decode: Decode) -> None:
    """Add a token to a row; sets its finish reason at an end token, a stop string (cut from the text) or the length limit."""
    row.tokens.append(token)
    row.logprobs.append(logprob)
    if token in ends:
        row.finish_reason = "stop"
        return
    row.text = text_behind(decode, row.border, row.tokens)
    cut = min((at for at in (row.text.find(stop) for stop in params.stop if stop) if at >= 0), default=-1)
    if cut >= 0:
        row.text, row.finish_reason = row.text[:cut], "stop"
    elif len(row.tokens) == params.max_new_tokens:
        row.finish_reason = "length"
