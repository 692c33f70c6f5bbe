"""Which span of a passage answers a question: an encoder that reads both once and gives every span asked about a logit.

    [CLS] question [SEP] passage [SEP]  ->  H,    z(span) = v . gelu(W [h_first; h_last; mean(h_first..h_last); h_CLS] + b) + c

As a reader's span head (Devlin et al. 2019, arXiv:1810.04805), but a span is judged as a whole, by itself, so that logits compare
between questions and a passage may hold no right span at all. All claims about one passage cost one pass.

Invariants: the encoder's embeddings do not learn, and nothing is dropped out; a passage of more than `passage_tokens` is read around
each place. Known gap: of a span longer than that only the beginning is judged.
Shape letters: B texts, T tokens, C spans, D width of the encoder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genir.devices import Precision, autocast
from genir.embedding import DEFAULT_ENCODER, load_encoder
from genir.errors import ArtefactError, ConfigError, GenirError
from genir.manifest import write_json
from genir.models.pretrained import load_saved_tokenizer
from rag.checkers.spans import Place
from rag.span.storage import Storage, load_state, save_state

SEAM = "\n"  # between question and passage in a text to be tokenised
_WEIGHTS, _SHAPE = "span_scorer.safetensors", "span_scorer.json"
_STEP = 16  # lengths are multiples of it: every new shape costs a set-up in the CPU's kernels


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, a passage, and the places there (characters) that are to be judged."""

    question: str
    passage: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A pair in tokens: the ids, the characters of each token of the passage, and the number of the first of these."""

    ids: list[int]
    offsets: list[Place]
    begin: int

    def tokens(self, place: Place) -> Place:
        """First and last token (inclusive) of a place of the passage, counted in `ids`."""
        first, last = token_range(self.offsets, place)
        return self.begin + first, self.begin + last


class SpanScorer(nn.Module):
    """See the module; as `genir.training.train` wants a model."""

    pretrained = ("encoder.",)

    def __init__(self, tokenizer: Any, encoder: Any, question_tokens: int = 48, passage_tokens: int = 256) -> None:
        """Raises ConfigError for an encoder that reads too little, or no pairs."""
        super().__init__()
        self.question_tokens, self.passage_tokens = question_tokens, passage_tokens
        self.tokenizer, self.encoder = tokenizer, encoder.float()
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.encoder.get_input_embeddings().weight.requires_grad_(False)
        D = int(self.encoder.config.hidden_size)
        self.inner, self.outer = nn.Linear(4 * D, D), nn.Linear(D, 1)
        self.start, self.seam = tokenizer.cls_token_id, tokenizer.sep_token_id
        longest = question_tokens + passage_tokens + 3
        self.positions = int(getattr(self.encoder.config, "max_position_embeddings", 0) or longest)
        self.segments = int(getattr(self.encoder.config, "type_vocab_size", 0) or 0)
        if self.start is None or self.seam is None or longest > self.positions:
            raise ConfigError(
                f"the encoder reads {self.positions} tokens, its [CLS] is {self.start}, its [SEP] {self.seam}: expected both tokens, and "
                f"{longest} positions for question_tokens = {question_tokens} and passage_tokens = {passage_tokens}"
            )

    @classmethod
    def fresh(cls, encoder: str = DEFAULT_ENCODER, **shape: int) -> "SpanScorer":
        """An encoder by name or folder, with a fresh head drawn from torch's generator. Raises ArtefactError where there is none."""
        return cls(*load_encoder(encoder, attn_implementation="sdpa"), **shape)

    @classmethod
    def of_reader(cls, folder: Path, **shape: int) -> "SpanScorer":
        """The encoder of a trained `rag.span.reader.SpanReader`, which knows questions already, with a fresh head.

        Raises ArtefactError where the folder holds no such reader.
        """
        from rag.span.reader import load_model

        reader = load_model(folder)
        return cls(reader.tokenizer, reader.encoder, **shape)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts "question SEAM passage", each cut at its own limit."""
        pairs = [text.split(SEAM, 1) for text in texts]
        return [self.read(question, passage).ids for question, passage in pairs]

    def read(self, question: str, passage: str, place: Place | None = None) -> Reading:
        """What the encoder reads of a pair: all of the passage, or as many of its tokens as it may, around `place`."""
        asked = self.tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"][: self.question_tokens]
        told = self.tokenizer(passage, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = told["input_ids"], [(int(start), int(end)) for start, end in told["offset_mapping"]]
        skipped = 0
        if place is not None and len(ids) > self.passage_tokens:
            first, last = token_range(offsets, place)
            skipped = max(0, min((first + last - self.passage_tokens) // 2, first, len(ids) - self.passage_tokens))
        kept = slice(skipped, skipped + self.passage_tokens)
        return Reading([self.start, *asked, self.seam, *ids[kept], self.seam], offsets[kept], len(asked) + 2)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, each (B, T), on the model's device."""
        T = min(-(-max(len(row) for row in rows) // _STEP) * _STEP, self.positions)
        input_ids = torch.full((len(rows), T), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros(len(rows), T, dtype=torch.long)
        for i, row in enumerate(rows):
            input_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return input_ids.to(self.device), mask.to(self.device)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, spans: Tensor) -> Tensor:
        """Logits (C,), float32, of spans (C, 3): row, first token, last token (inclusive) of texts (B, T)."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.segments > 1:
            seams = (input_ids == self.seam).long()
            inputs["token_type_ids"] = ((seams.cumsum(1) - seams) > 0).long() * attention_mask
        H = self.encoder(**inputs).last_hidden_state.float()
        row, first, last = spans.unbind(1)
        sums = nn.functional.pad(H.cumsum(1), (0, 0, 1, 0))
        mean = (sums[row, last + 1] - sums[row, first]) / (last - first + 1).unsqueeze(1)
        x = torch.cat([H[row, first], H[row, last], mean, H[row, 0]], dim=1)
        logits: Tensor = self.outer(nn.functional.gelu(self.inner(x)))[:, 0].float()
        return logits

    @torch.inference_mode()
    def score(self, asked: Sequence[Asked], batch_size: int = 32, precision: Precision = "auto") -> list[list[float]]:
        """The logit of every place; equal questions and passages are read once, those of about one length together."""
        self.eval()
        wanted: dict[tuple[int, ...], list[tuple[int, int, int, int]]] = {}  # ids -> statement, place, its tokens
        for i, one in enumerate(asked):
            for j, place in enumerate(one.places):
                reading = self.read(one.question, one.passage, place)
                wanted.setdefault(tuple(reading.ids), []).append((i, j, *reading.tokens(place)))
        found = [[0.0] * len(one.places) for one in asked]
        rows = sorted(wanted, key=len)
        for begin in range(0, len(rows), batch_size):
            part = rows[begin : begin + batch_size]
            spans = [(row, *span) for row, ids in enumerate(part) for _, _, *span in wanted[ids]]
            with autocast(self.device, precision):
                logits = self(*self.pad(part), torch.tensor(spans, device=self.device)).tolist()
            for (i, j, *_), logit in zip((one for ids in part for one in wanted[ids]), logits, strict=True):
                found[i][j] = logit
        return found

    def save(self, folder: Path, storage: Storage = "int8") -> None:
        """Write configuration, tokenizer, weights (int8: a quarter of the size) and shape."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_state(folder / _WEIGHTS, self.state_dict(), storage)
        write_json(folder / _SHAPE, {"question_tokens": self.question_tokens, "passage_tokens": self.passage_tokens})

    @classmethod
    def load(cls, folder: Path) -> "SpanScorer":
        """What `save` wrote, in float32. Raises ArtefactError for anything missing or broken."""
        from transformers import AutoConfig, AutoModel

        try:
            shape = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
            config = AutoConfig.from_pretrained(folder)
            encoder = AutoModel.from_config(config, attn_implementation="sdpa")
            scorer = cls(load_saved_tokenizer(folder, config.vocab_size), encoder, **shape)
            scorer.load_state_dict(load_state(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, GenirError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{folder}: no readable span scorer ({reason}); train the checker again") from None
        return scorer.eval()


def token_range(offsets: Sequence[Place], place: Place) -> Place:
    """First and last token (inclusive) of characters start..end; the last one, twice, for what stands behind all of them."""
    inside = [i for i, (start, end) in enumerate(offsets) if start < place[1] and end > place[0]]
    return (inside[0], inside[-1]) if inside else (len(offsets) - 1, len(offsets) - 1)
