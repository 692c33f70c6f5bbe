"""The reader made of any generator: what it is shown, how much of it, and what its reply becomes."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from genir.errors import ConfigError
from genir.protocols import Generation, SamplingParams, TokenCounter
from genir.records import Document
from rag.demonstrations import RandomShots
from rag.markers import take_markers
from rag.mitigations.cost import Meter
from rag.prompt import Shot, Turn, parse_prompt
from rag.reading import PROMPT_TOKENS, GeneratorReader, Reading, as_reader
from rag.template import load_template
from tests.scripted_generator import CountingGenerator, ScriptedGenerator

HELIUM = Document("he", "Helium is a noble gas. The symbol of helium is He.", "Helium")


def test_it_is_shown_passages_examples_and_earlier_turns() -> None:
    scripted = ScriptedGenerator(["He"])
    reader = GeneratorReader(scripted, demonstrations=RandomShots((Shot("What is x?", "the ex", "X is the ex."),), 1))
    [reading] = reader.read_turns(["And its symbol?"], [[HELIUM]], [[Turn("What is helium?", "a gas")]])
    [prompt] = scripted.prompts
    assert [prompt.index(text) for text in ("X is the ex.", "the ex [1]", "noble gas", "Answer: a gas")] == sorted(
        prompt.index(text) for text in ("X is the ex.", "the ex [1]", "noble gas", "Answer: a gas")
    )
    assert parse_prompt(prompt)[0] == "And its symbol?"
    assert (reading.text, reading.shown) == ("He", 1)


def test_confidence_is_the_mean_log_probability_and_certainty_the_probability() -> None:
    [sure] = GeneratorReader(ScriptedGenerator(["He"], (-0.1, -0.3))).read(["?"], [[HELIUM]])
    assert sure.confidence == pytest.approx(-0.2)
    assert sure.certainty == pytest.approx(math.exp(-0.2))
    [certain] = GeneratorReader(ScriptedGenerator(["He"], (0.0,))).read(["?"], [[HELIUM]])
    assert certain.certainty == 1.0
    [mute] = GeneratorReader(ScriptedGenerator(["He"])).read(["?"], [[HELIUM]])
    assert mute.certainty == 0.0


def test_certainty_of_readers_that_have_their_own_unit() -> None:
    assert [Reading("x", confidence=c).certainty for c in (-1e9, -0.5, 0.0, 0.4, 7.0)] == [
        0.0,
        math.exp(-0.5),
        0.0,
        0.4,
        1.0,
    ]


def test_an_unlikely_reply_is_an_abstention_streamed_or_not() -> None:
    reader = GeneratorReader(ScriptedGenerator(["He"], (-3.0,)), min_logprob=-1.0)
    [reading] = reader.read(["?"], [[HELIUM]])
    assert reading.abstained
    assert list(reader.read_stream("?", [HELIUM])) == [reading]  # what it says is worded in rag.answering


@pytest.mark.parametrize("reply", ["", "  ", "...", "[1]", "I do not know [1]."])
def test_a_generator_that_stops_at_once_abstains(reply: str) -> None:
    reader = GeneratorReader(ScriptedGenerator([reply]), load_template("plain", "zh"))
    [reading] = reader.read(["谁?"], [[HELIUM]])
    assert (reading.text, reading.abstained) == ("我不知道", True)
    assert list(reader.read_stream("谁?", [HELIUM])) == [reading]


class Telling(ScriptedGenerator):
    """One whose stream ends with the generation."""

    def stream_generation(self, prompt: str, params: SamplingParams) -> Iterator[str | Generation]:
        """The pieces, then the whole."""
        [whole] = self.generate([prompt], params)
        yield from (whole.text[i : i + self.size] for i in range(0, len(whole.text), self.size))
        yield whole


@pytest.mark.parametrize("reply", ["Helium [1] is a gas.", "I do not know", ""])
def test_a_streamed_reading_is_as_sure_as_one_that_was_not_streamed(reply: str) -> None:
    reader = GeneratorReader(Telling([reply], (-0.1, -0.3)))
    for one in (reader, Meter().reader(reader)):
        assert isinstance(one, GeneratorReader)
        *_, streamed = one.read_stream("?", [HELIUM])
        assert [streamed] == reader.read(["?"], [[HELIUM]])
        assert isinstance(streamed, Reading)
        assert streamed.certainty == pytest.approx(math.exp(-0.2))


class Cut(Telling):
    """One whose reply ends where no more tokens were allowed."""

    def generate(self, prompts: Sequence[str], params: SamplingParams) -> list[Generation]:
        """The replies, cut."""
        return [replace(one, finish_reason="length") for one in super().generate(prompts, params)]


@pytest.mark.parametrize("size", [1, 4, 50])
@pytest.mark.parametrize(
    ("reply", "kept"),
    [("Oslo [1", "Oslo"), ("Oslo [1][", "Oslo"), ("氦【1，", "氦"), ("Year [20", "Year"), ("[1", "I do not know")],
)
def test_an_answer_that_was_cut_in_a_marker_shows_no_stump(reply: str, kept: str, size: int) -> None:
    cut, whole = GeneratorReader(Cut([reply], size=size)), GeneratorReader(Telling([reply], size=size))
    *pieces, reading = cut.read_stream("?", [HELIUM])
    assert isinstance(reading, Reading)
    assert take_markers(reading.text)[0] == kept
    assert "".join(map(str, pieces)) == ("" if reading.abstained else kept)
    assert [reading] == cut.read(["?"], [[HELIUM]])
    *pieces, ended = whole.read_stream("?", [HELIUM])  # what the model ended itself is left as it wrote it
    assert isinstance(ended, Reading)
    assert (ended.text, "".join(map(str, pieces))) == (reply, take_markers(reply)[0])


@pytest.mark.parametrize("size", [1, 4, 50])
def test_the_stream_ends_with_the_reading(size: int) -> None:
    reader = GeneratorReader(ScriptedGenerator([" Helium [1] is a gas [1]. "], size=size))
    *pieces, reading = reader.read_stream("?", [HELIUM])
    assert "".join(map(str, pieces)) == "Helium is a gas."
    assert reading == Reading("Helium [1] is a gas [1].", shown=1, probability=0.0)


def test_the_budget_is_words_or_the_generator_s_own_tokens() -> None:
    many = [HELIUM] * 300
    words, tokens = ScriptedGenerator(["x"]), CountingGenerator(["x"])
    assert not isinstance(words, TokenCounter)
    with pytest.warns(UserWarning, match=r"of 300 passages did not fit the prompts of 1 of 1 questions"):
        [by_words] = GeneratorReader(words).read(["Who?"], [many])
    with pytest.warns(UserWarning, match=r"of 300 passages did not fit the prompts of 1 of 1 questions"):
        [by_tokens] = GeneratorReader(tokens).read(["Who?"], [many])
    assert by_words.shown is not None
    assert by_tokens.shown is not None
    assert 1 < by_tokens.shown < by_words.shown < 300
    assert PROMPT_TOKENS - 80 < len(tokens.prompts[0]) <= PROMPT_TOKENS


def test_evidence_longer_than_the_context_is_packed_into_it() -> None:
    small = CountingGenerator(["x"], context=600)
    reader = GeneratorReader(small, params=SamplingParams(max_new_tokens=50))
    with pytest.warns(
        UserWarning, match="1 of 2 passages did not fit the prompts of 1 of 1 questions and were left out"
    ):
        [reading] = reader.read(["Who?"], [[Document("d", "A sentence with some words. " * 500), HELIUM]])
    assert reading.shown == 1
    assert 480 < len(small.prompts[0]) <= 550
    with pytest.warns(UserWarning, match="5 of 9 passages"):
        GeneratorReader(small, params=SamplingParams(max_new_tokens=50), budget=500).read(["Who?"], [[HELIUM] * 9])
    assert len(small.prompts[1]) <= 500


def test_what_no_prompt_has_room_for_is_counted_in_one_warning() -> None:
    """12 worked examples and 38 of 40 passages once went without a word."""
    shots = tuple(Shot(f"What is x{number}?", "the ex", "X is the ex. " * 9) for number in range(12))
    params = SamplingParams(max_new_tokens=50)
    reader = GeneratorReader(
        CountingGenerator(["x"], context=600), params=params, demonstrations=RandomShots(shots, 12)
    )
    with pytest.warns(UserWarning, match="did not fit") as heard:
        reader.read(["Who?", "What?"], [[HELIUM] * 10] * 2)
    assert [str(one.message) for one in heard] == [
        "16 of 20 passages and 22 of 24 worked examples did not fit the prompts of 2 of 2 questions and were left out: give fewer or "
        "shorter ones, or a model with a longer context"
    ]
    with pytest.warns(UserWarning, match="^8 of 10 passages and 11 of 12 worked examples did not fit") as streamed:
        list(reader.read_stream("Who?", [HELIUM] * 10))
    assert len(streamed) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace(reader, demonstrations=None).read(["Who?"], [[HELIUM]])


def test_no_room_in_the_context_says_so() -> None:
    reader = GeneratorReader(CountingGenerator(["x"], context=32))
    with pytest.raises(ConfigError, match="max_new_tokens 32: leaves no room for a prompt in the context of 32 tokens"):
        reader.read(["Who?"], [[HELIUM]])
    with pytest.raises(ConfigError, match="prompt budget 28: the question alone needs"):
        GeneratorReader(CountingGenerator(["x"], context=60)).read(["Who?"], [[HELIUM]])


def test_a_reader_is_itself_and_a_generator_becomes_one() -> None:
    reader = GeneratorReader(ScriptedGenerator(["x"]))
    assert as_reader(reader) is reader
    assert as_reader(reader.generator) == reader
    assert reader.read([], []) == []
