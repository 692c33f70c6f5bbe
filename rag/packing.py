"""Passages into a budget: best first, each whole while it fits; the first that does not is cut, and the rest are left out.

A cut falls behind a sentence where that keeps most of what fits, else behind a word; the best passage is never left out for being long.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence

from rag.sentences import split_sentences, words

Count = Callable[[str], int]  # length of a text in the budget's unit

_WORD_END = re.compile(
    r"\w(?!\w)|[^\x00-\u2e7f]"
)  # a letter with none behind it, or a character of a script without spaces


def count_words(text: str) -> int:
    """Words as `rag.sentences` counts them: a Chinese character is one."""
    return len(words(text))


def one_line(text: str) -> str:
    """`text` with every run of white space turned into one space."""
    return " ".join(text.split())


def cut(text: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning of `text` that fits and ends behind a word; behind a sentence where that keeps at least half as much.

    Empty where no word fits. `fits` must hold for every beginning of a text for which it holds.
    """
    if fits(text):
        return text
    by_word, by_sentence = (
        text[: _last(ends, text, fits)]
        for ends in ([match.end() for match in _WORD_END.finditer(text)], [end for _, end in split_sentences(text)])
    )
    return by_sentence if 2 * len(by_sentence) >= len(by_word) else by_word


def _last(ends: Sequence[int], text: str, fits: Callable[[str], bool]) -> int:
    """The last of the ascending `ends` at which the text fits; 0 where it fits at none."""
    kept = bisect_right(ends, 0, key=lambda end: int(not fits(text[:end])))
    return ends[kept - 1] if kept else 0


def pack(texts: Sequence[str], room: int, count: Count, line: Callable[[int, str], str]) -> list[str]:
    """Lines of the first texts that fit `room` together, a line break each; `line(number, text)` makes one, numbers from 1."""
    lines: list[str] = []
    for number, text in enumerate(texts, 1):

        def fits(beginning: str, number: int = number, left: int = room) -> bool:
            return count(line(number, beginning) + "\n") <= left

        kept = cut(text, fits)
        if kept or fits(text):  # a document without text takes its number's room alone
            lines.append(line(number, kept))
            room -= count(lines[-1] + "\n")
        if kept != text:
            break
    return lines
