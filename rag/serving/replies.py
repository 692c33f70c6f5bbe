"""The replies in OpenAI's form: whole ones, events of a stream, log-probabilities, errors. Plain dicts, no engine, no network."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.llama.text import TextStream
from rag.serving.loop import Update


@dataclass(eq=False)
class ApiError(Exception):
    """An HTTP status and what the client is told, in OpenAI's error form."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON of the error."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass
class TokenTexts:
    """What each token adds to the text, and where; a character counts for the token that completes it.

    Joined, the pieces are the text; a stop string, which is cut from that, is still among them.
    """

    stream: TextStream

    def add(self, token: int) -> tuple[str, int]:
        """(text that this token adds, characters in front of it)."""
        place = len(self.stream.certain)
        self.stream.feed([token])
        return self.stream.certain[place:], place

    def rest(self) -> str:
        """What the last token adds once none follows: half a character shows as U+FFFD."""
        place = len(self.stream.certain)
        return self.stream.finish()[place:]


@dataclass
class Choice:
    """One completion on its way: its updates, joined."""

    index: int
    texts: TokenTexts
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    pieces: list[tuple[str, int]] = field(default_factory=list)  # of each token: text, offset; filled on demand
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""

    def add(self, update: Update, with_pieces: bool) -> None:
        """Take on what is new."""
        self.text += update.text
        self.tokens += update.tokens
        self.logprobs += update.logprobs
        self.finish_reason = update.finish_reason
        if with_pieces:
            self.pieces += [self.texts.add(token) for token in update.tokens]
            if update.finish_reason and self.pieces:
                text, place = self.pieces[-1]
                self.pieces[-1] = text + self.texts.rest(), place


@dataclass(frozen=True)
class ReplyForm:
    """How replies to one request look: `chat` or completion, with or without log-probabilities and token ids."""

    chat: bool
    model: str
    logprobs: bool
    token_ids: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], usage: Mapping[str, int]) -> dict[str, Any]:
        """The reply to a request that asked for no stream."""
        return self._frame("chat.completion" if self.chat else "text_completion") | {
            "choices": [self._whole(choice) for choice in choices],
            "usage": dict(usage),
        }

    def opening(self, choice: Choice) -> dict[str, Any]:
        """The first event of a chat's choice, which names the speaker."""
        return self._event(self._chunk(choice.index, {"delta": {"role": "assistant", "content": ""}}, None, None))

    def piece(self, choice: Choice, update: Update) -> dict[str, Any]:
        """An event with what `update`, already added to `choice`, brought."""
        new = slice(len(choice.tokens) - len(update.tokens), None)
        logprobs = self._logprobs(choice.pieces[new], choice.logprobs[new])
        content: dict[str, Any]
        if not self.chat:
            content = {"text": update.text}
        else:  # the closing event of a chat has an empty delta
            content = {"delta": {"content": update.text} if update.text or not update.finish_reason else {}}
        chunk = self._chunk(choice.index, content, logprobs, update.finish_reason or None)
        return self._event(chunk | ({"token_ids": list(update.tokens)} if self.token_ids else {}))

    def usage(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """The last event of a stream whose client asked for its usage."""
        return self._frame(self._kind_of_event) | {"choices": [], "usage": dict(usage)}

    @property
    def _kind_of_event(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _frame(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}

    def _event(self, choice: dict[str, Any]) -> dict[str, Any]:
        return self._frame(self._kind_of_event) | {"choices": [choice]}

    def _chunk(self, index: int, content: dict[str, Any], logprobs: object, finish: str | None) -> dict[str, Any]:
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": finish}

    def _whole(self, choice: Choice) -> dict[str, Any]:
        content = (
            {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
            if self.chat
            else {"text": choice.text}
        )
        logprobs = self._logprobs(choice.pieces, choice.logprobs)
        whole = self._chunk(choice.index, content, logprobs, choice.finish_reason)
        return whole | ({"token_ids": choice.tokens} if self.token_ids else {})

    def _logprobs(self, pieces: Sequence[tuple[str, int]], logprobs: Sequence[float]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if not self.chat:
            return {
                "tokens": [text for text, _ in pieces],
                "token_logprobs": list(logprobs),
                "top_logprobs": None,
                "text_offset": [offset for _, offset in pieces],
            }
        content = [
            {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
            for (text, _), logprob in zip(pieces, logprobs, strict=True)
        ]
        return {"content": content, "refusal": None}


def model_card(name: str) -> dict[str, Any]:
    """What the client is told about a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "genir"}


def usage_of(prompt_tokens: int, choices: Sequence[Choice]) -> dict[str, int]:
    """How many tokens were read and written."""
    written = sum(len(choice.tokens) for choice in choices)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": written, "total_tokens": prompt_tokens + written}
