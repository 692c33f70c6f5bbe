"""`genir generate` and its backends: the text on stdout, everything as JSON, and one line for what cannot be."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from experiments.generation.model import LlamaShape, save_random_llama
from experiments.reading import make_reader
from experiments.registry import GENERATORS, make_generator
from genir.errors import ConfigError, GenirError
from genir.protocols import Generation, Generator, SamplingParams
from rag.generators.hf import HFGenerator
from rag.generators.vllm import VLLMGenerator
from rag.llama.engine import LlamaEngine
from tests.scripted_engine import ScriptedEngine
from tests.tiny_journey import genir


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("model"), LlamaShape(2, 32, 48, 4, 2, 300, 64), seed=1)


def test_the_text_goes_to_stdout_and_everything_is_json(model: Path) -> None:
    options = ("generate", "--model", model, "hello", "--max-new-tokens", 8)
    shown = genir(*options)
    assert (shown.code, shown.err) == (0, "")
    found = json.loads(genir(*options, "--json").out)
    assert shown.out == found["text"] + "\n"
    assert (found["prompt"], found["generator"], found["finish_reason"]) == ("hello", model.name, "length")
    assert len(found["tokens"]) == len(found["logprobs"]) == 8
    assert found["statistics"]["generated_tokens"] == 8
    theirs = json.loads(genir(*options, "--backend", "hf", "--json").out)
    assert theirs["tokens"] == found["tokens"]


def test_options_reach_the_engine(model: Path) -> None:
    ask = ("generate", "--model", model, "hello", "--max-new-tokens", 12, "--json", "--temperature", 1, "--seed")
    drawn = [json.loads(genir(*ask, seed).out)["tokens"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    greedy = json.loads(genir(*ask, 2, "--top-k", 1).out)
    assert greedy["tokens"] == json.loads(genir(*ask, 3, "--top-p", "1e-9").out)["tokens"]
    stop = greedy["text"][4:6]
    stopped = json.loads(genir(*ask, 2, "--top-k", 1, "--stop", stop).out)
    assert stopped["text"] == greedy["text"][: greedy["text"].find(stop)]
    assert stopped["finish_reason"] == "stop"
    assert json.loads(genir(*ask, 2, "--top-k", 1, "--repetition-penalty", 0.01).out)["tokens"] != greedy["tokens"]
    with_beams = genir("generate", "--model", model, "hello", "--max-new-tokens", 4, "--num-beams", 3)
    assert with_beams.code == 0


FAULTS = [
    (("--max-new-tokens", 90), "prompt of 5 tokens + max_new_tokens 90 exceeds the context of 64 tokens of "),
    (("--stages", 3), "3 stages for 2 layers: a stage needs at least one layer; use at most 2 stages"),
    (("--cache-memory", "100B"), "cache of 100 bytes a stage holds no block: 8 tokens in 2 layers take 2048"),
    (("--cache-memory", "4096B", "--max-new-tokens", 30), "prompt of 5 tokens + max_new_tokens 30 needs 5 cache blocks, the memory "),
    (("--cache-memory", "lots"), "--cache-memory 'lots': expected a size like 24GB, 24GiB or 500MB"),
    (("--dtype", "float8"), "dtype 'float8': expected auto, "),
    (("--attention", "fast"), "unknown attention 'fast': did you mean 'flash'? known: auto, compiled, eager, flash, sdpa"),
    (("--backend", "lama"), "unknown generator 'lama': did you mean 'llama'? known: hf, llama, openai, vllm"),
    (("--backend", "hf", "--stages", 2), "--backend hf: leave out --stages, --int8, --attention, --cache-memory, "),
    (("--backend", "hf", "--step-timeout", 3), "--backend hf: leave out --stages, --int8, --attention, --cache-memory, "),
    (("--backend", "hf", "--num-beams", 2), "num_beams 2: the generator hf does not know it; leave it at 1, or use the generator llama"),
    (("--backend", "openai"), "base_url "),
]  # fmt: skip


@pytest.mark.parametrize(("options", "line"), FAULTS)
def test_what_cannot_be_is_one_line(model: Path, options: tuple[object, ...], line: str) -> None:
    assert genir("generate", "--model", model, "hello", *options).fault.startswith(line)


@pytest.mark.parametrize("backend", ["llama", "hf", "openai"])
def test_a_prompt_that_is_no_text_is_one_line(model: Path, backend: str) -> None:
    """What a shell makes of $'caf\\xe9' once ended in a traceback."""
    fault = genir("generate", "--model", model, "--backend", backend, "caf\udce9").fault
    assert fault == "the prompt is not valid Unicode ('\\udce9' at character 3): give it in UTF-8"


def test_sigterm_ends_a_command_in_order(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once left stages behind that were still loading, and their folder."""
    tidied = []

    def start(_: LlamaEngine) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            tidied.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(LlamaEngine, "start", start)
    assert genir("generate", "--model", model, "hello").fault == "interrupted"
    assert tidied
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    assert genir("generate", "--model", tmp_path / "none", "hello").fault.startswith(f"{tmp_path}/none: no such folder")
    assert genir("generate", "--model", tmp_path, "hello").fault.startswith(f"{tmp_path}: has no config.json")


@pytest.mark.parametrize("stages", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_folders_whose_parts_do_not_belong_together(model: Path, tmp_path: Path, stages: int) -> None:
    """No shards, weights of another shape, a tokenizer of another model; told by the stage that meets it."""

    def line() -> str:
        return genir("generate", "--model", tmp_path, "hello", "--stages", stages).fault

    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").unlink()
    assert line().startswith(
        f"{tmp_path}: has no model.safetensors and no model.safetensors.index.json; give a folder with"
    )
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    assert (
        "has shape (48, 32), config.json says (40, 32); configuration and weights belong to different models" in line()
    )
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 200}))
    assert line().startswith(
        f"{tmp_path}: the tokenizer writes ids up to 257, the model knows 200 tokens; they belong to"
    )


def test_another_server_as_the_backend() -> None:
    pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
    pytest.importorskip("uvicorn", reason='the extra "serve" is not installed')
    from rag.serving.server import serving

    with serving(ScriptedEngine(context=256)) as url:  # type: ignore[arg-type]
        assert genir("generate", "--backend", "openai", "--model", url, "hello", "--max-new-tokens", 9).out == "hello\n"
        reader = make_reader(f"openai:{url}")
        assert (
            reader.read(["Who?"], [()])[0].text == "Answer the question in a few wor"
        )  # 32 tokens of an echoed prompt


def test_every_backend_is_a_generator(model: Path) -> None:
    for name in GENERATORS:
        assert isinstance(make_generator(name, str(model), "cpu"), Generator)
    assert isinstance(make_generator("hf", "a hub name"), HFGenerator)


def test_vllm_where_it_is_not_installed(model: Path) -> None:
    if find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    with pytest.raises(
        GenirError, match=r"^the generator 'vllm' needs vllm, which is not installed: pip install 'genir\[vllm\]'$"
    ):
        VLLMGenerator(str(model)).generate(["hello"], SamplingParams())


def test_vllm_s_parameters_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with vLLM's names; the package itself is no dependency of the tests."""
    asked: list[dict[str, Any]] = []

    class LLM:
        def __init__(self, model: str, dtype: str, **options: Any) -> None:
            if model == "broken":
                raise ValueError("no such architecture\nmore")
            assert (model, dtype, options) == ("name", "auto", {"max_model_len": 64})

        def get_tokenizer(self) -> Any:
            return SimpleNamespace(added_tokens_decoder={2: SimpleNamespace(content="</s>", special=True)})

        def generate(self, prompts: Sequence[str], params: dict[str, Any], use_tqdm: bool) -> list[Any]:
            asked.append(params)
            assert not any("</s>" in prompt for prompt in prompts)
            logprobs = None if params["logprobs"] is None else [{5: SimpleNamespace(logprob=-0.5)}]
            output = SimpleNamespace(text="!", token_ids=[5], logprobs=logprobs, finish_reason="length")
            return [SimpleNamespace(outputs=[output]) for _ in prompts]

    fake = ModuleType("vllm")
    fake.LLM, fake.SamplingParams = LLM, dict  # type: ignore[attr-defined]
    fake.__spec__ = SimpleNamespace(name="vllm")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    generator = VLLMGenerator("name", options={"max_model_len": 64})
    params = SamplingParams(max_new_tokens=3, temperature=0.5, top_p=0.9, seed=4, stop=("x",))
    assert generator.generate(["a", "b"], params) == [Generation("!", (5,), (-0.5,), "length")] * 2
    assert asked[0] == {
        **{
            "max_tokens": 3,
            "temperature": 0.5,
            "top_k": -1,
            "top_p": 0.9,
            "stop": ["x"],
            "seed": 4,
            "repetition_penalty": 1.0,
        },
        **{"ignore_eos": False, "logprobs": 0},
    }
    assert list(generator.stream("a </s>", SamplingParams(logprobs=False))) == ["!"]
    assert asked[1]["logprobs"] is None
    with pytest.raises(ConfigError, match="num_beams 2: the generator vllm does not know it"):
        generator.generate(["a"], SamplingParams(num_beams=2))
    with pytest.raises(GenirError, match=r"^broken: vLLM cannot load it: no such architecture$"):
        VLLMGenerator("broken").generate(["a"], SamplingParams())
