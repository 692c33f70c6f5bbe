"""What an answer of the joint model may be: a run of whole words of the passage, or that it is not known.

`rag.copying` says which runs; here the words of ignorance are one more of them, and a run's place in the text is found again, so that an
answer is spelt as the passage spells it (tokenizers drop capitals and spaces) and cites its characters.

Invariants: at least one token is legal at any time; a finished answer is a run of the passage or the words of ignorance, whole. What both
begin with ("I", and for tokenizers of single bytes the space in front of every word) leaves both open.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rag.copying import CopyConstraint


class CopyLimit:
    """Which tokens may follow what has been written of an answer to one question."""

    def __init__(self, text: str, question: str, tokenizer: Any, end: int, unknown: Sequence[int]) -> None:
        self.text, self.end, self.unknown = text, end, list(unknown)
        self.copying = CopyConstraint(text, question, tokenizer)
        self.copying.end = end
        # The same text with the same space in front as CopyConstraint reads it.
        self.places = tokenizer(" " + text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]

    def __call__(self, written: Sequence[int]) -> set[int]:
        """The legal next tokens; at least one."""
        n = len(written)
        allowed: set[int] = set()
        if list(written) == self.unknown[:n]:
            allowed.add(self.unknown[n] if n < len(self.unknown) else self.end)
        if not n or next(self._copied(written), None) is not None:
            allowed |= self.copying(written)
        return allowed or {self.end}

    def place(self, written: Sequence[int]) -> tuple[int, int] | None:
        """Characters start..end of the text where a finished answer (its end token left out) stands first; None where nowhere."""
        n = len(written)
        for start in self._copied(written):
            if self.copying.closes[start + n - 1]:
                begin, end = max(self.places[start][0] - 1, 0), self.places[start + n - 1][1] - 1
                return begin + len(self.text[begin:end]) - len(self.text[begin:end].lstrip()), end
        return None

    def _copied(self, written: Sequence[int]) -> Iterator[int]:
        """Where the text goes on as was written; nothing stands nowhere."""
        n, tokens = len(written), self.copying.tokens
        return (start for start in self.copying.starts if n and tokens[start : start + n] == list(written))
