"""The generation benchmark in miniature: it runs, engines agree, and what it writes can be read; the simulation by hand."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.bench.generate import SECTIONS, BenchSizes, run
from experiments.generation.balance import costs_of
from experiments.generation.curves import CurveSizes
from experiments.generation.int8 import Int8Sizes, int8_cost, read
from experiments.generation.ladder import LadderSizes
from experiments.generation.model import LlamaShape, random_prompts, save_random_llama
from experiments.generation.peers import VLLMPeer, agreement
from experiments.generation.prefix import PrefixSizes, prefix_sharing
from experiments.generation.ring_simulation import simulate
from genir.errors import ArtefactError, ConfigError, GenirError
from genir.formats import write_dataset
from genir.records import Dataset, Document, Qrels, Query
from rag.llama.config import LlamaConfig, read_config
from rag.llama.stages import LayerCosts, draining_utilisation, plan_stages, ring_utilisation
from rag.llama.weights import load_stage
from tests.tiny_llama import save_tiny_llama

TINY = BenchSizes(
    shape=LlamaShape(2, 32, 48, 4, 2, 600, 128),
    dtypes=("float32",),
    ladder=LadderSizes(stages=1, cores=1, prompt_tokens=5, new_tokens=4, micro_batch_size=2, batch=3, repeats=1),
    curves=CurveSizes(1, (16, 40), 3, (1, 2), 2, 5, 1),
)
KEYS = (
    "no_cache",
    "one_by_one",
    "naive",
    "ring",
    "hf",
    "hf_continuous",
    "ring_over_naive",
    "ring_over_hf",
    "utilisation",
    "utilisation_size_1",
    "predicted_utilisation",
    "ring_over_naive_size_1",
    "one_stage",
    "one_stage_over_hf_single",
    "cache_waste",
    "identical",
)


def test_the_ladder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "generate.json"
    figures = run(TINY, ["ladder"], out=out)
    assert figures["identical"]
    assert all(key in figures for key in KEYS)
    assert "vllm" not in figures
    groups = figures["ladder"]["float32"]["groups"]
    assert groups.keys() == {"size_1", "size_2", "batch_3", "single"}
    rates = {name: facts["tokens_per_second"] for name, facts in groups["size_2"].items()}
    assert figures["ring_over_naive"] == pytest.approx(rates["ring"] / rates["naive"])
    assert figures["ring"] == pytest.approx(
        2 * 2 * 4 / groups["size_2"]["ring"]["seconds"][0]
    )  # micro-batches, size, tokens
    assert json.loads(out.read_text()) == figures
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert (manifest["stage"], manifest["config"]["ladder"]["batch"]) == ("bench generate", 3)
    assert out.with_suffix(".ladder.svg").read_text().count("</svg>") == 1
    assert "ladder, float32, generated tokens/s" in capsys.readouterr().out


def test_curves_and_their_formulas(tmp_path: Path) -> None:
    out = tmp_path / "generate.json"
    figures = run(TINY, ["prompt_length", "cache", "gpu"], out=out)
    assert [row["prompt_tokens"] for row in figures["prompt_length"]] == [16, 40]
    assert all(value > 0 for row in figures["prompt_length"] for value in row.values())
    for row in figures["cache"]:
        for kind, kv_heads in (("mha", 4), ("gqa", 1), ("mqa", 1)):
            assert (
                row[f"{kind}_formula"] == row["tokens"] * 2 * 2 * kv_heads * 8 * 4
            )  # keys and values, layers, head size, float32
            assert 0 <= row[f"{kind}_bytes"] - row[f"{kind}_formula"] < 17 * row[f"{kind}_formula"] / row["tokens"]
    assert {path.name for path in tmp_path.glob("*.svg")} == {"generate.prompt_length.svg", "generate.cache.svg"}


def test_int8_s_perplexity_is_hugging_face_s(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    folder = save_tiny_llama(tmp_path / "model", layers=2, tie_word_embeddings=False)
    (tmp_path / "text").write_text("A text of which the model knows nothing at all, longer than its context. " * 3)
    windows = read(folder, tmp_path / "text")
    assert [len(window) for window in windows] == [128, 91]
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    losses, tokens = 0.0, 0
    with torch.inference_mode():
        for window in windows:
            ids = torch.tensor([window])
            losses += float(model(ids, labels=ids).loss) * (len(window) - 1)
            tokens += len(window) - 1
    out = tmp_path / "generate.json"
    sizes = replace(TINY, int8=Int8Sizes(folder, tmp_path / "text"))
    found = run(sizes, ["int8"], out=out)["int8"]
    assert found["tokens"] == tokens
    assert found["float32_perplexity"] == pytest.approx(math.exp(losses / tokens), rel=1e-4)
    assert found["int8_perplexity"] != found["float32_perplexity"]
    assert found["int8_over_float32"] == pytest.approx(1, abs=0.1)
    assert [(row["weights"], row["computed_in"]) for row in found["rows"]] == [
        *(("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "float32"), ("int8", "bfloat16"))
    ]
    config = read_config(folder)
    stage, _ = load_stage(folder, config, plan_stages(config, 1).stages[0], torch.float32, int8=True)
    held = sum(weights.nbytes for name, weights in stage.named_parameters() if name != "theta")
    assert found["int8_bytes"] == held < found["float32_bytes"] / 2
    assert str(tmp_path) not in out.read_text()


def test_a_text_that_the_model_writes_is_likeliest_to_itself(tmp_path: Path) -> None:
    sizes = Int8Sizes(save_tiny_llama(tmp_path, layers=2, bos_token_id=1), texts=4, tokens=20)
    found = int8_cost(sizes)
    assert found["text"] == "written by the model"
    assert 0 < found["tokens"] <= 80
    assert found["float32_perplexity"] < 260  # of tokens drawn evenly
    assert int8_cost(sizes) == found


def test_a_text_that_cannot_be_read(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "model", layers=1)
    with pytest.raises(
        ConfigError, match="the model names no first token, so it cannot begin by itself; give --text FILE"
    ):
        int8_cost(Int8Sizes(folder))
    with pytest.raises(ArtefactError, match="not readable as UTF-8 text"):
        int8_cost(Int8Sizes(folder, tmp_path / "none"))
    (tmp_path / "text").write_text("a")
    with pytest.raises(ArtefactError, match="holds 1 tokens, expected at least 2 to have one to predict"):
        int8_cost(Int8Sizes(folder, tmp_path / "text"))


def test_prompts_of_a_retriever_share_beginnings(tmp_path: Path) -> None:
    passages = [
        Document(f"d{n}", f"Passage {n} tells of the town of {name}.") for n, name in enumerate(("Aix", "Bonn"))
    ]
    queries = {f"q{n}": Query(f"q{n}", f"What of {'Aix' if n < 3 else 'Bonn'}, number {n}?") for n in range(6)}
    qrels = Qrels({name: {"d0": 1} for name in queries})
    write_dataset(Dataset("towns", tuple(passages), queries, {"test": qrels}), tmp_path / "towns")
    folder = save_random_llama(tmp_path / "model", replace(TINY.shape, max_position_embeddings=512))
    sizes = PrefixSizes(tmp_path / "towns", questions=6, passages=1, new_tokens=2, running=2, cores=1)
    alike, mixed = prefix_sharing(folder, sizes)
    assert (alike["prompts"], mixed["prompts"]) == (6, 6)
    assert alike["prompt_tokens"] == mixed["prompt_tokens"]
    assert 0.5 < mixed["shared"] <= alike["shared"] < 1
    assert prefix_sharing(folder, PrefixSizes()) == {"skipped": "needs questions and passages: give --data DIR"}


def test_passages_longer_than_the_context_are_cut_to_it(tmp_path: Path) -> None:
    queries = {"q0": Query("q0", "What of Aix?")}
    town = Document("d0", "Aix has springs and markets. " * 40)
    write_dataset(Dataset("towns", (town,), queries, {"test": Qrels({"q0": {"d0": 1}})}), tmp_path / "towns")
    folder = save_random_llama(tmp_path / "model", replace(TINY.shape, max_position_embeddings=512))
    [row, _] = prefix_sharing(folder, PrefixSizes(tmp_path / "towns", questions=1, passages=1, new_tokens=2, cores=1))
    assert 400 < row["prompt_tokens"] <= 510


@pytest.mark.slow
def test_two_stages(tmp_path: Path) -> None:
    sizes = replace(TINY, shape=replace(TINY.shape, num_hidden_layers=4), ladder=replace(TINY.ladder, stages=2))
    figures = run(sizes, ["ladder", "micro_batches"], out=tmp_path / "generate.json")
    assert figures["identical"]
    assert len(figures["utilisation"]) == 2
    assert all("ring_measured" in row for row in figures["micro_batches"]["p2"]["rows"])
    assert all("ring_measured" not in row for row in figures["micro_batches"]["p4"]["rows"])
    assert "simulated" in figures["micro_batches"]["note"]


@pytest.mark.parametrize(("stages", "m"), [(2, 1), (2, 2), (2, 4), (4, 2), (4, 4), (4, 8)])
def test_the_simulation_of_equal_stages_is_the_formula(stages: int, m: int) -> None:
    assert simulate([1.0] * stages, m, 20) == pytest.approx([ring_utilisation(stages, m, 20)] * stages)
    assert simulate([1.0] * stages, m, 20, drain=True) == pytest.approx([draining_utilisation(stages, m)] * stages)


def test_the_simulation_of_unequal_stages_by_hand() -> None:
    """Stage 1 takes twice as long: it never waits after the first token, stage 0 works half of that."""
    assert simulate([1.0, 2.0], 2, 10) == pytest.approx([20 / 41, 40 / 41])
    # One micro-batch, and a second on the way between stages: 1 + 1 + 2 + 1 a token, the last way home not counted.
    assert simulate([1.0, 2.0], 1, 10, hop=1.0) == pytest.approx([10 / 49, 20 / 49])


def test_costs_are_told_apart_by_hand() -> None:
    """Seven layers take 7 s, one layer and the head 3 s: a layer 1 s, the head 2 s, so five layers stand against three and the head."""
    config = LlamaConfig(num_hidden_layers=8)
    costs = costs_of(plan_stages(config, 2, layers=(7, 1)).stages, [7.0, 3.0])
    assert costs == LayerCosts(1.0, 0.0, 2.0)
    assert [part.layers for part in plan_stages(config, 2, costs=costs).stages] == [5, 3]


def test_prompts_repeat_and_differ() -> None:
    prompts = random_prompts(3, 4, 1000)
    assert prompts == random_prompts(3, 4, 1000)
    assert len({tuple(prompt) for prompt in prompts}) == 3
    assert all(300 <= token < 1000 for prompt in prompts for token in prompt)
    assert agreement(prompts, [*prompts[:2], [1]]) == pytest.approx(2 / 3)


def test_unknown_sections_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^unknown section 'laddr': did you mean 'ladder'\? known: "):
        run(TINY, ["laddr"])
    assert len(SECTIONS) == 7


def test_vllm_is_spoken_to_in_lines_of_json(tmp_path: Path) -> None:
    """A stand-in for the other interpreter: any program that is started with the worker's arguments."""
    fake = tmp_path / "python"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "assert sys.argv[1].endswith('vllm_worker.py') and sys.argv[2:] == ['model', 'float32', '64']\n"
        "print('{}', flush=True)\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    print(json.dumps({'tokens': [prompt[:asked['new_tokens']] for prompt in asked['prompts']]}), flush=True)\n"
    )
    fake.chmod(0o755)
    with VLLMPeer(str(fake), Path("model"), "float32", 64) as peer:
        assert peer.run([[1, 2, 3], [4, 5, 6]], 2) == [[1, 2], [4, 5]]
    assert peer.process.returncode == 0


def test_an_interpreter_without_vllm_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(GenirError, match="give a Python interpreter that has vLLM"),
        VLLMPeer(str(tmp_path), tmp_path, "float32", 8),
    ):
        pass
    with (
        pytest.raises(GenirError, match="ended with code 1; its own messages stand above"),
        VLLMPeer(sys.executable, tmp_path, "a", 8),
    ):
        pass


def test_the_model_is_read_by_our_own_reader(tmp_path: Path) -> None:
    from rag.llama.config import read_config

    config = read_config(save_random_llama(tmp_path / "model", TINY.shape))
    assert (config.num_hidden_layers, config.num_key_value_heads, config.dtype) == (2, 2, "float32")
