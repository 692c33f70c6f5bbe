"""A chat as the prompt that the model was taught: the tokenizer's own template, or a plain one for models without.

The plain template is for models that were never taught to chat: the system's text, then a line a turn ("User: ...", "Assistant: ..."),
then "Assistant:". Such a model goes on with the user's next line, so "\\nUser:" ends the answer there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.serving.requests import Message

if TYPE_CHECKING:
    from rag.llama.text import FolderTokenizer

PLAIN_STOP = ("\nUser:",)
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def chat_prompt(tokenizer: "FolderTokenizer", messages: Sequence[Message]) -> tuple[list[int], tuple[str, ...]]:
    """(prompt tokens, stop strings beside the request's own).

    Raises ValueError in the template's own words where it refuses the chat (roles out of turn, say).
    """
    taught = tokenizer.hugging_face
    if not taught.chat_template:
        return tokenizer.encode(plain_chat(messages)), PLAIN_STOP
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": message.text} for message in messages]
    try:
        text = taught.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from None
    prompt: list[int] = taught(text, add_special_tokens=False)[
        "input_ids"
    ]  # the template writes the special tokens itself
    return prompt, ()


def plain_chat(messages: Sequence[Message]) -> str:
    """The plain template's prompt."""
    blocks = [message.text for message in messages if message.role not in _SPEAKERS]
    turns = [f"{_SPEAKERS[message.role]}: {message.text}" for message in messages if message.role in _SPEAKERS]
    lines = "\n".join([*turns, "Assistant:"])
    return "\n\n".join([*blocks, lines])
