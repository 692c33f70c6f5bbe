"""Query likelihood: a document is as good as it makes the question likely, p(question | document).

Ponte & Croft 1998 rank by a language model of each document; here one language model reads the document in a prompt and is asked
how likely the question is behind it, as UPR does (Sachan et al. 2022, arXiv:2204.07496, equation 4), with its prompt:

    s(q, d) = 1/|q| * sum over t of log p(q_t | q_<t, prompt with d)

`QueryLikelihood` takes any causal or encoder-decoder model of Hugging Face, untrained for this; `WriterLikelihood` our own
`genir.query_writer`, which was trained on questions and their documents. Both are `retrievers.rerank.PairScorer`s.

Invariants: rows are padded on the right whatever the tokenizer would do, and no pad has a score or is looked at, so that a pair
scores in a batch as it does alone. An encoder-decoder's question ends as its tokenizer ends texts, a causal model's does not end.
Known gaps: a document is cut at `max_document_tokens`; our own writer reads one sentence of it, that which shares most terms with
the question. A causal network without `logits_to_keep` computes logits of the prompt, too.

Shape letters: B pairs, T tokens of prompt (and question), L tokens of the question, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genir.devices import Precision, autocast, pick_device
from genir.errors import ConfigError
from genir.models.pretrained import load_fast_tokenizer, loading
from genir.query_writer import QueryWriter, source_of
from retrievers.rerank import Pair

PLACE_OF_DOCUMENT = "{document}"
PROMPT = "Passage: {document}. Please write a question based on this passage."  # UPR's
_IGNORED = -100


class QueryLikelihood:
    """See the module; the model, by hub name or folder, is loaded at the first pair. `prompt` holds the document."""

    name = "likelihood"

    def __init__(
        self,
        source: str,
        prompt: str = PROMPT,
        max_document_tokens: int = 256,
        batch_size: int = 16,
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        """Raises ConfigError for a prompt without its place for the document."""
        if prompt.count(PLACE_OF_DOCUMENT) != 1:
            raise ConfigError(f"likelihood prompt is {prompt!r}: expected {PLACE_OF_DOCUMENT} in it, once")
        self.source, self.prompt = source, prompt
        self.max_document_tokens, self.batch_size = max_document_tokens, batch_size
        self.precision: Precision = precision
        self.device = device
        self._loaded: tuple[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        """See PairScorer."""
        return sum(parameter.nbytes for parameter in self.load()[1].parameters())

    def load(self) -> tuple[Any, Any]:
        """(tokenizer, network), loaded once. Raises ArtefactError where there is no language model."""
        if self._loaded is None:
            from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

            with loading(f"likelihood {self.source!r}", "no language model"):
                both = AutoConfig.from_pretrained(self.source).is_encoder_decoder
                tokenizer = load_fast_tokenizer(self.source)
                network = (AutoModelForSeq2SeqLM if both else AutoModelForCausalLM).from_pretrained(self.source)
            self._loaded = tokenizer, network.to(pick_device(self.device)).eval()
        return self._loaded

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See PairScorer: mean log-probabilities, 0 at most. Raises ConfigError where the network is too short for a prompt."""
        _, network = self.load()
        loss_of = self._encoder_decoder if network.config.is_encoder_decoder else self._causal
        rows = self.rows(pairs)
        scores = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: len(rows[i][0]))  # little padding
        for start in tqdm(range(0, len(order), self.batch_size), desc=self.name, delay=2, leave=False):
            part = order[start : start + self.batch_size]
            with autocast(network.device, self.precision):
                found = loss_of(network, [rows[i] for i in part])
            for i, value in zip(part, found.tolist(), strict=True):
                scores[i] = value
        return scores

    def rows(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        """(tokens of the prompt, tokens of the question) of each pair, the document cut so that both fit."""
        tokenizer, network = self.load()
        separate = network.config.is_encoder_decoder
        head, tail = self.prompt.split(PLACE_OF_DOCUMENT)
        asked = dict.fromkeys(question for question, _ in pairs)
        questions = {one: self._question(one, separate) for one in asked}
        frame = len(tokenizer(head + tail, verbose=False)["input_ids"])
        positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        rows = []
        for question, document in pairs:
            limit = self.max_document_tokens
            if positions is not None and not separate:
                limit = min(limit, positions - frame - len(questions[question]) - 2)  # 2: tokens at its seams
            if limit < 1:
                raise ConfigError(
                    f"likelihood {self.source!r}: has {positions} positions, too few for a question of {len(questions[question])} "
                    "tokens and a document; take another model"
                )
            text = document.title_and_text
            spans = tokenizer(
                text, add_special_tokens=False, truncation=True, max_length=limit, return_offsets_mapping=True
            )["offset_mapping"]
            prompt = head + text[: spans[-1][1] if spans else 0] + tail
            rows.append((list(tokenizer(prompt, verbose=False)["input_ids"]), questions[question]))
        return rows

    def _question(self, text: str, separate: bool) -> list[int]:
        """Token ids: as a text of its own, with its end; or as what follows a prompt."""
        tokenizer, _ = self.load()
        found = list(
            tokenizer(text if separate else f" {text}", add_special_tokens=separate, verbose=False)["input_ids"]
        )
        return found or [int(tokenizer.unk_token_id or 0)]

    def _encoder_decoder(self, network: Any, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """Mean log-probabilities (B,) of questions that the decoder writes."""
        input_ids, mask = _padded([prompt for prompt, _ in rows], 0, network.device)
        labels, _ = _padded([question for _, question in rows], _IGNORED, network.device)
        logits = network(input_ids=input_ids, attention_mask=mask, labels=labels).logits
        return _mean_log_likelihood(logits, labels)

    def _causal(self, network: Any, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """Mean log-probabilities (B,) of questions that stand behind their prompts."""
        whole, mask = _padded([prompt + question for prompt, question in rows], 0, network.device)
        labels, _ = _padded(
            [[_IGNORED] * len(prompt) + question for prompt, question in rows], _IGNORED, network.device
        )
        first = min(len(prompt) for prompt, _ in rows) - 1  # the state there writes the first token of any question
        wanted = torch.arange(first, whole.shape[1] - 1, device=whole.device)
        options = {"logits_to_keep": wanted} if _keeps_logits(network) else {}
        logits = network(input_ids=whole, attention_mask=mask, use_cache=False, **options).logits
        return _mean_log_likelihood(logits if options else logits[:, wanted], labels[:, first + 1 :])


class WriterLikelihood:
    """p(question | the best sentence of the document) by a trained `QueryWriter`; its end of the question counts as a token."""

    name = "writer"

    def __init__(self, writer: QueryWriter, batch_size: int = 64) -> None:
        self.writer, self.batch_size = writer, batch_size

    @property
    def nbytes(self) -> int:
        """See PairScorer; the frozen encoder that it reads with included."""
        encoder: Any = self.writer._encoder[0]
        return sum(parameter.nbytes for part in (self.writer, encoder) for parameter in part.parameters())

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """See PairScorer: mean log-probabilities a token, 0 at most."""
        writer = self.writer.eval()
        most = writer.config.max_query_tokens - 1
        texts = list(dict.fromkeys(question for question, _ in pairs))
        read = writer.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        questions = {text: list(row[:most]) for text, row in zip(texts, read, strict=True)}
        sources = [source_of(document, question) for question, document in pairs]
        scores = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda i: len(sources[i]))  # little padding
        for start in tqdm(range(0, len(order), self.batch_size), desc=self.name, delay=2, leave=False):
            part = order[start : start + self.batch_size]
            asked = [questions[pairs[i][0]] for i in part]
            losses = torch.split(
                writer.losses(writer.read([sources[i] for i in part]), asked), [len(row) + 1 for row in asked]
            )
            for i, loss in zip(part, losses, strict=True):
                scores[i] = -float(loss.mean())
        return scores


def _padded(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows filled up on the right, and a mask of what is theirs, each (B, T)."""
    T = max(map(len, rows))
    tokens = torch.full((len(rows), T), fill)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
    mask = torch.arange(T) < torch.tensor([len(row) for row in rows])[:, None]
    return tokens.to(device), mask.long().to(device)


def _mean_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Shape (B,): means over labels (B, L) that are none of _IGNORED, of logits (B, L, V)."""
    kept = labels != _IGNORED
    chosen = logits.float().log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    return (chosen * kept).sum(1) / kept.sum(1)


def _keeps_logits(network: Any) -> bool:
    return "logits_to_keep" in inspect.signature(network.forward).parameters
