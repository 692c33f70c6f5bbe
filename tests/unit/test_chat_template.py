"""Prompts as a chat model's user's turns: the tokens are those that Hugging Face's own template gives."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from experiments.registry import make_generator
from genir.errors import ArtefactError, ConfigError
from genir.protocols import SamplingParams
from rag.generators.hf import HFGenerator
from rag.llama.engine import LlamaEngine
from rag.reading import GeneratorReader
from tests.tiny_llama import save_tiny_llama

TEMPLATE = "[CLS]{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}<reply>"
QUESTION = "Where is Oslo?"
PARAMS = SamplingParams(max_new_tokens=4)


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    return taught(tmp_path, TEMPLATE)


def taught(folder: Path, template: str) -> Path:
    save_tiny_llama(folder, layers=1, max_position_embeddings=1024)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def expected(folder: Path) -> list[int]:
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    ids: list[int] = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=False
    )
    return ids


def test_both_engines_read_the_template_s_own_tokens(chatty: Path) -> None:
    hugging_face = HFGenerator(str(chatty), "cpu", chat=True)
    assert hugging_face.tokens(QUESTION) == expected(chatty)
    with LlamaEngine(chatty, chat=True) as engine:
        assert list(engine.submit(QUESTION, PARAMS).prompt_tokens) == expected(chatty)
        for generator in (hugging_face, engine):
            assert generator.count_tokens(QUESTION) == len(expected(chatty))
        assert engine.generate([QUESTION], PARAMS)[0].tokens == hugging_face.generate([QUESTION], PARAMS)[0].tokens


def test_text_is_continued_unless_a_chat_is_wanted(chatty: Path) -> None:
    plain = AutoTokenizer.from_pretrained(str(chatty))(QUESTION)["input_ids"]
    assert HFGenerator(str(chatty), "cpu").tokens(QUESTION) == plain
    assert LlamaEngine(chatty).count_tokens(QUESTION) == len(plain)


def test_a_model_without_a_template_continues_text(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path, layers=1)
    plain = AutoTokenizer.from_pretrained(str(tmp_path))(QUESTION)["input_ids"]
    assert HFGenerator(str(tmp_path), "cpu", chat=True).tokens(QUESTION) == plain
    assert LlamaEngine(tmp_path, chat=True).count_tokens(QUESTION) == len(plain)


def test_a_template_that_refuses_the_question_is_told_in_one_line(tmp_path: Path) -> None:
    folder = taught(tmp_path, "{{ raise_exception('a system turn must come first') }}")
    with pytest.raises(
        ArtefactError, match=r"chat template refuses a single question \(a system turn must come first\)"
    ):
        HFGenerator(str(folder), "cpu", chat=True).tokens(QUESTION)


def test_the_readers_of_the_command_line_chat(chatty: Path) -> None:
    for name in ("hf", "llama"):
        generator = make_generator(name, str(chatty), "cpu", chat=True)
        reader = GeneratorReader(generator)
        [reading] = reader.read([QUESTION], [()])
        assert reading.text is not None
        assert generator.count_tokens(QUESTION) == len(expected(chatty))  # type: ignore[attr-defined]


def test_the_engine_s_settings_follow_the_model(chatty: Path) -> None:
    engine = make_generator("llama", f"{chatty},stages=2,dtype=bfloat16", "cpu")
    assert isinstance(engine, LlamaEngine)
    assert (engine.options.stages, engine.options.dtype, engine.folder) == (2, "bfloat16", chatty)
    with pytest.raises(ConfigError, match="stagse"):
        make_generator("llama", f"{chatty},stagse=2", "cpu")


def test_a_hub_name_that_cannot_be_fetched_is_one_line() -> None:
    with pytest.raises(
        ArtefactError, match=r"model 'nobody/no-such-llama': cannot be loaded: .*; give a folder or a hub name"
    ) as error:
        make_generator("llama", "nobody/no-such-llama", "cpu")
    assert "\n" not in str(error.value)
