"""Choosing tokens: the distribution that is drawn from, seeds, the beams' bookkeeping, and text from tokens."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from rag.llama.batch import Choice
from rag.llama.beams import BeamSearch
from rag.llama.sampling import choose, uniform
from rag.llama.text import PromptTooLongError, TextStream, encode_prompt
from rag.serving.loop import Update
from rag.serving.replies import Choice as ReplyChoice
from rag.serving.replies import TokenTexts

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, 2.5]])


def drawn(count: int = 4000, **settings: float) -> dict[int, float]:
    found: Counter[int] = Counter()
    for place in range(count):
        (token,), _, _, finite = choose(LOGITS, [Choice(uniform=uniform(7, place), **settings)])  # type: ignore[arg-type]
        assert finite
        found[token] += 1
    return {token: number / count for token, number in found.items()}


def test_sampling_follows_the_softmax() -> None:
    for temperature in (0.5, 1.0, 2.0):
        expected = (LOGITS[0] / temperature).softmax(0)
        for token, share in drawn(temperature=temperature).items():
            assert share == pytest.approx(float(expected[token]), abs=0.03)


def test_top_k_and_top_p_cut_and_renormalise() -> None:
    two = LOGITS[0, [4, 0]].softmax(0)
    assert drawn(temperature=1.0, top_k=2) == pytest.approx({4: float(two[0]), 0: float(two[1])}, abs=0.03)
    # The best token holds .51: with top_p .6 the second stays, since what is before it holds less.
    assert set(drawn(500, temperature=1.0, top_p=0.6)) == {4, 0}
    assert set(drawn(500, temperature=1.0, top_p=0.4)) == {4}
    assert set(drawn(500, temperature=1.0, top_k=3, top_p=0.99)) == {4, 0, 1}


def test_no_temperature_is_too_low() -> None:
    """1e-38 once overflowed into tokens at random."""
    assert drawn(50, temperature=1e-38) == {4: 1.0}
    assert drawn(50, temperature=1e-320) == {4: 1.0}
    assert drawn(50, temperature=1e-38, top_k=3, top_p=0.9) == {4: 1.0}


def test_uniform_numbers_are_uniform_and_depend_on_seed_and_place_only() -> None:
    numbers = [uniform(seed, place) for seed in range(20) for place in range(100)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.03)
    assert uniform(3, 5) == uniform(3, 5)
    assert 0 <= uniform(-1, 0) < 1


def test_rows_have_their_own_way_and_log_probabilities_are_the_models_own() -> None:
    choices = [
        Choice(logprob=True),
        Choice(temperature=5.0, uniform=0.999),
        Choice(penalty=10.0, penalised=(4, 0), logprob=True),
        Choice(top=2),
    ]
    tokens, logprobs, tops, finite = choose(LOGITS.repeat(4, 1), choices)
    assert finite
    assert [tokens[0], tokens[2], tokens[3]] == [4, 1, 4]
    expected = LOGITS[0].log_softmax(0)
    assert logprobs[0] == pytest.approx(float(expected[4]))
    assert logprobs[2] == pytest.approx(float(expected[1]))  # not the penalised one
    assert tops[:3] == [[], [], []]
    assert [token for token, _ in tops[3]] == [4, 0]
    assert choose(LOGITS, [Choice()])[1] == []


def test_a_penalty_that_overflows_is_no_fault_of_the_model() -> None:
    """One client's penalty of 1e-40 once ended everybody's requests, with a word about broken weights."""
    choices = [Choice(penalty=1e-40, penalised=(1,)), Choice()]
    tokens, _, _, finite = choose(LOGITS.repeat(2, 1), choices)
    assert finite
    assert tokens == [1, 4]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_seen(bad: float) -> None:
    logits = LOGITS.clone()
    logits[0, 2] = bad
    assert not choose(logits, [Choice()])[3]


def test_beams_end_at_an_end_token_and_at_the_length() -> None:
    search = BeamSearch(2, 1.0, 3, {9})
    assert search.candidates == 4
    assert search.advance([[(1, -0.1), (9, -0.3), (2, -2.0), (3, -3.0)]]) == [(0, 1), (0, 2)]
    assert [one.tokens for one in search.finished] == [(9,)]
    assert search.advance([[(5, -0.1), (6, -4.0)], [(5, -0.1), (6, -0.2)]]) == [(0, 5), (1, 5)]
    assert search.advance([[(7, -0.1)], [(7, -0.1)]]) == []
    assert search.best().tokens == (1, 5, 7)
    assert search.best().score == pytest.approx(-0.3 / 3)
    assert search.best().logprobs == (-0.1, -0.1, -0.1)


class Bytes:
    """A tokenizer of bytes."""

    def __init__(self) -> None:
        self.read = 0  # characters, and tokens
        self.decoded = 0

    def encode(self, text: str, special: bool = True) -> list[int]:
        self.read += len(text)
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        self.decoded += len(tokens)
        return bytes(tokens).decode(errors="replace")


class Words(Bytes):
    """A tokenizer that drops the first space of what it decodes, as SentencePiece does; a token is a byte."""

    def decode(self, tokens: Sequence[int]) -> str:
        return super().decode(tokens).removeprefix(" ")


def test_half_a_character_is_held_back() -> None:
    stream, seen = TextStream(Bytes()), []
    for token in Bytes().encode("naïve 日本 ✓"):
        stream.feed([token])
        seen.append(stream.certain)
    assert "\ufffd" not in "".join(seen)
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert stream.finish() == "naïve 日本 ✓"


def test_a_stop_string_over_several_tokens_is_never_shown() -> None:
    stream, seen = TextStream(Bytes(), ("STOP", "never")), []
    for token in Bytes().encode("go on ST then STOP here"):
        stream.feed([token])
        seen.append(stream.certain)
    assert stream.stopped
    assert stream.finish() == "go on ST then "
    assert all("go on ST then ".startswith(text) for text in seen)


def test_what_was_held_back_comes_at_the_end() -> None:
    stream = TextStream(Bytes(), ("longer stop",))
    stream.feed(Bytes().encode("short"))
    assert stream.certain == ""
    assert stream.finish() == "short"
    broken = TextStream(Bytes())
    broken.feed(list("日".encode())[:2])
    assert broken.certain == ""
    assert broken.finish() == "\ufffd"


@pytest.mark.parametrize("prompt", [" Once upon", " Once upon a time in a land far away"])
def test_the_space_between_prompt_and_text_is_kept(prompt: str) -> None:
    """It was dropped, as that of a text's beginning; a stop string that begins with it was missed."""
    front = Words().encode(prompt)
    stream, seen = TextStream(Words(), prompt=front), []
    for token in Words().encode(" a time"):
        stream.feed([token])
        seen.append(stream.certain)
    assert seen[:3] == [" ", " a", " a "]
    assert stream.finish() == " a time"
    stopped = TextStream(Words(), (" a",), front)
    stopped.feed(Words().encode(" a time"))
    assert (stopped.stopped, stopped.finish()) == (True, "")
    first = TextStream(Words())  # in front of which there is nothing
    first.feed(Words().encode(" a time"))
    assert first.finish() == "a time"


def test_a_character_that_the_prompt_began_belongs_to_the_text() -> None:
    whole = Bytes().encode("x日y")
    for cut in (2, 3):
        stream = TextStream(Bytes(), prompt=whole[:cut])
        for token in whole[cut:]:
            stream.feed([token])
        assert stream.certain == "日y"
        assert stream.finish() == "日y"


def test_a_border_within_a_character_reaches_back_to_its_beginning() -> None:
    for length in range(1, 12):
        stream = TextStream(Bytes(), prompt=Bytes().encode("日" * 9 + "x" * length))
        stream.feed(Bytes().encode("yz"))
        assert stream.certain == "yz"


def test_of_a_text_that_cannot_fit_only_a_beginning_is_read() -> None:
    tokenizer = Bytes()
    assert len(encode_prompt(tokenizer, "x" * 1601, 2000)) == 1601
    tokenizer.read = 0
    with pytest.raises(
        PromptTooLongError, match=r"^prompt of 1000000 characters exceeds the context of 100 tokens: give"
    ):
        encode_prompt(tokenizer, "x" * 1_000_000, 100)
    assert tokenizer.read == 1600
    assert len(encode_prompt(tokenizer, "x" * 700, 50)) == 700  # a little too long: the engine says by how much


def test_texts_of_tokens_join_and_take_time_in_proportion() -> None:
    text = "naïve 日本 " * 40
    tokens = Bytes().encode(text)
    tokenizer = Bytes()
    texts = TokenTexts(TextStream(tokenizer))
    pieces = [texts.add(token) for token in tokens]
    assert "".join(piece for piece, _ in pieces) + texts.rest() == text
    assert all(text[at : at + len(piece)] == piece for piece, at in pieces)
    assert [at for _, at in pieces] == sorted(at for _, at in pieces)
    assert tokenizer.decoded < 20 * len(tokens)


def test_half_a_character_at_the_end_is_the_last_token_s() -> None:
    choice = ReplyChoice(0, TokenTexts(TextStream(Bytes())))
    for token in "é日".encode()[:4]:
        choice.add(Update("", (token,), (-1.0,)), with_pieces=True)
    choice.add(Update("é\ufffd", finish_reason="length"), with_pieces=True)
    assert choice.pieces == [("", 0), ("é", 0), ("", 1), ("\ufffd", 1)]
    assert "".join(piece for piece, _ in choice.pieces) == choice.text
