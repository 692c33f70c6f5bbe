"""Stages as processes: the same tokens from one, two and three of them, started here or by torchrun, on cores of their own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from genir.errors import ConfigError, GenirError
from genir.protocols import SamplingParams
from rag.llama.engine import EngineOptions, LlamaEngine
from rag.llama.options import setups_of
from rag.llama.runner import StageSetup
from tests.stage_processes import GREEDY, PROMPTS, is_alive, processes, written_by_one
from tests.tiny_llama import save_tiny_llama

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[tuple[int, ...]]:
    return written_by_one(folder)


@pytest.mark.parametrize("stages", [2, 3])
def test_two_and_three_stages_write_what_one_writes(folder: Path, expected: list[tuple[int, ...]], stages: int) -> None:
    """Five layers divide evenly over neither; the same engine serves batches, late arrivals, sampling, beams and a stream."""
    ways = (SamplingParams(max_new_tokens=8, num_beams=3), SamplingParams(max_new_tokens=12, temperature=1.0, seed=2))
    with LlamaEngine(folder, EngineOptions(threads=1)) as engine:
        others = [engine.generate(PROMPTS, params) for params in ways]
    with LlamaEngine(folder, EngineOptions(stages=stages, threads=1, token_budget=8, block_size=4)) as engine:
        assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected
        requests = []
        for prompt in PROMPTS:
            requests.append(engine.submit(prompt, GREEDY))
            engine.step()
        while engine.has_work:
            engine.step()
        assert [tuple(request.tokens) for request in requests] == expected
        for params, other in zip(ways, others, strict=True):
            assert [one.tokens for one in engine.generate(PROMPTS, params)] == [one.tokens for one in other]
        assert "".join(engine.stream("the cat", GREEDY)) == engine.generate(["the cat"], GREEDY)[0].text
        figures = engine.statistics()
        assert len(figures.utilisation) == stages
        assert all(0 < share < 1 for share in figures.utilisation)
        assert figures.cache.free == figures.cache.blocks
        # Every stage read its own layers and nothing else: the table once for the embedding, once for the head.
        assert sum(figures.weights_bytes_read) == sum(
            v.nbytes for v in load_file(folder / "model.safetensors").values()
        )
        left = processes(engine)
    assert not any(map(is_alive, left))


def test_naive_and_every_micro_batch_size_write_the_same(folder: Path, expected: list[tuple[int, ...]]) -> None:
    for options in ({"in_flight": 1, "micro_batches": 2}, {"micro_batches": 3, "micro_batch_size": 1}):
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1, **options)) as engine:  # type: ignore[arg-type]
            assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected


def test_under_torchrun_the_stages_come_to_the_front(
    folder: Path, expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("GENIR_FRONT_KEY", "a secret of this test")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "rag.llama.pipeline"]
    stages = subprocess.Popen(
        [sys.executable, *command, "--front", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1, front=f"127.0.0.1:{port}")) as engine:
            assert [one.tokens for one in engine.generate(PROMPTS, GREEDY)] == expected
        assert stages.wait(timeout=20) == 0
    finally:
        stages.kill()
        stages.wait()


def test_a_front_without_a_key_or_with_a_port_in_use_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = EngineOptions(stages=2, threads=1, front=f"127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.delenv("GENIR_FRONT_KEY", raising=False)
        with pytest.raises(ConfigError, match="GENIR_FRONT_KEY is not set"):
            LlamaEngine(folder, options).start()
        monkeypatch.setenv("GENIR_FRONT_KEY", "key")
        with pytest.raises(GenirError, match="cannot listen there \\(Address already in use\\); give a free port"):
            LlamaEngine(folder, options).start()
    with pytest.raises(ConfigError, match="front 'nowhere': expected HOST:PORT"):
        LlamaEngine(folder, EngineOptions(front="nowhere")).start()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (EngineOptions(stages=2), [(2, 3), (5, 7)]),
        (EngineOptions(stages=4), [(2,), (3,), (5,), (7,)]),
        (EngineOptions(stages=1), [()]),  # in this process, which is not ours to tie down
        (EngineOptions(stages=2, threads=1), [(), ()]),  # cores to spare: the system places them better
        (EngineOptions(stages=2, threads=4), [(), ()]),
        (EngineOptions(stages=3), [(), (), ()]),
        (EngineOptions(stages=2, pin_cores=False), [(), ()]),
        (EngineOptions(stages=2, front="127.0.0.1:7000"), [(), ()]),
    ],
)
def test_stages_that_fill_the_machine_keep_to_cores_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: EngineOptions, expected: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 5, 3}, raising=False)
    engine = LlamaEngine(folder, options)
    setups = setups_of(folder, engine.config, options, engine.plan)
    assert [setup.cores for setup in setups] == expected
    assert [StageSetup.from_json(json.loads(json.dumps(setup.to_json()))) for setup in setups] == setups


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_stage_runs_on_its_cores_only(folder: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    os.sched_setaffinity(0, cores[:2])
    try:
        with LlamaEngine(folder, EngineOptions(stages=2, threads=1)) as engine:
            pinned = [os.sched_getaffinity(process) for process in processes(engine)]
    finally:
        os.sched_setaffinity(0, cores)
    assert pinned == [{cores[0]}, {cores[1]}]
