"""What a client may ask for: the bodies of `/v1/completions` and `/v1/chat/completions`, checked.

OpenAI's names and defaults (temperature 1), with vLLM's extensions `top_k`, `repetition_penalty`, `ignore_eos` and `return_token_ids`. A
null means the default. What is known to OpenAI but not to us is refused unless it has its neutral value, and what nobody knows is
refused too: nothing is silently skipped but a client's own book-keeping (`user`, `metadata`, ...), which changes no text.

Imported by the server only, because pydantic comes with FastAPI.
"""

import secrets
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from genir.errors import GenirError
from rag.llama.text import check_unicode

_BOOK_KEEPING = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
)
_NEUTRAL: dict[str, Any] = {
    **{"frequency_penalty": 0, "presence_penalty": 0, "best_of": 1, "echo": False, "suffix": "", "logit_bias": {}},
    **{"tools": [], "tool_choice": "none", "functions": []},
    **{"response_format": {"type": "text"}, "modalities": ["text"]},
}


def _unicode(text: str) -> str:
    try:
        check_unicode(text, "this text")
    except GenirError as error:
        raise ValueError(str(error)) from None
    return text


def _several(given: Any) -> Any:
    """One stop string as a list of one."""
    return [given] if isinstance(given, str) else given


def _parts(given: Any) -> Any:
    """A message's plain text as its only part."""
    return [{"type": "text", "text": given}] if isinstance(given, str) else given


def _prompts(given: Any) -> list[str | list[int]]:
    """One entry a prompt: text, or token ids."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if _are_tokens(given):
            return [given]
        if all(isinstance(one, str) for one in given):
            return given
        if all(isinstance(one, list) and _are_tokens(one) for one in given):
            return given
    raise ValueError("expected a text, a list of texts, a list of token ids, or a list of such lists")


def _are_tokens(given: list[Any]) -> bool:
    """JSON's true and false are no token ids, though Python counts them among its integers."""
    return all(isinstance(token, int) and not isinstance(token, bool) for token in given)


Text = Annotated[str, AfterValidator(_unicode)]


class StreamOptions(BaseModel):
    """`include_usage`: one more event at the end of the stream, which counts the tokens."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class _Body(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="forbid")
    model: str = ""
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    n: int = Field(1, ge=1, le=128)
    seed: int = Field(default_factory=lambda: secrets.randbits(31))
    stop: Annotated[list[Text], BeforeValidator(_several)] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions)
    ignore_eos: bool = False
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _known_or_neutral(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError("expected a JSON object")
        kept = {key: value for key, value in body.items() if value is not None and key not in _BOOK_KEEPING}
        for key in _NEUTRAL.keys() & kept.keys():
            value = kept.pop(key)
            if value != _NEUTRAL[key]:
                raise ValueError(f"{key} = {value!r} is not supported here; leave it out")
        return kept


class CompletionBody(_Body):
    """`/v1/completions`: one prompt or several, as text or as token ids."""

    prompt: Annotated[list[str | list[int]], PlainValidator(_prompts)]
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=5)


class TextPart(BaseModel):
    """A part of a message's content; text is the only kind."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], BeforeValidator(_parts)]

    @property
    def text(self) -> str:
        """The content, its parts joined."""
        return "".join(part.text for part in self.content)


class ChatBody(_Body):
    """`/v1/chat/completions`. Without a length the answer may fill the context."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
