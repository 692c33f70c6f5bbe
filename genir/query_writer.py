"""Our own query generator: a small pointer network that learns, from (document, question) pairs, to ask about a sentence.

A frozen encoder reads one sentence behind its document's title; a GRU with attention writes the question token by token, and either
copies a token of the sentence or takes one of the most frequent tokens of the training questions (pointer-generator, See et al.
2017, arXiv:1704.04368). Copying is what lets some thousand pairs and a few minutes on a CPU be enough: the words of a question are
mostly those of its sentence, and what is to be learnt is how questions are asked.

Which sentence a training question asks about is not known: it is taken to be the one that shares most terms with it.

Invariants: the encoder is never changed, and kept by name and fingerprint; everything else is in `writer.safetensors`. The same
pairs, configuration and seed give the same weights on the same machine. Known gaps: its questions are shorter-sighted and less
grammatical than a pretrained doc2query model's; one sentence at a time, so nothing is asked across sentences.

Shape letters: B pairs, S tokens of the sentence, T tokens of the question, D hidden size, V tokens that need no copying.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from genir.config import from_mapping
from genir.devices import autocast
from genir.embedding import DEFAULT_ENCODER, encoder_fingerprint, load_encoder
from genir.errors import ArtefactError, ConfigError
from genir.manifest import write_atomically, write_json
from genir.pseudo_queries import PseudoQuery
from genir.query_generation import Sampling, distinct
from genir.records import Document
from genir.words import ENGLISH_STOPWORDS, sentences, terms

CONFIG, WEIGHTS = "writer.json", "writer.safetensors"
END = 0  # of the V tokens; the others are the tokenizer's, most frequent first
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class QueryWriterConfig:
    """Size and training. `vocabulary` tokens can be written without being copied; `held_out` of the documents are measured on."""

    encoder: str = DEFAULT_ENCODER
    hidden_size: int = 384
    vocabulary: int = 2000
    max_sentence_tokens: int = 64
    max_query_tokens: int = 32
    max_pairs: int = 10_000  # of more, some are left out, evenly
    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 1e-3
    dropout: float = 0.1
    held_out: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.hidden_size, self.vocabulary, self.max_query_tokens, self.batch_size, self.max_pairs)
        shares = (self.dropout, self.held_out)
        if (
            min(*sizes, self.max_sentence_tokens - 1) < 1
            or self.epochs < 0
            or self.learning_rate <= 0
            or not all(0 <= one < 1 for one in shares)
        ):
            raise ConfigError(
                f"impossible query writer: {self}; expected sizes of 1 or more, a learning rate above 0, and shares in 0..1"
            )


# Token ids (B, S), -1 where nothing may be copied; the encoder's states (B, S, width); which of them are text (B, S).
Read = tuple[Tensor, Tensor, Tensor]


def sources(document: Document) -> list[str]:
    """What the writer may be asked to read of a document: each sentence behind the title."""
    title = " ".join(document.title.split())
    return [f"{title}. {sentence}" if title else sentence for sentence in sentences(document.text)] or [title]


def source_of(document: Document, question: str) -> str:
    """The source that shares most terms with a question, for its length; the first of equals."""
    wanted = set(terms(question)) - ENGLISH_STOPWORDS

    def likeness(source: str) -> float:
        found = set(terms(source))
        return float(len(found & wanted) / (len(found) + 10) ** 0.5)

    return max(sources(document), key=likeness)


class QueryWriter(nn.Module):
    """A trained query generator (`genir.query_generation.QueryGenerator`); made by `genir.query_writer_training`, or by `load`."""

    def __init__(self, config: QueryWriterConfig, vocabulary: Sequence[int]) -> None:
        """`vocabulary`: the ids of the V - 1 tokens behind END."""
        super().__init__()
        self.config = config
        self.tokenizer, encoder = load_encoder(config.encoder)
        self._encoder = [encoder.eval().requires_grad_(False)]  # in a list: its weights are no part of this module's
        words: Tensor = encoder.get_input_embeddings().weight
        width, D = words.shape[1], config.hidden_size
        self.vocabulary = torch.tensor([-1, *vocabulary])
        self.place = torch.full((len(words),), -1)  # token id -> its place among the V
        self.place[self.vocabulary[1:]] = torch.arange(1, len(self.vocabulary))
        self.start = nn.Parameter(torch.zeros(width))
        self.begin = nn.Linear(width, D)
        self.gru = nn.GRU(width, D, batch_first=True)
        self.query, self.key = nn.Linear(D, D), nn.Linear(width, D)
        self.mix = nn.Linear(D + 2 * width, width)
        self.out = nn.Linear(width, len(self.vocabulary))
        self.gate = nn.Linear(width, 1)
        self.dropout = nn.Dropout(config.dropout)
        with torch.no_grad():  # words that are alike are written alike
            self.out.weight[1:] = words[self.vocabulary[1:]]

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.start.device

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Read:
        """What the encoder says of texts."""
        encoder = self._encoder[0].to(self.device)
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.config.max_sentence_tokens,
            return_tensors="pt",
            return_special_tokens_mask=True,
        )
        special = batch.pop("special_tokens_mask").bool().to(self.device)
        batch = {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask")}
        with autocast(self.device):
            states = encoder(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].bool()
        return batch["input_ids"].masked_fill(special | ~mask, -1), states, mask

    def embed(self, tokens: Tensor) -> Tensor:
        """Shape (B, T) -> (B, T, width), by the encoder's own embeddings; -1 is the start."""
        words = self._encoder[0].get_input_embeddings().weight
        return torch.where(tokens[..., None] >= 0, words[tokens.clamp(min=0)], self.start)

    # --- writing ------------------------------------------------------------------------------------------------------

    def step(
        self, previous: Tensor, hidden: Tensor, ids: Tensor, states: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What comes behind tokens `previous` (B, T): probabilities (B, T, V) of writing, (B, T, S) of copying; the GRU's state.

        Together they sum to 1 in each place.
        """
        read = self.embed(previous)
        output, hidden = self.gru(self.dropout(read), hidden)
        attention = self.query(output) @ self.key(states).transpose(1, 2) / self.config.hidden_size**0.5
        read_from = attention.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ states
        mixed = torch.tanh(self.mix(self.dropout(torch.cat([output, read_from, read], -1))))
        copyable = (ids >= 0)[:, None]
        write = torch.sigmoid(self.gate(mixed)).where(copyable.any(-1, keepdim=True), 1.0)
        copied = attention.masked_fill(~copyable, -1e4).softmax(-1) * copyable
        return write * self.out(self.dropout(mixed)).softmax(-1), (1 - write) * copied, hidden

    def first_state(self, states: Tensor, mask: Tensor) -> Tensor:
        """Shape (1, B, D): the GRU's state in front of the question."""
        weights = mask[..., None].float()
        return torch.tanh(self.begin((states * weights).sum(1) / weights.sum(1).clamp(min=1)))[None]

    def losses(self, read: Read, questions: Sequence[Sequence[int]]) -> Tensor:
        """Shape (all tokens of the questions and their ends,): negative log-likelihoods behind what was read."""
        ids, states, mask = read
        T = max(map(len, questions)) + 1
        wanted = torch.full((len(questions), T), -1)
        for i, question in enumerate(questions):
            wanted[i, : len(question)] = torch.tensor(question)
        wanted = wanted.to(self.device)
        lengths = torch.tensor([len(question) for question in questions], device=self.device)[:, None]
        steps = torch.arange(T, device=self.device)
        place = self.place.to(self.device)[wanted.clamp(min=0)].where(steps < lengths, END)
        previous = F.pad(wanted[:, :-1], (1, 0), value=-1)
        write, copied, _ = self.step(previous, self.first_state(states, mask), ids, states, mask)
        likely = write.gather(2, place.clamp(min=0)[..., None])[..., 0] * (place >= 0)
        likely = likely + (copied * ((ids[:, None] == wanted[..., None]) & (wanted >= 0)[..., None])).sum(-1)
        return -(likely[steps <= lengths] + _TINY).log()

    @torch.inference_mode()
    def ask(self, texts: Sequence[str], sampling: Sampling, generator: torch.Generator) -> list[str]:
        """A sampled question for each text; no token stands twice in a row."""
        self.eval()
        ids, states, mask = self.read(texts)
        hidden = self.first_state(states, mask)
        previous = torch.full((len(texts), 1), -1, device=self.device)
        written: list[Tensor] = []
        ended = torch.zeros(len(texts), dtype=torch.bool, device=self.device)
        places = self.vocabulary.to(self.device)
        for _ in range(self.config.max_query_tokens):
            write, copied, hidden = self.step(previous, hidden, ids, states, mask)
            chances = torch.zeros(len(texts), len(self.place) + 1, device=self.device)  # the last column is END
            chances[:, places] = write[:, 0]
            chances.scatter_add_(1, ids.clamp(min=0), copied[:, 0] * (ids >= 0))
            if written:
                chances.scatter_(1, previous % chances.shape[1], 0.0)
            best = chances.topk(min(sampling.top_k, chances.shape[1]), dim=1)
            weights = (best.values + _TINY) ** (1 / sampling.temperature)
            drawn = torch.multinomial(weights.cpu(), 1, generator=generator).to(self.device)
            previous = best.indices.gather(1, drawn)
            ended = ended | (previous[:, 0] == len(self.place))
            written.append(previous[:, 0].where(~ended, -1))
            if ended.all():
                break
            previous = previous.where(~ended[:, None], -1)
        rows = torch.stack(written, 1).tolist()
        texts_out: list[str] = self.tokenizer.batch_decode([[t for t in row if t >= 0] for row in rows])
        return texts_out

    def generate(self, documents: Sequence[Document], sampling: Sampling) -> list[PseudoQuery]:
        """See QueryGenerator: about the sentences of a document in random order, over and over."""
        generator = torch.Generator().manual_seed(sampling.seed)
        asked: list[tuple[int, str]] = []
        for number, document in enumerate(documents):
            rng = random.Random(f"{sampling.seed}\0{document.doc_id}")
            read = [text for text in sources(document) if terms(text)]
            order = rng.sample(read, len(read))
            asked += [(number, order[i % len(order)]) for i in range(sampling.per_document if order else 0)]
        by_length = sorted(range(len(asked)), key=lambda i: len(asked[i][1]))  # little padding
        questions = [""] * len(asked)
        size = 2 * self.config.batch_size
        for start in tqdm(range(0, len(by_length), size), desc="queries", delay=2, leave=False):
            part = by_length[start : start + size]
            for i, question in zip(part, self.ask([asked[i][1] for i in part], sampling, generator), strict=True):
                questions[i] = question
        texts: list[list[str]] = [[] for _ in documents]
        for (number, _), question in zip(asked, questions, strict=True):
            texts[number].append(question)
        return [query for document, own in zip(documents, texts, strict=True) for query in distinct(document, own)]

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write writer.json (settings, vocabulary, the encoder's fingerprint) and writer.safetensors."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / WEIGHTS, lambda temporary: save_file(weights, temporary))
        about = {"fingerprint": encoder_fingerprint(self.config.encoder), "vocabulary": self.vocabulary[1:].tolist()}
        write_json(folder / CONFIG, {"query_writer": asdict(self.config), **about})

    @classmethod
    def load(cls, folder: Path) -> "QueryWriter":
        """What `save` wrote. Raises ArtefactError where it is none, or its encoder has changed since."""
        try:
            saved: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            config = from_mapping(QueryWriterConfig, saved["query_writer"], str(folder / CONFIG))
            writer = cls(config, saved["vocabulary"])
            writer.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{folder}: no trained query writer: {reason}; train one again") from None
        if saved["fingerprint"] != encoder_fingerprint(config.encoder):
            raise ArtefactError(
                f"{folder}: made with another encoder under the name {config.encoder!r}; train it again"
            )
        return writer.eval()
