"""Text to tokens, tokens to text as they come, and stop strings.

A token alone is not text: SentencePiece drops the first space of what it decodes, and a character may be spread over several tokens. So
a few tokens before the new ones, at first the prompt's last, are decoded again with them, and only the difference counts; half a
character is held back. The prompt's text and the pieces together are what decoding all tokens at once gives (where a tokenizer's text
of a beginning is a beginning of its text).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from genir.errors import ArtefactError, GenirError
from rag.llama.config import LlamaConfig

_HALF = "\ufffd"  # what a tokenizer writes for bytes that are no character yet
_BORDER = 8  # tokens of the prompt that its continuation is decoded with
_CHARACTERS = 16  # of a text that is longer than so many for each token of the context, a beginning is looked at first
_CUT = 64  # tokens that a text cut in the middle of a word may have more than with the word's end


class PromptTooLongError(GenirError):
    """A text that the context cannot hold by far."""


class Tokenizer(Protocol):
    """What the engine asks of a tokenizer."""

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids, special tokens added the way the tokenizer does it, where `special`."""
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

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids, with the special tokens of the tokenizer's template where `special`; other threads run on meanwhile."""
        [found] = self._fast.encode_batch([text], add_special_tokens=special)  # `encode` alone would keep Python's lock
        ids: list[int] = found.ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        text: str = self._fast.decode(list(tokens), skip_special_tokens=True)
        return text


def check_unicode(text: str, name: str) -> None:
    """Raise GenirError, naming the text, where it holds what no Unicode text can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"{text[error.start]!a} at character {error.start}"
        raise GenirError(f"{name} is not valid Unicode ({found}): give it in UTF-8") from None


def encode_prompt(tokenizer: Tokenizer, text: str, context: int, special: bool = True) -> list[int]:
    """Token ids of a prompt for a model of `context` tokens.

    Raises GenirError for a text that is not Unicode; PromptTooLongError where a beginning of it is longer than the context already, so
    that the rest need not be read.
    """
    check_unicode(text, "prompt")
    most = _CHARACTERS * context
    if len(text) > most and len(tokenizer.encode(text[:most], special)) > context + _CUT:
        raise PromptTooLongError(
            f"prompt of {len(text)} characters exceeds the context of {context} tokens: give fewer or shorter passages"
        )
    return tokenizer.encode(text, special)


Decode = Callable[[Sequence[int]], str]


def text_behind(decode: Decode, before: Sequence[int], tokens: Sequence[int]) -> str:
    """What `tokens` add to the text of the tokens in front of them."""
    known, whole = decode(before), decode([*before, *tokens])
    if not whole.startswith(known):
        known = known.rstrip(_HALF)  # half a character at the end has become a whole one
    return whole[len(known) :]


def border(decode: Decode, prompt: Sequence[int]) -> list[int]:
    """The last tokens of a prompt, to decode its continuation with: a few, more where these show nothing or begin in mid-character."""
    size = _BORDER
    while size < len(prompt):
        text = decode(prompt[-size:])
        if text and not text.startswith(_HALF):
            break
        size *= 2
    return list(prompt[-size:])


class TextStream:
    """The text of one continuation: `feed` it tokens, read `certain` text; `stopped` once a stop string was met and cut off.

    `prompt`: the tokens in front, on which the text of the first ones may depend.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._held = max((len(stop) for stop in self._stops), default=1) - 1
        self._tokens = border(tokenizer.decode, prompt)
        self._start = len(self._tokens)
        self._from, self._to = 0, self._start  # tokens decoded again, and the first whose text is not in `_text` yet
        self._text = ""
        self.certain = ""
        self.stopped = False

    @property
    def fed(self) -> int:
        """How many tokens it has taken in."""
        return len(self._tokens) - self._start

    def feed(self, tokens: Sequence[int]) -> None:
        """Take in further tokens."""
        if self.stopped or not tokens:
            return
        self._tokens += tokens
        known, unknown = self._tokens[self._from : self._to], self._tokens[self._to :]
        new = text_behind(self._tokenizer.decode, known, unknown)
        if new and not new.endswith(_HALF):
            self._text += new
            self._from, self._to = self._to, len(self._tokens)
        self._look_for_stops()
        if not self.stopped:
            self.certain = self._text[: max(len(self.certain), len(self._text) - self._held)]

    def finish(self) -> str:
        """The whole text, now that no token follows: nothing is held back any more."""
        if not self.stopped:
            whole = text_behind(self._tokenizer.decode, self._tokens[: self._start], self._tokens[self._start :])
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
