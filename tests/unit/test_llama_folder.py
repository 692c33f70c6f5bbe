"""What is read from a model folder: shapes in both spellings, each stage's own tensors out of shards, and what is wrong in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genir.errors import ArtefactError
from rag.llama.config import LlamaConfig, RopeScaling, read_config
from rag.llama.linear import Int8Linear, make_linear
from rag.llama.stages import plan_stages
from rag.llama.text import FolderTokenizer
from rag.llama.weights import load_stage
from tests.tiny_llama import END, save_tiny_llama


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_llama(tmp_path_factory.mktemp("llama"), max_shard_size="40KB", tie_word_embeddings=False)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


@pytest.fixture
def broken(sharded: Path, tmp_path: Path) -> Path:
    for file in sharded.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_stage_reads_its_own_tensors_and_no_others(sharded: Path) -> None:
    config = read_config(sharded)
    sizes = {name: t.nbytes for file in sharded.glob("*.safetensors") for name, t in load_file(file).items()}
    plan = plan_stages(config, 3)
    read = [load_stage(sharded, config, part, torch.float32)[1] for part in plan.stages]
    for part, count in zip(plan.stages, read, strict=True):
        own = tuple(f"model.layers.{number}." for number in range(part.start, part.stop))
        own += ("model.embed_tokens.",) * part.first + ("model.norm.", "lm_head.") * part.last
        assert count == sum(size for name, size in sizes.items() if name.startswith(own))
        assert count == plan_stages(config, 3, bytes_per_weight=4).stages[plan.stages.index(part)].weight_bytes
    assert sum(read) == sum(sizes.values())


def test_both_spellings_of_rope_are_read(broken: Path) -> None:
    assert read_config(broken).rope == RopeScaling()
    change(broken, rope_parameters=None, rope_theta=7.0, rope_scaling={"type": "linear", "factor": 2.0})
    config = read_config(broken)
    assert (config.rope_theta, config.rope) == (7.0, RopeScaling("linear", 2.0))
    assert config.eos_token_ids == (END,)
    change(broken, num_key_value_heads=None, head_dim=None, eos_token_id=[3, 9])
    config = read_config(broken)
    assert (config.num_key_value_heads, config.head_dim, config.queries_per_key) == (4, 8, 1)
    assert config.eos_token_ids == (3, 9)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0}, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 9.0},
        {"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": {"rope_type": "default", "rope_theta": 5.0}},
        {"rope_parameters": {"rope_theta": 7.0, "rope_type": "linear", "factor": 3.0}, "rope_scaling": {}},
    ],
)
def test_of_two_spellings_of_rope_the_one_counts_that_counts_for_hugging_face(
    broken: Path, fields: dict[str, Any]
) -> None:
    from transformers import AutoConfig

    change(broken, **fields)
    config, theirs = read_config(broken), AutoConfig.from_pretrained(broken).rope_parameters
    assert (config.rope.rope_type, config.rope_theta) == (theirs["rope_type"], theirs["rope_theta"])
    assert config.rope.factor == theirs.get("factor", 1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral', this engine runs 'llama' only"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', LLaMA's is 'silu'"),
        ({"vocab_size": None}, "config.json: has no 'vocab_size'"),
        ({"hidden_size": "wide"}, "config.json: invalid literal for int"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3 key and value heads evenly"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, expected at least 1"),
        ({"rope_parameters": {"rope_type": "yarm"}}, "unknown rope_type 'yarm': did you mean 'yarn'"),
        (
            {"rope_parameters": {"rope_type": "linear"}},
            "RoPE of type 'linear' has no factor, expected a number above 0",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": "four"}},
            "factor of RoPE is 'four', expected a number above 0",
        ),
        ({"rope_scaling": {"type": "yarm"}}, "unknown rope_type 'yarm': did you mean 'yarn'"),
        ({"rope_parameters": ["linear"]}, r"rope_parameters is \['linear'\], expected an object"),
        (
            {"num_attention_heads": 0, "head_dim": None, "num_key_value_heads": None},
            "num_attention_heads is 0, expected",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, r"the weights are quantised \(gptq\), which this engine"),
        ({"head_dim": 7}, "head_dim is 7, RoPE needs an even one"),
    ],
)
def test_a_configuration_that_cannot_be(broken: Path, fields: dict[str, Any], message: str) -> None:
    change(broken, **fields)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_config(broken)
    assert "\n" not in str(caught.value)


def test_folders_without_what_they_need(broken: Path, tmp_path: Path) -> None:
    config, part = read_config(broken), plan_stages(read_config(broken), 1).stages[0]

    def fails(message: str) -> None:
        with pytest.raises(ArtefactError, match=message) as caught:
            load_stage(broken, config, part, torch.float32)
        assert "\n" not in str(caught.value)

    first = min(broken.glob("model-*.safetensors"))
    content = first.read_bytes()
    first.unlink()
    fails(f"model.safetensors.index.json names {first.name}, which is not there; fetch all shards")
    first.write_bytes(content[:100])
    fails(f"{first.name}: not a readable safetensors file")
    (broken / "model.safetensors.index.json").write_text("{}")
    fails("not a readable index of shards")
    (broken / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')
    fails("its weight_map is no object that gives each tensor's file")
    save_file({"other": torch.zeros(3)}, first)
    names = {"model.layers.0.input_layernorm.weight": first.name}
    (broken / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    fails(f"{first.name}: tensor 'model.layers.0.input_layernorm.weight' cannot be read, though the index names it")
    save_file({next(iter(names)): torch.zeros(config.hidden_size, dtype=torch.int8)}, first)
    fails("tensor 'model.layers.0.input_layernorm.weight' is int8: quantised weights are not read")
    (broken / "model.safetensors.index.json").unlink()
    fails("has no model.safetensors and no model.safetensors.index.json; give a folder with weights in safetensors")
    save_file({"model.embed_tokens.weight": torch.zeros(3, 3)}, broken / "model.safetensors")
    fails("the shards hold no tensor 'model.layers.0.input_layernorm.weight'; are all of them there")
    (broken / "config.json").unlink()
    with pytest.raises(ArtefactError, match=r"has no config\.json"):
        read_config(broken)
    with pytest.raises(ArtefactError, match="no such folder"):
        read_config(tmp_path / "none")


def test_weights_of_another_shape(broken: Path) -> None:
    change(broken, intermediate_size=50)
    config = read_config(broken)
    with pytest.raises(
        ArtefactError, match=r"has shape \(48, 32\), config.json says \(50, 32\); configuration and weights belong"
    ):
        load_stage(broken, config, plan_stages(config, 1).stages[0], torch.float32)


def test_a_tokenizer_that_does_not_fit(sharded: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="the tokenizer writes ids up to 259, the model knows 100 tokens"):
        FolderTokenizer.load(sharded, LlamaConfig(vocab_size=100))
    with pytest.raises(ArtefactError, match=r"has no tokenizer\.json"):
        FolderTokenizer.load(tmp_path, LlamaConfig())
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    with pytest.raises(ArtefactError, match="the tokenizer cannot be loaded"):
        FolderTokenizer.load(tmp_path, LlamaConfig())


@pytest.mark.parametrize("saved", ["truncation", "padding"])
def test_truncation_and_padding_that_were_saved_are_off_as_in_hugging_face(broken: Path, saved: str) -> None:
    """A tokenizer saved during training once cut every prompt to its length, unsaid."""
    from transformers import AutoTokenizer

    settings: dict[str, dict[str, Any]] = {
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 30},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "x",
        },
    }
    path, text = broken / "tokenizer.json", "a long prompt"
    path.write_text(json.dumps(json.loads(path.read_text()) | {saved: settings[saved]}))
    ours = FolderTokenizer.load(broken, read_config(broken)).encode(text)
    assert ours == AutoTokenizer.from_pretrained(str(broken))(text)["input_ids"]
    assert 4 < len(ours) < 30


@pytest.mark.parametrize("rows", [1, 3, 4, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_linear_layers_of_every_kind(rows: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(24, 64, generator=generator), torch.randn(rows, 64, generator=generator)
    bias = torch.randn(24, generator=generator)
    exact = x @ weight.T + bias
    close = {torch.float32: 1e-5, torch.bfloat16: 0.2, torch.float16: 0.03}[dtype]
    for int8 in (False, True):
        layer = make_linear(weight.to(dtype), bias.to(dtype), int8)
        assert isinstance(layer, Int8Linear) == int8
        assert (layer(x.to(dtype)).float() - exact).abs().max() < (close if not int8 else close + 0.25)


def test_int8_is_symmetric_per_output_channel() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [100.0, 50.0, -100.0]])
    layer = Int8Linear(weight)
    assert layer.weight.tolist() == [[64, -127, 32], [0, 0, 0], [127, 64, -127]]
    assert layer.scale.tolist()[::2] == pytest.approx([2 / 127, 100 / 127])
