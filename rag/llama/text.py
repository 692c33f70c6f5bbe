"""Tokens to text as they come, and stop strings.

A token alone is not text: SentencePiece drops a first space, and a character may be spread over several tokens. So a few tokens before
the new ones are decoded again with them, and only the difference counts; half a character is held back. The pieces together are
what decoding all tokens at once gives (where a tokenizer's text of a beginning is a beginning of its text).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from genir.errors import ArtefactError
from rag.llama.config import LlamaConfig

_HALF = "\ufffd"  # what a tokenizer writes for bytes that are no character yet


class Tokenizer(Protocol):
    """What the engine asks of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens added the way the tokenizer does it."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        ...


class FolderTokenizer:
    """The Hugging Face tokenizer of a model folder. `hugging_face` is the tokenizer itself (chat templates)."""

    def __init__(self, hugging_face: Any) -> None:
        self.hugging_face = hugging_face
        self._fast = hugging_face.backend_tokenizer

    @classmethod
    def load(cls, folder: Path, config: LlamaConfig) -> "FolderTokenizer":
        """Raises ArtefactError where there is none, or where it writes ids that the model does not have."""
        from transformers import AutoTokenizer

        if not (folder / "tokenizer.json").is_file():
            raise ArtefactError(f"{folder}: has no tokenizer.json; give a folder with its fast tokenizer")
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except Exception as error:  # tokenizers raises bare Exception for a broken file
            raise ArtefactError(f"{folder}: the tokenizer cannot be loaded ({str(error).splitlines()[0]})") from None
        tokenizer.backend_tokenizer.no_truncation()  # saved settings of its training; Hugging Face's calls ignore them, too
        tokenizer.backend_tokenizer.no_padding()
        highest = max(tokenizer.get_vocab().values(), default=-1)
        if highest >= config.vocab_size:
            raise ArtefactError(
                f"{folder}: the tokenizer writes ids up to {highest}, the model knows {config.vocab_size} tokens; "
                "they belong to different models"
            )
        return cls(tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids with the special tokens of the tokenizer's template."""
        ids: list[int] = self._fast.encode(text).ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        text: str = self._fast.decode(list(tokens), skip_special_tokens=True)
        return text


class TextStream:
    """The text of one continuation: `feed` it tokens, read `certain` text; `stopped` once a stop string was met and cut off."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._held = max((len(stop) for stop in self._stops), default=1) - 1
        self._tokens: list[int] = []
        self._from, self._to = 0, 0  # the tokens decoded again, and the first token whose text is not in `_text` yet
        self._text = ""
        self.certain = ""
        self.stopped = False

    @property
    def fed(self) -> int:
        """How many tokens it has taken in."""
        return len(self._tokens)

    def feed(self, tokens: Sequence[int]) -> None:
        """Take in further tokens."""
        if self.stopped or not tokens:
            return
        self._tokens += tokens
        before = self._tokenizer.decode(self._tokens[self._from : self._to])
        after = self._tokenizer.decode(self._tokens[self._from :])
        if len(after) > len(before) and not after.endswith(_HALF):
            self._text += after[len(before) :]
            self._from, self._to = self._to, len(self._tokens)
        self._look_for_stops()
        if not self.stopped:
            self.certain = self._text[: max(len(self.certain), len(self._text) - self._held)]

    def finish(self) -> str:
        """The whole text, now that no token follows: nothing is held back any more."""
        if not self.stopped:
            whole = self._tokenizer.decode(self._tokens)
            self._text = whole if whole.startswith(self.certain) else self._text
            self._look_for_stops()
        self.certain = self._text
        return self._text

    def _look_for_stops(self) -> None:
        start = max(0, len(self.certain) - self._held)
        places = [at for at in (self._text.find(stop, start) for stop in self._stops) if at >= 0]
        if places:
            self._text, self.stopped = self._text[: min(places)], True
            self.certain = self._text
