"""A prompt as a model that was taught to chat expects it: as its user's turn, in the tokenizer's own template."""

from typing import Any

from genir.errors import ArtefactError


def user_turn(tokenizer: Any, prompt: str) -> str | None:
    """The prompt in the chat template of a Hugging Face tokenizer, special tokens written out; None where it has no template.

    Raises ArtefactError where the template refuses it.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": prompt}]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ArtefactError(
            f"the model's chat template refuses a single question ({error}); give a model with another template, or without one"
        ) from None
    return text
