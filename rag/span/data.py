"""Questions with passages -> windows that an encoder reads, and where in them an accepted answer stands.

A window is one sequence of tokens, [CLS] question [SEP] heading: passage [SEP]; a passage that does not fit is read in several windows
that overlap by `stride` tokens. Of every token of the passage a window knows the characters it stands for, and whether a word begins or
ends with it, so that spans are whole words with exact places.

Invariants: offsets count characters of the passage's own text, never of its heading, which is read but cannot be quoted; a word that a
window's beginning cuts begins no span there (the window before holds it whole).

Known gap: only a passage's first window holds its heading.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genir.records import Document
from genir.words import ENGLISH_STOPWORDS
from rag.sentences import split_sentences, words

_TOGETHER = 512  # pairs that are tokenised at once: the tokenizer's own records take some 100 bytes a token
_SECTION = re.compile(r"\s*§\s*\d+$")


@dataclass(frozen=True, slots=True)
class Window:
    """One sequence of T tokens, of which those from `first` on, S of them, are the passage's.

    `ids` (T,) int32; `offsets` (S, 2) int32, characters of the passage's text; `begins`, `ends` (S,) bool, whether a word does.
    """

    ids: np.ndarray
    first: int
    offsets: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def token_span(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token of the whole words that hold characters start..end; None where the window does not hold all of them."""
        touched = np.flatnonzero((self.offsets[:, 0] < end) & (self.offsets[:, 1] > start))
        if not len(touched) or self.offsets[touched[0], 0] > start or self.offsets[touched[-1], 1] < end:
            return None
        begins = np.flatnonzero(self.begins[: touched[0] + 1])
        ends = np.flatnonzero(self.ends[touched[-1] :])
        if not len(begins) or not len(ends):
            return None
        return self.first + int(begins[-1]), self.first + int(touched[-1] + ends[0])

    def characters(self, begin: int, end: int) -> tuple[int, int]:
        """Characters of the passage's text from token `begin` to token `end`, both of this window and inside the passage."""
        return int(self.offsets[begin - self.first, 0]), int(self.offsets[end - self.first, 1])


@dataclass(frozen=True)
class WindowMaker:
    """Cuts questions and passages into windows with a fast Hugging Face tokenizer. Lengths and `stride` are in tokens."""

    tokenizer: Any
    max_length: int = 384
    stride: int = 128
    max_question_tokens: int = 64

    def windows(self, pairs: Sequence[tuple[str, Document]]) -> Iterator[list[Window]]:
        """The windows of each (question, passage), in order; none where the passage has no text."""
        for start in range(0, len(pairs), _TOGETHER):
            yield from self._windows(pairs[start : start + _TOGETHER])

    def _windows(self, pairs: Sequence[tuple[str, Document]]) -> list[list[Window]]:
        headings = [_before(passage) for _, passage in pairs]
        encoded = self.tokenizer(
            self._cut([question for question, _ in pairs]),
            [heading + passage.text for heading, (_, passage) in zip(headings, pairs, strict=True)],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        made: list[list[Window]] = [[] for _ in pairs]
        for encoding, pair in zip(encoded.encodings, encoded["overflow_to_sample_mapping"], strict=True):
            window = _window(encoding, len(headings[pair]), later=bool(made[pair]))
            if window is not None:
                made[pair].append(window)
        return made

    def _cut(self, questions: Sequence[str]) -> list[str]:
        """Questions of at most `max_question_tokens`."""
        encoded = self.tokenizer(
            list(questions),
            add_special_tokens=False,
            truncation=True,
            max_length=self.max_question_tokens,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [
            question[: places[-1][1]] if places else ""
            for question, places in zip(questions, encoded["offset_mapping"], strict=True)
        ]


def heading(title: str) -> str:
    """A title without the number of a section behind it ("Normans § 3"): what all passages of one article share."""
    return _SECTION.sub("", title).strip()


def answer_places(text: str, question: str, answers: Sequence[str], most: int = 4) -> list[tuple[int, int]]:
    """Characters (start, end) of the places where an accepted answer stands in `text`, in order.

    As whole words where there are any such places, else inside words; in the answer's own letter case where there are any, else in
    any. Where more than `most` places are found, as for "two" or "the", those in the sentences that share most words with the question
    are taken: the others are hardly what is asked for. Training takes the sum over the places that remain, so that the model itself
    learns which of them is meant (Clark & Gardner 2018, arXiv:1710.10723, section 3.1).
    """
    said = [answer.strip() for answer in answers if answer.strip()]
    tries = ((r"(?<!\w)", r"(?!\w)", 0), (r"(?<!\w)", r"(?!\w)", re.IGNORECASE), ("", "", 0), ("", "", re.IGNORECASE))
    found: set[tuple[int, int]] = set()
    for before, after, flags in tries:
        for answer in said:
            # A boundary is asked for on the sides where the answer itself ends in a letter or digit: "$5" may follow anything.
            left = before if answer[0].isalnum() else ""
            right = after if answer[-1].isalnum() else ""
            found.update(match.span() for match in re.finditer(left + re.escape(answer) + right, text, flags))
        if found:
            break
    places = sorted(found)
    return places if len(places) <= most else _likeliest(text, question, places)


def _likeliest(text: str, question: str, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    asked = set(words(question)) - ENGLISH_STOPWORDS
    shared = {span: len(asked & set(words(text[span[0] : span[1]]))) for span in split_sentences(text)}

    def overlap(place: tuple[int, int]) -> int:
        return max((count for (start, end), count in shared.items() if start <= place[0] < end), default=0)

    best = max(overlap(place) for place in places)
    return [place for place in places if overlap(place) == best]


def _before(passage: Document) -> str:
    """What is read in front of a passage's text."""
    named = heading(passage.title)
    return f"{named}: " if named else ""


def _window(encoding: Any, before: int, later: bool) -> Window | None:
    """A window out of a tokenizer's record; `before` characters of its second text are the heading. None without passage tokens."""
    sequence = np.array([-1 if part is None else part for part in encoding.sequence_ids])
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2) - before
    (inside,) = np.nonzero((sequence == 1) & (offsets[:, 0] >= 0) & (offsets[:, 1] > offsets[:, 0]))
    if not len(inside):
        return None
    first, last = int(inside[0]), int(inside[-1])
    numbers = np.array([-1 if word is None else word for word in encoding.word_ids])
    part = slice(first, last + 1)
    begins = numbers[part] != np.append(-2, numbers[first:last])
    ends = numbers[part] != np.append(numbers[first + 1 : last + 1], -2)
    if later:
        begins[0] = False
    return Window(np.array(encoding.ids, dtype=np.int32), first, offsets[part], begins, ends)
