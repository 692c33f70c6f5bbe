"""Plans for models whose weights nobody has here: hand arithmetic, published sizes, and one line for what cannot be."""

import json
from pathlib import Path

import pytest

from experiments.generation.llm_plan import (
    StageNeed,
    Wish,
    bounds,
    bubbles,
    gigabytes,
    make_plan,
    measured_bandwidth,
    parse_bytes,
)
from experiments.generation.llm_plan import parameters as count
from experiments.generation.llm_shapes import find_shape
from genir.errors import ArtefactError, ConfigError
from tests.tiny_journey import genir

PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
}


@pytest.mark.parametrize(("name", "weights"), PUBLISHED.items())
def test_shapes_have_as_many_weights_as_the_models(name: str, weights: int) -> None:
    assert count(find_shape(name)) == weights


def test_a_plan_by_hand() -> None:
    """LLaMA-2 7B in float16 over two stages of 12 GB, 1,000 tokens a request."""
    plan = make_plan("llama-2-7b", Wish(stages=2, memory=12e9, context=1000, bandwidth=1e12, new_tokens=100))
    first, last = plan["stages"]
    per_layer = 4096 * 4096 * 4 + 3 * 4096 * 11_008 + 2 * 4096
    assert first["weight_bytes"] == 2 * (16 * per_layer + 32_000 * 4096)
    assert last["weight_bytes"] == 2 * (16 * per_layer + 32_000 * 4096 + 4096)
    assert first["cache_bytes_per_request"] == 2 * 16 * 4096 * 2 * 1000  # keys and values, layers, width, bytes, tokens
    fit = int((12e9 * 0.9 - last["weight_bytes"]) / first["cache_bytes_per_request"])
    assert plan["requests_that_fit"] == plan["batch"] == fit
    assert plan["micro_batches"] == 4
    assert plan["bubble"]["draining"] == pytest.approx(1 / 5)
    assert plan["bubble"]["ring"] == pytest.approx(1 / 401)
    read = sum(stage["weight_bytes"] for stage in plan["stages"]) - 2 * 32_000 * 4096
    assert plan["tokens_per_second_bound"]["one_stream"] == pytest.approx(1e12 / read)
    size = -(-fit // 4)
    slowest = (last["weight_bytes"] + size * last["cache_bytes_per_request"]) / 1e12
    assert plan["tokens_per_second_bound"]["batch"] == pytest.approx(size / slowest)
    assert json.loads(json.dumps(plan)) == plan


def test_bounds_of_few_micro_batches() -> None:
    """With fewer micro-batches than stages nothing is always busy: a token takes the way through all stages."""
    need = StageNeed(0, "", 100, 100, 1, 10, 5)
    assert bounds([need] * 4, batch=2, in_flight=2, bandwidth=110)["batch"] == pytest.approx(2 / 4)
    assert bounds([need] * 4, batch=8, in_flight=8, bandwidth=110)["batch"] == pytest.approx(1)
    assert bubbles(4, 2, 10)["ring"] == pytest.approx(1 - 20 / (10 * 4 + 1))


def test_int8_and_dtype_change_the_bytes() -> None:
    wish = Wish(stages=1, memory=40e9, bandwidth=1e12)
    half = make_plan("llama-2-7b", wish)["stages"][0]
    eight = make_plan("llama-2-7b", Wish(**{**vars(wish), "int8": True}))["stages"][0]
    whole = make_plan("llama-2-7b", Wish(**{**vars(wish), "dtype": "float32"}))["stages"][0]
    assert half["weight_bytes"] == whole["weight_bytes"] / 2
    # The table of 32,000 rows keeps two bytes a number, and so do norms and the scales of the products' outputs.
    norms, scales = 65 * 4096, 32 * (3 * 4096 + 2 * 4096 + 2 * 11_008) + 32_000
    table = 32_000 * 4096
    assert eight["weight_bytes"] == (half["weight_bytes"] // 2 - table - norms) + 2 * (table + norms + scales)
    assert eight["read_bytes_per_token"] == eight["weight_bytes"] - 2 * table
    assert half["cache_bytes_per_token"] == eight["cache_bytes_per_token"] == whole["cache_bytes_per_token"] / 2


TOO_LITTLE = [
    (
        ("llama-2-70b", "--stages", 2, "--memory", "24GB"),
        "too little memory: the weights of stage 0 of 2 take 69.0 GB, but 24.0 GB less a reserve of 10% are 21.6 GB; give more "
        "--stages, more --memory, or --int8",
    ),
    (
        ("llama-2-7b", "--memory", "15.1GB"),
        "too little memory for one request of 4096 tokens: stage 0 of 1 needs 15.6 GB, but 15.1 GB less a reserve of 10% are 13.6 GB; "
        "give more --stages, more --memory, or a smaller --context",
    ),
    (("llama-2-7b", "--memory", "24GB", "--batch", 9), "--batch 9: the cache holds 3 requests of 4096 tokens; lower it, or --context"),
    (("llama-2-7b", "--memory", "24GB", "--context", 5000), "--context 5000: llama-2-7b has 4096 positions; ask for at most these"),
    (("llama-2-7b", "--memory", "lots"), "--memory 'lots': expected a size like 24GB, 24GiB or 500MB"),
    (("llama-2-7b", "--memory", "24GB", "--stages", 33), "33 stages for 32 layers: a stage needs at least one layer; use at most"),
    (("llama-2-7b", "--memory", "24GB", "--dtype", "float61"), "unknown dtype 'float61': did you mean 'float16'? known: "),
    (("llama-2-7", "--memory", "24GB"), "unknown model 'llama-2-7': did you mean 'llama-2-7b'? known: llama-2-13b, "),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "line"), TOO_LITTLE)
def test_what_cannot_be_is_one_line(arguments: tuple[object, ...], line: str) -> None:
    assert genir("plan", "--bandwidth", "1TB/s", "--model", *arguments).fault.startswith(line)


def test_a_folder_without_weights_is_enough(tmp_path: Path) -> None:
    config = {
        **{
            "model_type": "llama",
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 172,
            "num_hidden_layers": 5,
        },
        **{
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan = make_plan(str(tmp_path), Wish(stages=2, memory=1e8, bandwidth=1e9))
    assert plan["parameters"] == 260_032
    assert plan["dtype"] == "float32"
    (tmp_path / "config.json").unlink()
    with pytest.raises(ArtefactError, match=r"has no config\.json"):
        make_plan(str(tmp_path), Wish(stages=2, memory=1e8, bandwidth=1e9))


def test_the_command_prints_tables_or_json() -> None:
    options = ("plan", "--model", "llama-3-8b", "--stages", 2, "--memory", "24GB", "--bandwidth", "936GB/s")
    shown = genir(*options)
    assert shown.code == 0
    assert "llama-3-8b, 8.03 B parameters, bfloat16, context 8192" in shown.out
    assert "936.0 GB/s" in shown.out
    found = json.loads(genir(*options, "--json").out)
    assert found["bandwidth"] == {"bytes_per_second": 936e9, "source": "given"}
    assert [stage["layers"] for stage in found["stages"]] == ["layers 0-16, embedding", "layers 17-31, head"]


def test_bandwidth_is_measured_where_none_is_given() -> None:
    assert measured_bandwidth("cpu", size=1 << 20, repeats=1) > 1e6


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24e9), ("1.5 GiB", 1.5 * 2**30), ("936GB/s", 936e9), ("500m", 5e8), ("17", 17)]
)
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "GB", "-3GB", "0GB", "24XB", "24 G B"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a size like 24GB"):
        parse_bytes(text, "--memory")


def test_sizes_as_people_read_them() -> None:
    assert [gigabytes(size) for size in (12, 3400, 5.2e6, 2.4e10, 2e12)] == [
        "12 B",
        "3.4 kB",
        "5.2 MB",
        "24.0 GB",
        "2.0 TB",
    ]
