"""A prompt as a model reads it: as text, or, where it was taught to chat, as its user's turn in the tokenizer's own template.

Invariant: what stands in a prompt or a message is text. Questions and passages are anybody's, so a marker spelled out in them
(`</s>`, `<|im_end|>`, `[/INST]`) is broken by a space, `< /s>`; only the tokenizer and its template write markers. Text without one is
read as ever. Broken are the tokenizer's special tokens and, in a chat, whatever its template writes as one: its added tokens, and words
in brackets.

Known gaps: a marker that only the tokenizer's normalizer makes of other characters (full-width ones, say) is not seen; nor is one that a
template writes as plain words ("User:").
"""

import re
from functools import lru_cache
from typing import Any

from genir.errors import ArtefactError

_BRACKETED = re.compile(r"<\|[\w/ .-]+\|>|<</?\w+>>|</?[A-Za-z]\w*>|\[/?[A-Z][A-Z_]+\]")


def as_text(tokenizer: Any, text: str, chat: bool = False) -> str:
    """`text` with every marker of a Hugging Face tokenizer broken by a space, whatever its case; with `chat`, its template's, too."""
    template = str(getattr(tokenizer, "chat_template", None) or "") if chat else ""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    markers = {token.content for token in added if token.special or token.content in template}
    pattern = _any_of(frozenset(markers), template)
    while (broken := pattern.sub(_broken, text)) != text:  # a break may leave the overlapping next one whole
        text = broken
    return text


def worded(tokenizer: Any, prompt: str, chat: bool) -> tuple[str, bool]:
    """The prompt as the model is to read it, and whether the tokenizer is to add its special tokens: a template writes them itself."""
    turn = user_turn(tokenizer, prompt) if chat else None
    return (as_text(tokenizer, prompt), True) if turn is None else (turn, False)


def user_turn(tokenizer: Any, prompt: str) -> str | None:
    """The prompt in the chat template of a Hugging Face tokenizer, special tokens written out; None where it has no template.

    Raises ArtefactError where the template refuses it.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": as_text(tokenizer, prompt, chat=True)}]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ArtefactError(
            f"the model's chat template refuses a single question ({error}); give a model with another template, or without one"
        ) from None
    return text


@lru_cache(maxsize=64)
def _any_of(markers: frozenset[str], template: str) -> re.Pattern[str]:
    """Finds the markers, and the bracketed words of a template; the longest first, none of a single character."""
    every = markers.union(_BRACKETED.findall(template))
    found = sorted((re.escape(one) for one in every if len(one.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(found) or r"(?!)", re.IGNORECASE)


def _broken(match: re.Match[str]) -> str:
    """A marker with a space behind its first character."""
    marker = match[0]
    at = len(marker) - len(marker.lstrip()) + 1
    return f"{marker[:at]} {marker[at:]}"
