"""A chat as the prompt that the model was taught: the tokenizer's own template, or a plain one for models without.

The plain template is for models that were never taught to chat: the system's text, then a line a turn ("User: ...", "Assistant: ..."),
then "Assistant:". Such a model goes on with the user's next line, so "\\nUser:" ends the answer there.

What a message says is text: markers spelled out in it begin no turn (`rag.chat_template`). In the model's own turns only special tokens
are broken, because a template may look there for what the model writes itself (`</think>`). Known gap: the plain template's "User:" is
text too, so a message can pose as two there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.chat_template import as_text
from rag.serving.requests import Message

if TYPE_CHECKING:
    from rag.llama.text import FolderTokenizer


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """`special`: whether the tokenizer adds its special tokens, or the text has them already. `stop`: beside the request's own."""

    text: str
    special: bool = True
    stop: tuple[str, ...] = ()


PLAIN_STOP = ("\nUser:",)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def chat_prompt(tokenizer: "FolderTokenizer", messages: Sequence[Message]) -> ChatPrompt:
    """The prompt of a chat. Raises ValueError in the template's own words where it refuses the chat (roles out of turn, say)."""
    taught = tokenizer.hugging_face
    if not taught.chat_template:
        return ChatPrompt(as_text(taught, plain_chat(messages)), stop=PLAIN_STOP)
    from jinja2 import TemplateError

    turns = [
        {"role": message.role, "content": as_text(taught, message.text, chat=message.role != "assistant")}
        for message in messages
    ]
    try:
        text = taught.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from None
    return ChatPrompt(text, special=False)  # the template writes the special tokens itself


def plain_chat(messages: Sequence[Message]) -> str:
    """The plain template's prompt."""
    blocks = [message.text for message in messages if message.role not in _SPEAKERS]
    turns = [f"{_SPEAKERS[message.role]}: {message.text}" for message in messages if message.role in _SPEAKERS]
    lines = "\n".join([*turns, "Assistant:"])
    return "\n\n".join([*blocks, lines])
