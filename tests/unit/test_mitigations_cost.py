from pathlib import Path

import pytest

from genir.protocols import IdentifierWriter, SamplingParams, TokenCounter
from genir.records import Document, Query
from rag.contrast import ContrastiveReader
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.mitigations.cost import Cost, Meter
from rag.mitigations.rereading import CopyingReader
from rag.reading import ConversationReader, GeneratorReader, StreamingReader
from rag.verification import LexicalChecker, Statement
from tests.contracts.test_generators import tiny_llama, tiny_tokenizer
from tests.scripted_generator import CountingGenerator, ScriptedGenerator
from tests.scripted_reader import ScriptedReader, ScriptedRetriever
from tests.tiny_span_reader import save_word_encoder, tiny_reader

PARAMS = SamplingParams()
PASSAGE = Document("d", "Oslo is old.", "Oslo")


def without_seconds(meter: Meter) -> Cost:
    assert meter.spent.seconds >= 0
    return meter.spent - Cost(seconds=meter.spent.seconds)


def test_a_generator_is_counted_by_prompts_and_words_or_tokens() -> None:
    meter = Meter()
    counted = meter.generator(ScriptedGenerator(["two words"]))
    assert not isinstance(counted, TokenCounter)
    assert [one.text for one in counted.generate(["a b c", "d"], PARAMS)] == ["two words"] * 2
    assert without_seconds(meter) == Cost(calls=2, words=3 + 2 + 1 + 2)
    assert "".join(counted.stream("one", PARAMS)) == "two words"
    assert without_seconds(meter) == Cost(calls=3, words=8 + 3)

    meter = Meter()
    counted = meter.generator(CountingGenerator(["abc"], context=9))
    assert isinstance(counted, TokenCounter)
    assert (counted.count_tokens("ab"), counted.context_length(), counted.name) == (2, 9, "scripted")
    counted.generate(["12345"], PARAMS)
    assert without_seconds(meter) == Cost(calls=1, tokens=5 + 3)


def test_a_reader_is_counted_where_its_prompts_are() -> None:
    meter = Meter()
    generator = ScriptedGenerator(["Oslo"])
    reader = meter.reader(GeneratorReader(generator))
    assert isinstance(reader, ConversationReader)
    assert isinstance(reader, StreamingReader)
    reader.read(["Where?"], [[PASSAGE]])
    assert meter.spent.calls == 1
    assert meter.spent.words > 20  # the whole prompt

    meter = Meter()
    plain = meter.reader(ScriptedReader({"Where?": "in Oslo"}))
    assert [one.text for one in plain.read(["Where?", "What?"], [[PASSAGE], []])] == ["in Oslo", ""]
    assert without_seconds(meter) == Cost(calls=2, words=1 + 4 + 2 + 1)


def test_contrast_costs_both_of_its_prompts_and_closed_book_one() -> None:
    """Their lengths differ by the passages; the reply runs behind each of them."""
    generator = HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny")
    reader = ContrastiveReader(GeneratorReader(generator, params=SamplingParams(max_new_tokens=5, ignore_eos=True)))
    grounded = generator.count_tokens(reader.reader.prompt("Where?", [PASSAGE]).text)
    bare = generator.count_tokens(reader.reader.prompt("Where?", ()).text)
    assert grounded > bare
    meter = Meter()
    counted = meter.reader(reader)
    assert (counted.name, counted.read(["Where?"], [[PASSAGE]])) == ("tiny", reader.read(["Where?"], [[PASSAGE]]))
    assert without_seconds(meter) == Cost(calls=2, tokens=grounded + bare + 2 * 5)
    meter = Meter()
    assert meter.reader(reader).read(["Where?"], [[]]) == reader.read(["Where?"], [[]])
    assert without_seconds(meter) == Cost(calls=1, tokens=bare + 5)
    assert meter.spent.seconds > 0


def test_copying_costs_its_prompt_and_closed_book_nothing() -> None:
    generator = HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny")
    reader = CopyingReader(GeneratorReader(generator, params=SamplingParams(max_new_tokens=5)))
    [reading] = reader.read(["Where?"], [[PASSAGE]])
    meter = Meter()
    assert meter.reader(reader).read(["Where?", "Who?"], [[PASSAGE], []])[0] == reading
    prompt = generator.count_tokens(reader.reader.prompt("Where?", [PASSAGE]).text)
    assert meter.spent.calls == 1
    assert prompt < meter.spent.tokens <= prompt + 5


def test_a_reader_that_copies_runs_no_model_closed_book(tmp_path: Path) -> None:
    for reader in (tiny_reader(save_word_encoder(tmp_path)), ExtractiveGenerator()):
        meter = Meter()
        [reading] = meter.reader(reader).read(["Where?"], [[]])
        assert reading.abstained
        assert without_seconds(meter) == Cost()
        meter.reader(reader).read(["Where is Oslo?"], [[PASSAGE]])
        assert meter.spent.calls == 1


def test_retriever_and_checker_are_counted() -> None:
    meter = Meter()
    retriever = meter.retriever(ScriptedRetriever({"a": ["d"]}))
    run = retriever.search([Query("1", "a"), Query("2", "b")], 3)
    assert (retriever.name, [one.doc_id for one in run.rankings["1"]]) == ("scripted", ["d"])
    assert isinstance(retriever, IdentifierWriter)
    assert retriever.written(["d"]) == {}  # the original writes none
    checker = meter.checker(LexicalChecker())
    assert (checker.name, checker.check([Statement("old", "Oslo is old.")])[0].supported) == ("lexical", 1.0)
    assert without_seconds(meter) == Cost(searches=2, checks=1)


def test_a_failure_is_timed_and_raised() -> None:
    meter = Meter()
    with pytest.raises(KeyError), meter.clock():
        raise KeyError
    assert meter.spent.seconds > 0


def test_costs_add_up() -> None:
    one = Cost(calls=2, tokens=10, seconds=1.0)
    assert one + one - one == one
    assert one.each(4)["tokens"] == 2.5
    assert one.each(0)["tokens"] == 0.0
