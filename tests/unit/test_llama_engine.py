"""The engine in one process: whatever is batched, chunked, paged, shared or recomputed, the same tokens come out."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from genir.errors import ArtefactError, ConfigError, GenirError
from genir.protocols import Generation, Generator, SamplingParams
from rag.llama.cuda_graphs import GraphedDecode
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.local_pipeline import LocalPipeline
from rag.llama.request import Request
from rag.llama.runner import StageError, StageRunner
from rag.llama.scheduler import Scheduler
from tests.tiny_llama import save_tiny_llama

GREEDY = SamplingParams(max_new_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


def texts(count: int = 9, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefgh ", k=draw.randint(1, 40))) for _ in range(count)]


def written(
    folder: Path, prompts: list[str], params: SamplingParams = GREEDY, **options: object
) -> list[tuple[int, ...]]:
    with LlamaEngine(folder, EngineOptions(threads=1, **options)) as engine:  # type: ignore[arg-type]
        found = [one.tokens for one in engine.generate(prompts, params)]
        assert engine.statistics().cache.free == engine.statistics().cache.blocks
        return found


@pytest.fixture(scope="module")
def one_at_a_time(folder: Path) -> list[tuple[int, ...]]:
    with LlamaEngine(folder, EngineOptions(threads=1, prefix_sharing=False)) as engine:
        return [engine.generate([text], GREEDY)[0].tokens for text in texts()]


@pytest.mark.parametrize(
    "options",
    [
        {},  # a batch of mixed lengths
        {"use_cache": False},
        {"block_size": 128},  # a sequence in one block: contiguous
        {"block_size": 1},
        {"token_budget": 5},  # prompts in chunks
        {"micro_batches": 3},
        {"max_running": 2},
        {"attention": "eager"},
        {"attention": "sdpa"},
        {"cache_bytes": 20 * 8 * 5 * 2 * 2 * 8 * 4},  # twenty blocks: sequences are preempted
    ],
    ids=lambda options: ", ".join(f"{key} {value}" for key, value in options.items()) or "batch",
)
def test_the_same_tokens_however_it_is_run(
    folder: Path, one_at_a_time: list[tuple[int, ...]], options: dict[str, object]
) -> None:
    assert written(folder, texts(), **options) == one_at_a_time


def test_steps_of_a_fixed_shape_write_the_same(
    folder: Path, one_at_a_time: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CUDA graphs replay, computed without a graph: rows and blocks that are too many change nothing."""
    load = StageRunner.load

    def load_graphed(runner: StageRunner) -> None:
        load(runner)
        runner._graphs = GraphedDecode(runner.stage, runner.cache, capture=False)

    monkeypatch.setattr(StageRunner, "load", load_graphed)
    assert written(folder, texts(), block_size=8, micro_batches=2) == one_at_a_time


def test_prefix_sharing_changes_nothing_and_saves_work(folder: Path) -> None:
    prompts = ["The passage that all of these prompts begin with. " + text[:20] for text in texts()]
    work = []
    for sharing in (True, False):
        with LlamaEngine(folder, EngineOptions(threads=1, block_size=8, prefix_sharing=sharing)) as engine:
            work.append(([one.tokens for one in engine.generate(prompts, GREEDY)], engine.statistics()))
    (shared, with_sharing), (own, without) = work
    assert shared == own
    assert with_sharing.prefill_tokens + with_sharing.cache.shared_tokens == without.prefill_tokens
    assert with_sharing.cache.shared_tokens == 8 * 48


def test_a_request_that_arrives_later_writes_what_it_writes_alone(
    folder: Path, one_at_a_time: list[tuple[int, ...]]
) -> None:
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        requests, coming = [], texts()
        while coming or engine.has_work:
            if coming:
                requests.append(engine.submit(coming.pop(0), GREEDY))
            engine.step()
            engine.step()
    assert [tuple(request.tokens) for request in requests] == one_at_a_time


def test_a_seed_gives_the_same_text_whatever_else_is_in_the_batch(folder: Path) -> None:
    params = SamplingParams(max_new_tokens=20, temperature=1.0, top_k=40, top_p=0.95, seed=5)
    together = written(folder, texts(), params)
    assert together == [written(folder, [text], params)[0] for text in texts()]
    assert together == written(folder, texts(), params, cache_bytes=20 * 8 * 5 * 2 * 2 * 8 * 4)
    assert together != written(folder, texts(), SamplingParams(max_new_tokens=20, temperature=1.0, seed=6))


def test_every_request_has_its_own_parameters(folder: Path) -> None:
    ways = [
        GREEDY,
        SamplingParams(max_new_tokens=9, temperature=0.8, seed=1, logprobs=False),
        SamplingParams(max_new_tokens=12, num_beams=3),
        SamplingParams(max_new_tokens=15, repetition_penalty=1.5),
        SamplingParams(max_new_tokens=7, ignore_eos=True),
    ]
    with LlamaEngine(folder, EngineOptions(threads=1, micro_batches=2)) as engine:
        requests = [engine.submit("once", params) for params in ways]
        while engine.has_work:
            engine.step()
        alone = [engine.generate(["once"], params)[0] for params in ways]
    together = [request.generation() for request in requests]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert together[1].logprobs == ()
    assert len(together[4].tokens) == 7


def test_top_k_1_is_greedy_and_top_p_keeps_the_best(folder: Path) -> None:
    greedy = written(folder, texts())
    assert written(folder, texts(), SamplingParams(max_new_tokens=24, temperature=1.0, top_k=1)) == greedy
    assert written(folder, texts(), SamplingParams(max_new_tokens=24, temperature=1.0, top_p=1e-9)) == greedy


def test_it_is_a_generator(folder: Path) -> None:
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        assert isinstance(engine, Generator)
        assert engine.name == folder.name
        assert engine.generate([], GREEDY) == []
        for stop in ((), ("e",), ("\n", "zzz")):
            params = SamplingParams(max_new_tokens=40, stop=stop)
            for text in texts(4):
                whole: Generation = engine.generate([text], params)[0]
                assert "".join(engine.stream(text, params)) == whole.text
                assert not any(word in whole.text for word in stop)
                assert len(whole.logprobs) == len(whole.tokens)


def test_a_stop_string_ends_the_text_in_front_of_it(folder: Path) -> None:
    free_run = SamplingParams(max_new_tokens=30, ignore_eos=True)
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        found = 0
        for text, free in zip(texts(), engine.generate(texts(), free_run), strict=True):
            if (plain := re.search("[ -~]{2}", free.text[1:-8])) is None:
                continue  # bytes at random are seldom text
            cut = engine.generate([text], replace(free_run, stop=(plain[0], "never")))[0]
            assert (cut.text, cut.finish_reason) == (free.text[: free.text.find(plain[0])], "stop")
            assert len(cut.tokens) < 30
            found += 1
        assert found


def test_cancel_ends_one_and_leaves_the_others(folder: Path) -> None:
    with LlamaEngine(folder, EngineOptions(threads=1, micro_batches=2)) as engine:
        seen: list[str] = []
        one = engine.submit("to be ended", GREEDY, on_update=lambda request: seen.append(request.finish_reason))
        other = engine.submit("to go on", GREEDY)
        for _ in range(6):
            engine.step()
        engine.cancel(one)
        while engine.has_work:
            engine.step()
        assert one.finish_reason == "cancelled"
        assert seen[-1] == "cancelled"
        assert 0 < len(one.tokens) < 24
        assert other.generation().tokens == engine.generate(["to go on"], GREEDY)[0].tokens
        cache = engine.statistics().cache
        assert cache.free == cache.blocks


def test_leaving_a_stream_early_gives_its_blocks_back(folder: Path) -> None:
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        stream: Iterator[str] = engine.stream("once", GREEDY)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        while engine.has_work:
            engine.step()
        cache = engine.statistics().cache
        assert cache.free == cache.blocks


def test_little_memory_is_wasted(folder: Path) -> None:
    """Allocated slots that hold nothing, mean over all steps: under 4 % as the engine comes, for texts of 60 to 120 tokens."""
    with LlamaEngine(folder, EngineOptions(threads=1, prefix_sharing=False)) as engine:
        prompts = [(text * 40)[: 60 + 5 * number] for number, text in enumerate(texts())]
        engine.generate(prompts, SamplingParams(max_new_tokens=28, ignore_eos=True))
        assert 0 < engine.statistics().cache.waste < 0.04


@pytest.mark.parametrize(
    ("prompt", "params", "message"),
    [
        ("", GREEDY, "empty prompt: expected at least one token"),
        ("x" * 120, GREEDY, "prompt of 120 tokens \\+ max_new_tokens 24 exceeds the context of 128 tokens"),
        ([5, 999], GREEDY, "prompt holds token 999, the model knows 0 to 259"),
        ([5, -1], GREEDY, "prompt holds token -1, the model knows 0 to 259"),
        (
            "x" * 70,
            GREEDY,
            "prompt of 70 tokens \\+ max_new_tokens 24 needs 12 cache blocks, the memory budget holds 10 of 8",
        ),
        (
            "x" * 3000,
            GREEDY,
            "prompt of 3000 characters exceeds the context of 128 tokens: give fewer or shorter passages",
        ),
        ("caf\udce9", GREEDY, r"prompt is not valid Unicode \('\\udce9' at character 3\): give it in UTF-8"),
        ("x", SamplingParams(stop=("\udce9",)), "stop string is not valid Unicode"),
        ("x", SamplingParams(max_new_tokens=0), "max_new_tokens is 0, expected at least 1"),
        ("x", SamplingParams(top_p=0.0), "top_p is 0.0, expected above 0 and at most 1"),
        (
            "x",
            SamplingParams(repetition_penalty=1e-40),
            "repetition_penalty is 1e-40, expected between 0.01 and 100 \\(1 is none\\)",
        ),
        ("x", SamplingParams(repetition_penalty=float("inf")), "repetition_penalty is inf, expected between 0.01"),
        ("x", SamplingParams(num_beams=2, temperature=1.0), "num_beams above 1 takes no temperature"),
        ("x", SamplingParams(num_beams=2, stop=("a",)), "num_beams above 1 takes no stop strings"),
    ],
)
def test_bad_requests_are_refused_at_once(folder: Path, prompt: str, params: SamplingParams, message: str) -> None:
    engine = LlamaEngine(folder, EngineOptions(threads=1, cache_bytes=5 * 16 * 5 * 2 * 2 * 8 * 4))
    with pytest.raises(GenirError, match=message):
        engine.submit(prompt, params)
    assert not engine.has_work


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 6}, "6 stages for 5 layers: a stage needs at least one layer; use at most 5 stages"),
        ({"stages": 2, "layers": (4, 4)}, "expected 2 numbers of at least 1 that add up to 5"),
        ({"cache_bytes": 100}, "cache of 100 bytes a stage holds no block: 8 tokens in 5 layers take 5120"),
        ({"token_budget": 0}, "token_budget is 0, expected at least 1"),
        ({"block_size": 0}, "block_size is 0, expected at least 1"),
        ({"max_running": -1}, "max_running is -1, expected at least 1"),
        ({"micro_batches": 0}, "micro_batches is 0, expected at least 1"),
        ({"in_flight": 0}, "in_flight is 0, expected at least 1"),
        ({"stages": 0}, "stages is 0, expected at least 1"),
        ({"heartbeat": 0.0}, "heartbeat is 0.0, expected seconds, above 0"),
        ({"dtype": "float8"}, "dtype 'float8': expected auto, float32, bfloat16 or float16"),
        ({"attention": "flash"}, "attention 'flash' needs a GPU"),
        ({"attention": "sdpaa"}, "unknown attention 'sdpaa': did you mean 'sdpa'"),
    ],
)
def test_bad_options_are_one_line(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlamaEngine(folder, EngineOptions(threads=1, **options)).start()  # type: ignore[arg-type]


def test_a_refused_prompt_takes_its_neighbours_along(folder: Path) -> None:
    """The prompts in front of it once stayed queued, and ran unseen with the next call."""
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        with pytest.raises(GenirError, match="empty prompt"):
            engine.generate(["once", "twice", ""], GREEDY)
        while engine.has_work:
            engine.step()
        assert engine.statistics().generated_tokens == 0


def test_work_that_cannot_go_on_is_an_error_and_no_endless_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LlamaEngine(folder, EngineOptions(threads=1))
    request = engine.submit("once", GREEDY)
    monkeypatch.setattr(Scheduler, "schedule", lambda scheduler: None)
    with pytest.raises(
        GenirError, match=r"^none of 1 requests can go on, \d+ of \d+ cache blocks are free: give a larger"
    ):
        engine.step()
    assert request.finish_reason == "error"
    assert not engine.has_work


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("CUDA out of memory")], ids=repr)
def test_after_an_interrupted_step_the_engine_starts_again(
    folder: Path, one_at_a_time: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """The micro-batch under way had no result, and every later request met "pop from an empty deque"."""
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        waiting = engine.submit("late", GREEDY)
        with monkeypatch.context() as patch:
            patch.setattr(StageRunner, "run", Mock(side_effect=fault))
            with pytest.raises(type(fault)):
                engine.generate(texts(), GREEDY)
        assert not engine.has_work
        with pytest.raises(GenirError, match=f"^the engine was interrupted: {re.escape(repr(fault))}$"):
            waiting.generation()
        assert [one.tokens for one in engine.generate(texts(), GREEDY)] == one_at_a_time


def test_stages_that_died_while_nothing_ran_cost_no_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        engine.check_stages()
        request = engine.submit("once", GREEDY)
        with monkeypatch.context() as patch:
            patch.setattr(LocalPipeline, "counters", Mock(side_effect=StageError("stage 1 died")))
            with pytest.raises(StageError, match="stage 1 died"):
                engine.check_stages()
        engine.check_stages()  # there are none now
        while engine.has_work:
            engine.step()
        assert request.finish_reason in ("stop", "length")


def test_room_is_what_context_and_cache_leave(folder: Path) -> None:
    assert LlamaEngine(folder, EngineOptions(threads=1)).room(28) == 100
    engine = LlamaEngine(folder, EngineOptions(threads=1, cache_bytes=5 * 16 * 5 * 2 * 2 * 8 * 4))
    assert engine.room(28) == 80 - 28
    engine.submit([5] * 28, SamplingParams(max_new_tokens=engine.room(28)))
    with pytest.raises(GenirError, match="the memory budget holds"):
        engine.submit([5] * 28, SamplingParams(max_new_tokens=engine.room(28) + 1))


def test_a_request_that_comes_while_all_are_ended_is_not_lost(folder: Path) -> None:
    engine = LlamaEngine(folder, EngineOptions(threads=1))
    late: list[Request] = []
    engine.submit("once", GREEDY, on_update=lambda _: late.append(engine.submit("late", GREEDY)))
    engine.close()
    assert engine.has_work
    assert not late[0].done
    while engine.has_work:
        engine.step()
    assert late[0].finish_reason in ("stop", "length")
    engine.close()


def test_beams_need_the_cache(folder: Path) -> None:
    engine = LlamaEngine(folder, EngineOptions(threads=1, use_cache=False))
    with pytest.raises(ConfigError, match="num_beams above 1 needs the KV cache"):
        engine.submit("x", SamplingParams(num_beams=2))


def test_low_precision_and_int8_stay_close(folder: Path) -> None:
    """Not equal: the first log-probabilities differ by what eight bits of mantissa, or of weight, can do."""
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        exact = engine.generate(texts(4), SamplingParams(max_new_tokens=1))
    for options in ({"dtype": "bfloat16"}, {"dtype": "float16"}, {"int8": True}, {"dtype": "bfloat16", "int8": True}):
        with LlamaEngine(folder, EngineOptions(threads=1, **options)) as engine:  # type: ignore[arg-type]
            near = engine.generate(texts(4), SamplingParams(max_new_tokens=1))
        for one, other in zip(exact, near, strict=True):
            assert one.logprobs[0] == pytest.approx(other.logprobs[0], abs=0.3)


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such folder"):
        LlamaEngine(tmp_path / "none").start()
