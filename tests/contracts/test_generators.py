"""One suite for every generator: what the Protocol promises, checked alike."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from genir.errors import GenirError
from genir.protocols import Generation, GenerationStreamer, Generator, SamplingParams, TokenCounter
from genir.records import Document
from rag.generators.extractive import ExtractiveGenerator
from rag.generators.hf import HFGenerator
from rag.prompt import build_prompt

PASSAGE = Document("d", "Helium is a noble gas. The symbol of helium is He.", title="Helium")
PROMPTS = [
    build_prompt("What is the symbol of helium?", [PASSAGE]),
    build_prompt("Who?", []),
    build_prompt("Is helium a noble gas?", [PASSAGE, PASSAGE]),
]


def tiny_tokenizer() -> Any:
    """One token a byte, with <s> in front: no file is read."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.4,
    )
    return LlamaForCausalLM(config)


@contextmanager
def extractive(_: Path) -> Iterator[Generator]:
    yield ExtractiveGenerator()


@contextmanager
def hugging_face(_: Path) -> Iterator[Generator]:
    yield HFGenerator.of(tiny_llama(), tiny_tokenizer(), label="tiny")


@contextmanager
def our_engine(folder: Path) -> Iterator[Generator]:
    from rag.llama.engine import EngineOptions, LlamaEngine

    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        yield engine


@contextmanager
def our_server(folder: Path) -> Iterator[Generator]:
    pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
    pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')
    from rag.generators.openai import OpenAIGenerator
    from rag.llama.engine import EngineOptions, LlamaEngine
    from rag.serving.server import serving

    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    with serving(LlamaEngine(folder, EngineOptions(threads=1))) as url:
        yield OpenAIGenerator(url, dialect="vllm")


@pytest.fixture(
    params=[extractive, hugging_face, our_engine, our_server],
    ids=["extractive", "hf", "llama", "openai"],
    scope="module",
)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    make: Callable[[Path], AbstractContextManager[Generator]] = request.param
    with make(tmp_path_factory.mktemp("model")) as made:
        yield made


def test_it_is_a_named_generator(generator: Generator) -> None:
    assert isinstance(generator, Generator)
    assert generator.name


def test_one_generation_a_prompt_in_order_whatever_the_batch(generator: Generator) -> None:
    params = SamplingParams(max_new_tokens=6)
    together = generator.generate(PROMPTS, params)
    alone = [generator.generate([prompt], params)[0] for prompt in PROMPTS]
    assert [g.text for g in together] == [g.text for g in alone]
    assert all(isinstance(g, Generation) and g.finish_reason in ("stop", "length") for g in together)
    assert generator.generate([], params) == []


def test_the_stream_is_the_text(generator: Generator) -> None:
    for stop in ((), ("e",), ("is a", "zz")):
        params = SamplingParams(max_new_tokens=12, stop=stop)
        for prompt in PROMPTS:
            assert "".join(generator.stream(prompt, params)) == generator.generate([prompt], params)[0].text


def test_a_stream_of_a_generation_ends_with_what_generate_gives(generator: Generator) -> None:
    if not isinstance(generator, GenerationStreamer):
        pytest.skip("has no log-probabilities to tell")
    for stop in ((), ("e",)):
        params = SamplingParams(max_new_tokens=12, stop=stop)
        *pieces, whole = generator.stream_generation(PROMPTS[0], params)
        assert whole == generator.generate(PROMPTS[:1], params)[0]
        assert "".join(map(str, pieces)) == whole.text
        assert whole.logprobs


def test_stop_strings_end_the_text_and_are_not_part_of_it(generator: Generator) -> None:
    free = generator.generate(PROMPTS[:1], SamplingParams(max_new_tokens=48))[0].text
    pairs = (free[i : i + 2] for i in range(1, len(free) - 1))
    stop = next(pair for pair in pairs if "\ufffd" not in pair)  # which stands for half a character while it is written
    cut = generator.generate(PROMPTS[:1], SamplingParams(max_new_tokens=48, stop=(stop,)))[0]
    assert cut.text == free[: free.find(stop)]
    assert cut.finish_reason == "stop"


def test_a_seed_repeats_sampling(generator: Generator) -> None:
    params = SamplingParams(max_new_tokens=8, temperature=1.0, top_k=50, top_p=0.9, seed=3)
    first, again = generator.generate(PROMPTS, params), generator.generate(PROMPTS, params)
    # The engine's batches form as requests arrive: sums of another order differ in their last digits.
    assert [(one.tokens, one.finish_reason) for one in first] == [(one.tokens, one.finish_reason) for one in again]
    assert all(one.logprobs == pytest.approx(two.logprobs, abs=1e-4) for one, two in zip(first, again, strict=True))
    assert generator.generate(PROMPTS, params)[1].text == generator.generate(PROMPTS[1:2], params)[0].text


def test_logprobs_stand_beside_tokens(generator: Generator) -> None:
    for generation in generator.generate(PROMPTS, SamplingParams(max_new_tokens=5)):
        assert len(generation.logprobs) == len(generation.tokens)
        assert all(logprob <= 0 for logprob in generation.logprobs)


def test_a_generator_that_counts_tokens_knows_what_fits(generator: Generator) -> None:
    if not isinstance(generator, TokenCounter):
        pytest.skip("counts no tokens: its prompts are packed by words")
    context = generator.context_length()
    assert context is not None
    params = SamplingParams(max_new_tokens=4)
    longest = "x" * (context - 4 - generator.count_tokens(""))
    assert generator.count_tokens(longest) == context - 4
    assert len(generator.generate([longest], params)) == 1
    with pytest.raises(GenirError, match="exceeds the context"):
        generator.generate([longest + "x"], params)
