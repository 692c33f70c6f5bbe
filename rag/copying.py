"""Answers that are copied: at every step only tokens that keep the answer a run of whole words of the evidence.

The first word must not stand in the question, nor be an idle one ("the", "of"), unless there is no other: an answer seldom repeats what was
asked. Numbers such as 5,500 and initials such as H. G. are not cut.
"""

import re
from collections.abc import Sequence
from typing import Any

from genir.words import ENGLISH_STOPWORDS

_WORD = re.compile(r"\w+")
_INITIAL = re.compile(r"(?<!\w)[A-Z]\Z")


class CopyConstraint:
    """Which tokens may follow what has been written; for tokenizers that put a space in front of a word's first token."""

    def __init__(self, evidence: str, question: str, tokenizer: Any) -> None:
        encoded = tokenizer(" " + evidence, add_special_tokens=False, return_offsets_mapping=True)
        self.tokens: list[int] = encoded["input_ids"]
        self.end: int = tokenizer.eos_token_id
        asked = set(_WORD.findall(question.lower()))
        text = " " + evidence
        places = encoded["offset_mapping"]
        starts, begun = [], -1
        for index, (start, end) in enumerate(places):
            bare = start + (text[start:end].startswith(" "))
            whole = bare > start or not text[start - 1 : start].isalnum()
            # A letter of several bytes has several tokens of the same place: only the first one starts a word.
            if whole and start != begun and text[bare : bare + 1].isalnum():
                starts.append((index, _WORD.match(text, bare)))
            begun = start
        nexts = [*(start for start, _ in places[1:]), len(text)][: len(places)]  # none in a text without tokens
        self.closes = [after >= end and not _inside(text, end) for (_, end), after in zip(places, nexts, strict=True)]
        idle = asked | ENGLISH_STOPWORDS
        fresh = [index for index, word in starts if word and word[0].lower() not in idle]
        self.starts = fresh or [index for index, _ in starts] or list(range(len(self.tokens)))

    def __call__(self, written: Sequence[int]) -> set[int]:
        """The legal next tokens; the end only behind a whole word."""
        if not written:
            return {self.tokens[start] for start in self.starts}
        n = len(written)
        ends = [start + n for start in self.starts if self.tokens[start : start + n] == list(written)]
        allowed = {self.tokens[end] for end in ends if end < len(self.tokens)}
        if any(self.closes[end - 1] for end in ends) or not allowed:
            allowed.add(self.end)
        return allowed


def _inside(text: str, end: int) -> bool:
    """Whether a word, a number or a row of initials goes on behind position `end`."""
    after = text[end : end + 1]
    joined = after in (".", ",", "'", "’", "-") and text[end + 1 : end + 2].isalnum()
    return after.isalnum() or joined or (after == "." and _INITIAL.search(text, 0, end) is not None)
