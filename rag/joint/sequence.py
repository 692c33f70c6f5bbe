"""The one sequence of the joint model, in tokens: prompt, identifier, evidence, answer.

Text tokens keep their ids. Identifier tokens with a vocabulary of their own stand behind them (text vocabulary + token), so that a row of
ints says everything; identifiers made of text tokens are text tokens. Behind every identifier stands the model's end token, where it has
one. Invariant: a sequence that is learnt is token for token the one that is read and written later.

A passage cannot break out of its place: text that spells a special token ("[SEP]", "</s>") is split like any other. Known gap: in the
prompt's question it is not, since `CausalModel` tokenises that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genir.errors import ConfigError
from genir.models.causal import CausalModel
from genir.records import DocIDTokens, Document
from rag.joint.config import JointSettings
from rag.small_reader.data import told


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands between identifier and answer; `text` is the beginning of the passage's text that is among it."""

    ids: list[int]
    text: str


@dataclass(frozen=True, slots=True)
class JointSequence:
    """A whole row, and how many of its tokens are prompt, identifier, evidence and answer; a part may be empty.

    `learns_identifier` False: the identifier is read only, as of a passage that was forced upon the model.
    """

    ids: list[int]
    prompt: int
    identifier: int
    evidence: int = 0
    answer: int = 0
    learns_identifier: bool = True


class SequenceWriter:
    """Texts -> tokens of sequences, for one model and its settings."""

    def __init__(self, causal: CausalModel, settings: JointSettings) -> None:
        self.causal, self.settings = causal, settings
        self.tokenizer = causal.tokenizer
        self.text_vocabulary: int = causal.network.get_input_embeddings().num_embeddings
        ends = causal.network.config.get_text_config().eos_token_id
        end: int | None = ends[0] if isinstance(ends, list) else ends
        if end is None:
            raise ConfigError("the network has no end-of-sequence token: an answer could not end; give another network")
        self.end: int = end
        [separator, self.unknown] = self.plain([settings.separator, " " + settings.unknown])
        self.separator = separator or [self.end]

    def prompts(self, questions: Sequence[str]) -> list[list[int]]:
        """Token ids of each question in its prompt."""
        return self.causal.tokenize(questions)

    def identifier(self, tokens: DocIDTokens) -> list[int]:
        """An identifier as it stands in a sequence, its end token included."""
        end = self.causal.end_token
        whole = tokens if end is None else (*tokens, end)
        shift = 0 if self.causal.own_embedding is None else self.text_vocabulary
        return [token + shift for token in whole]

    def evidence(self, passages: Sequence[Document], questions: Sequence[str]) -> list[Evidence]:
        """Each passage, cut at `max_passage_tokens`, and its question again."""
        told_ones = [told(passage.title, passage.text) for passage in passages]
        shown = self._cut(list(dict.fromkeys(told_ones)))  # the same passage answers many a training question
        again: list[list[int]] = [[] for _ in questions]
        if self.settings.repeat_question:
            limit = self.causal.config.max_text_tokens
            again = [ids[:limit] + self.separator for ids in self.plain([" " + question for question in questions])]
        found = []
        for passage, whole, asked in zip(passages, told_ones, again, strict=True):
            ids, end = shown[whole]
            text = whole[len(whole) - len(passage.text) : end]
            found.append(Evidence([*ids, *self.separator, *asked], text))
        return found

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Answers, each with its end."""
        return [[*ids, self.end] for ids in self.plain([" " + text for text in texts])]

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (B, T, D) of sequences (B, T)."""
        own = ids >= self.text_vocabulary
        embeddings = self.causal.embed_text(ids.masked_fill(own, 0))
        if self.causal.own_embedding is None or not bool(own.any()):
            return embeddings
        identifiers = self.causal.embed_identifiers((ids - self.text_vocabulary).clamp(min=0))
        return torch.where(own[..., None], identifiers.to(embeddings.dtype), embeddings)

    def check_room(self, tokens: int) -> None:
        """Raise ConfigError where a sequence of so many tokens has no room in the network."""
        limit = self.causal.positions
        if limit is not None and tokens > limit:
            raise ConfigError(
                f"a sequence of question, identifier, passage and answer has {tokens} tokens, but the network has {limit} positions; "
                "lower max_passage_tokens, max_new_tokens or [causal] max_text_tokens"
            )

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without special tokens, not even where a text spells one."""
        return list(self._encode(texts)["input_ids"]) if texts else []

    def _cut(self, texts: Sequence[str]) -> dict[str, tuple[list[int], int]]:
        """Each text's first `max_passage_tokens` tokens, and the character behind them."""
        limit = self.settings.max_passage_tokens
        encoded = self._encode(texts, return_offsets_mapping=True)
        rows = zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return {text: (ids[:limit], max((end for _, end in places[:limit]), default=0)) for text, ids, places in rows}

    def _encode(self, texts: Sequence[str], **options: bool) -> Any:
        return self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False, **options
        )
