"""Context-aware decoding: the equation by hand on logits, on a tiny model step by step, and over a reader."""

import pytest
import torch

from genir.errors import ConfigError, GenirError
from genir.protocols import SamplingParams, TokenCounter
from genir.records import Answer, Document, ScoredDoc
from rag.contrast import ContrastiveDecoder, ContrastiveReader, contrast
from rag.copying import CopyConstraint
from rag.generators.hf import HFGenerator
from rag.mitigations.rereading import CopyingReader, Reread
from rag.mitigations.step import Mitigation
from rag.reading import GeneratorReader
from tests.contracts.test_generators import tiny_llama, tiny_tokenizer
from tests.scripted_generator import ScriptedGenerator
from tests.scripted_reader import ScriptedReader

GROUNDED = [
    "Helium is a gas. What is helium?",
    "Oslo lies in Norway, at the head of a fjord. Where is Oslo?",
    "Hm. Ah?",
]
CLOSED = ["What is helium?", "Where is Oslo?", "Ah?"]
PARAMS = SamplingParams(max_new_tokens=6)


@pytest.fixture(scope="module")
def generator() -> HFGenerator:
    return HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny", batch_size=8)


def test_the_equation_by_hand() -> None:
    told, known = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    # alpha .5: 1.5 * (1, 2, 0) - .5 * (0, 4, 0)
    assert contrast(told, known, 0.5).tolist() == [[1.5, 1.0, 0.0]]
    assert contrast(told, known, 0.0).tolist() == told.tolist()


def test_every_token_is_the_best_of_the_equation(generator: HFGenerator) -> None:
    tokenizer, model = generator.load()
    made = ContrastiveDecoder(generator, alpha=1.0).generate(GROUNDED, CLOSED, PARAMS)
    for one, other, generation in zip(GROUNDED, CLOSED, made, strict=True):
        told, known, logprobs = tokenizer(one)["input_ids"], tokenizer(other)["input_ids"], []
        for token in generation.tokens:
            with torch.inference_mode():
                with_evidence, without = (model(torch.tensor([ids])).logits[0, -1] for ids in (told, known))
            mixed = (2 * with_evidence - 1 * without).log_softmax(-1)
            assert token == int(mixed.argmax())
            logprobs.append(float(mixed.max()))
            told, known = [*told, token], [*known, token]
        assert generation.logprobs == pytest.approx(logprobs, abs=1e-4)
    assert [one.tokens for one in made] != [one.tokens for one in generator.generate(GROUNDED, PARAMS)]


def test_the_batch_changes_nothing_and_alpha_0_is_plain(generator: HFGenerator) -> None:
    decoder = ContrastiveDecoder(generator, alpha=0.5)
    together = decoder.generate(GROUNDED, CLOSED, PARAMS)
    alone = [decoder.generate([one], [other], PARAMS)[0] for one, other in zip(GROUNDED, CLOSED, strict=True)]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    plain = ContrastiveDecoder(generator, alpha=0.0).generate(GROUNDED, CLOSED, PARAMS)
    assert [one.text for one in plain] == [one.text for one in generator.generate(GROUNDED, PARAMS)]
    assert decoder.generate([], [], PARAMS) == []
    drawn = SamplingParams(max_new_tokens=6, temperature=1.0, top_k=20, seed=4)
    assert decoder.generate(GROUNDED, CLOSED, drawn) == decoder.generate(GROUNDED, CLOSED, drawn)


def test_bad_settings_are_refused(generator: HFGenerator) -> None:
    with pytest.raises(ConfigError, match=r"alpha -1: expected a finite number, 0 \(plain decoding\) or more"):
        ContrastiveDecoder(generator, alpha=-1)
    with pytest.raises(ConfigError, match="num_beams 2: the generator hf does not know it"):
        ContrastiveDecoder(generator).generate(["a"], ["b"], SamplingParams(num_beams=2))
    with pytest.raises(ConfigError, match="has two different prompts without evidence"):
        ContrastiveDecoder(generator).generate(["a", "a"], ["b", "c"], PARAMS)
    with pytest.raises(GenirError, match="exceeds the context"):
        ContrastiveDecoder(generator).generate(["x" * 1024], ["b"], PARAMS)
    with pytest.raises(ConfigError, match="generator 'scripted': context-aware decoding needs a Hugging Face"):
        ContrastiveReader(GeneratorReader(ScriptedGenerator(["x"]))).read(["Who?"], [[Document("d", "x")]])


PASSAGE = Document("he", "Helium is a noble gas.", "Helium")


def test_a_reader_by_contrast(generator: HFGenerator) -> None:
    plain = GeneratorReader(generator, params=PARAMS)
    reader = ContrastiveReader(plain, alpha=0.0)
    assert isinstance(reader, TokenCounter)
    questions, passages = ["What is helium?", "Who?", "What?"], [[PASSAGE], [], [PASSAGE]]
    found, expected = reader.read(questions, passages), plain.read(questions, passages)
    assert [(one.text, one.shown) for one in found] == [(one.text, one.shown) for one in expected]
    assert [one.certainty for one in found] == pytest.approx([one.certainty for one in expected], abs=1e-4)
    assert reader.read([], []) == []


def test_reading_again_is_a_step(generator: HFGenerator) -> None:
    documents = {"he": PASSAGE}
    answers = [
        Answer("1", "What is helium?", "x", passages=(ScoredDoc("he", 1.0),), retriever="bm25"),
        Answer("2", "Nothing found?", "x", retriever="bm25"),
        Answer("3", "By heart?", "x"),
    ]
    step = Reread(ScriptedReader({"he": "a noble gas", "By heart?": "yes"}), "again")
    assert isinstance(step, Mitigation)
    first, second, third = step.revise(answers, documents)
    assert (first.text, first.citations[0].text, first.generator) == (
        "a noble gas",
        "Helium is a noble gas.",
        "scripted",
    )
    assert (first.claims[0].verdict, first.retriever) == ("supported", "bm25")
    assert second.abstained
    assert (third.text, third.citations) == ("yes", ())
    assert step.revise([], documents) == []


def test_a_reader_that_can_only_copy(generator: HFGenerator) -> None:
    reader = CopyingReader(GeneratorReader(generator, params=SamplingParams(max_new_tokens=40)))
    tokenizer, _ = generator.load()
    found, closed = reader.read(["What is helium?", "Who?"], [[PASSAGE], []])
    assert found.text
    assert found.text in PASSAGE.title_and_text
    assert (closed.abstained, closed.text) == (True, "I do not know")
    assert CopyConstraint(PASSAGE.title_and_text, "What is helium?", tokenizer)([])
    strict = CopyingReader(GeneratorReader(generator, params=PARAMS, min_logprob=0.0))
    assert strict.read(["What is helium?"], [[PASSAGE]])[0].abstained
    with pytest.raises(GenirError, match="generator 'scripted' takes no copy constraint"):
        CopyingReader(GeneratorReader(ScriptedGenerator(["x"]))).read(["Who?"], [[PASSAGE]])
